-- What the columns of a tenant (of the server: an empty scope) are sealed with, and whether all of them are.
CREATE TABLE db_seals (
    scope TEXT PRIMARY KEY,
    key_name TEXT NOT NULL,
    state TEXT NOT NULL,
    columns TEXT NOT NULL
);

-- The audit log is still never changed, but for sealing and opening its lines while a turn is under way. A hash is that of
-- the plain line, so another text in it is found out by its proof.
{{ONLY SQLITE}}
DROP TRIGGER access_audit_fixed;
CREATE TRIGGER access_audit_fixed BEFORE UPDATE ON access_audit
WHEN NEW.seq <> OLD.seq OR NEW.tenant_id <> OLD.tenant_id OR NEW.at <> OLD.at OR NEW.kind <> OLD.kind
    OR NEW.action <> OLD.action OR NEW.status <> OLD.status OR NEW.hash <> OLD.hash
    OR (SUBSTR(NEW.line, 1, 8) = 'sealed1:') = (SUBSTR(OLD.line, 1, 8) = 'sealed1:')
    OR NOT EXISTS (SELECT 1 FROM db_seals WHERE scope = '' AND state = 'Turning')
BEGIN
    SELECT RAISE(ABORT, 'access_audit_fixed: the audit log is never changed');
END;
{{ONLY POSTGRES}}
CREATE OR REPLACE FUNCTION access_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.seq = OLD.seq AND NEW.tenant_id = OLD.tenant_id AND NEW.at = OLD.at AND NEW.kind = OLD.kind
            AND NEW.action = OLD.action AND NEW.status = OLD.status AND NEW.hash = OLD.hash
            AND (SUBSTR(NEW.line, 1, 8) = 'sealed1:') <> (SUBSTR(OLD.line, 1, 8) = 'sealed1:')
            AND EXISTS (SELECT 1 FROM db_seals WHERE scope = '' AND state = 'Turning') THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'check_violation',
        MESSAGE = 'access_audit_fixed: the audit log is never changed, and nothing is removed from it';
END $$;
{{END}}
