-- Metering. Marks are the working set of hours that are not settled yet: minute `n` of an hour is bit `n` of `minutes`,
-- so that marking a minute twice changes nothing. The ledger is what was settled: one row a machine and hour, never
-- changed, removed only with an erased tenant.
CREATE TABLE metering_marks (
    tenant_id TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    hour BIGINT NOT NULL,
    state TEXT NOT NULL,
    plan TEXT NOT NULL,
    subscription_id TEXT NOT NULL,
    trial BIGINT NOT NULL,
    minutes BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, machine_id, hour, state, plan, subscription_id, trial)
);
CREATE INDEX metering_marks_hour ON metering_marks (hour, tenant_id, machine_id);

CREATE TABLE metering_ledger (
    tenant_id TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    hour BIGINT NOT NULL,
    subscription_id TEXT NOT NULL,
    plan TEXT NOT NULL,
    state TEXT NOT NULL,
    trial BIGINT NOT NULL,
    minutes BIGINT NOT NULL,
    settled BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, machine_id, hour)
);
CREATE INDEX metering_ledger_hour ON metering_ledger (tenant_id, hour);

{{ONLY SQLITE}}
CREATE TRIGGER metering_ledger_fixed BEFORE UPDATE ON metering_ledger
BEGIN
    SELECT RAISE(ABORT, 'metering_ledger_fixed: what was metered is never changed');
END;
CREATE TRIGGER metering_ledger_once BEFORE INSERT ON metering_ledger
WHEN EXISTS (SELECT 1 FROM metering_ledger WHERE tenant_id = NEW.tenant_id AND machine_id = NEW.machine_id AND hour = NEW.hour)
BEGIN
    SELECT RAISE(IGNORE);
END;
CREATE TRIGGER metering_ledger_kept BEFORE DELETE ON metering_ledger
WHEN NOT EXISTS (SELECT 1 FROM plane_tenants WHERE id = OLD.tenant_id AND state = 'Erased')
BEGIN
    SELECT RAISE(ABORT, 'metering_ledger_fixed: what was metered is never removed');
END;
{{ONLY POSTGRES}}
CREATE FUNCTION metering_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND EXISTS (SELECT 1 FROM plane_tenants WHERE id = OLD.tenant_id AND state = 'Erased') THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'check_violation',
        MESSAGE = 'metering_ledger_fixed: what was metered is never changed or removed';
END $$;
CREATE TRIGGER metering_ledger_fixed BEFORE UPDATE OR DELETE ON metering_ledger FOR EACH ROW
EXECUTE FUNCTION metering_refuse();
{{END}}
