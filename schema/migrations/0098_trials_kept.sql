-- A trial is remembered for good, and so are metered hours: their rows go only while all rows of their tenant are erased,
-- which a row here says within that one transaction. (The tenant's own row does not: it is not in this database, or stays
-- in it as the server's list, when control data goes to the tenant's geography.)
CREATE TABLE db_erasing (
    scope TEXT PRIMARY KEY
);

{{ONLY SQLITE}}
CREATE TRIGGER plane_trials_once BEFORE INSERT ON plane_trials
WHEN EXISTS (SELECT 1 FROM plane_trials WHERE tenant_id = NEW.tenant_id AND subscription_id = NEW.subscription_id)
BEGIN
    SELECT RAISE(IGNORE);
END;
CREATE TRIGGER plane_trials_kept BEFORE DELETE ON plane_trials
WHEN NOT EXISTS (SELECT 1 FROM db_erasing WHERE scope = OLD.tenant_id)
BEGIN
    SELECT RAISE(ABORT, 'plane_trials_fixed: a trial is remembered for good, also of a subscription that was removed');
END;
DROP TRIGGER metering_ledger_kept;
CREATE TRIGGER metering_ledger_kept BEFORE DELETE ON metering_ledger
WHEN NOT EXISTS (SELECT 1 FROM db_erasing WHERE scope = OLD.tenant_id)
BEGIN
    SELECT RAISE(ABORT, 'metering_ledger_fixed: what was metered is never removed');
END;
{{ONLY POSTGRES}}
CREATE FUNCTION plane_trials_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM db_erasing WHERE scope = OLD.tenant_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'check_violation',
        MESSAGE = 'plane_trials_fixed: a trial is remembered for good, also of a subscription that was removed';
END $$;
CREATE TRIGGER plane_trials_kept BEFORE DELETE ON plane_trials FOR EACH ROW EXECUTE FUNCTION plane_trials_refuse();
CREATE OR REPLACE FUNCTION metering_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND EXISTS (SELECT 1 FROM db_erasing WHERE scope = OLD.tenant_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'check_violation',
        MESSAGE = 'metering_ledger_fixed: what was metered is never changed or removed';
END $$;
{{END}}
