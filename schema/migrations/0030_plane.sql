-- The cloud plane: tenants, subscriptions, resource groups, machines, plans. Every table begins with the tenant, so that
-- no key of one tenant can meet another's. Times are microseconds since 1970 UTC; `*_key` is the name in lower case.

CREATE TABLE plane_tenants (
    id TEXT PRIMARY KEY,
    geography TEXT NOT NULL,
    lake_root TEXT NOT NULL,
    control_root TEXT NOT NULL,
    origin TEXT NOT NULL,
    state TEXT NOT NULL,
    created BIGINT NOT NULL,
    created_by TEXT NOT NULL
);

CREATE TABLE plane_subscriptions (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    location TEXT NOT NULL,
    integration BIGINT NOT NULL,
    tags TEXT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE plane_groups (
    tenant_id TEXT NOT NULL,
    subscription_id TEXT NOT NULL,
    name_key TEXT NOT NULL,
    name TEXT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, subscription_id, name_key),
    FOREIGN KEY (tenant_id, subscription_id) REFERENCES plane_subscriptions (tenant_id, id)
);

-- `identity` is what the connector proves itself with; `hardware` correlates one machine seen in several ways.
CREATE TABLE plane_machines (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    subscription_id TEXT NOT NULL,
    group_key TEXT NOT NULL,
    name_key TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    power_state TEXT,
    device_id TEXT,
    identity TEXT,
    hardware TEXT NOT NULL,
    tags TEXT NOT NULL,
    system TEXT NOT NULL,
    connector_version TEXT NOT NULL,
    last_heartbeat BIGINT,
    created BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, subscription_id, group_key, name_key),
    FOREIGN KEY (tenant_id, subscription_id, group_key) REFERENCES plane_groups (tenant_id, subscription_id, name_key)
);
CREATE UNIQUE INDEX plane_machines_device ON plane_machines (tenant_id, device_id);
CREATE UNIQUE INDEX plane_machines_identity ON plane_machines (tenant_id, identity);
CREATE INDEX plane_machines_hardware ON plane_machines (tenant_id, hardware);

CREATE TABLE plane_extensions (
    tenant_id TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    code BIGINT NOT NULL,
    message TEXT NOT NULL,
    fix TEXT NOT NULL,
    version TEXT NOT NULL,
    updated BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, machine_id, name),
    FOREIGN KEY (tenant_id, machine_id) REFERENCES plane_machines (tenant_id, id)
);

-- A plan set on a subscription (`machine_id` is empty) or on one machine. Plan 2 on a machine is refused here too.
CREATE TABLE plane_plans (
    tenant_id TEXT NOT NULL,
    subscription_id TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    plan TEXT NOT NULL CHECK (plan IN ('Off', 'P1', 'P2') AND (machine_id = '' OR plan <> 'P2')),
    set_by TEXT NOT NULL,
    set_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, subscription_id, machine_id),
    FOREIGN KEY (tenant_id, subscription_id) REFERENCES plane_subscriptions (tenant_id, id)
);
CREATE INDEX plane_plans_machine ON plane_plans (tenant_id, machine_id);

-- A trial begins once and is never changed: see the trigger.
CREATE TABLE plane_trials (
    tenant_id TEXT NOT NULL,
    subscription_id TEXT NOT NULL,
    started BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, subscription_id)
);

-- What keeps the sensor away: a scope (resource id in lower case), or a tag within it.
CREATE TABLE plane_exclusions (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    scope TEXT NOT NULL,
    tag_name TEXT,
    tag_value TEXT,
    reason TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE plane_audit (
    id {{AUTO_ID}},
    tenant_id TEXT NOT NULL,
    target TEXT NOT NULL,
    who TEXT NOT NULL,
    at BIGINT NOT NULL,
    what TEXT NOT NULL,
    old TEXT,
    new TEXT
);
CREATE INDEX plane_audit_target ON plane_audit (tenant_id, target);

-- The geography and its roots are fixed from the moment a tenant is made, whoever asks. Only a tenant whose data was
-- erased may go. Inserting over it (`INSERT OR REPLACE`) would be a change by another door.
{{ONLY SQLITE}}
CREATE TRIGGER plane_tenants_fixed BEFORE UPDATE ON plane_tenants
WHEN NEW.id <> OLD.id OR NEW.geography <> OLD.geography OR NEW.lake_root <> OLD.lake_root OR NEW.control_root <> OLD.control_root
BEGIN
    SELECT RAISE(ABORT, 'plane_tenants_fixed: the geography of a tenant cannot be changed, because its data would have to leave it; connect the machines to a tenant of the other geography');
END;
CREATE TRIGGER plane_tenants_once BEFORE INSERT ON plane_tenants
WHEN EXISTS (SELECT 1 FROM plane_tenants WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'plane_tenants_fixed: the tenant is there already, and its geography cannot be changed');
END;
CREATE TRIGGER plane_tenants_kept BEFORE DELETE ON plane_tenants WHEN OLD.state <> 'Erased'
BEGIN
    SELECT RAISE(ABORT, 'plane_tenants_fixed: a tenant can be removed only after its data was erased');
END;
CREATE TRIGGER plane_trials_fixed BEFORE UPDATE ON plane_trials
BEGIN
    SELECT RAISE(ABORT, 'plane_trials_fixed: a trial can be neither stopped nor paused nor extended');
END;
{{ONLY POSTGRES}}
CREATE FUNCTION plane_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = TG_ARGV[0];
END $$;
CREATE TRIGGER plane_tenants_fixed BEFORE UPDATE ON plane_tenants FOR EACH ROW
WHEN (NEW.id <> OLD.id OR NEW.geography <> OLD.geography OR NEW.lake_root <> OLD.lake_root OR NEW.control_root <> OLD.control_root)
EXECUTE FUNCTION plane_refuse('plane_tenants_fixed: the geography of a tenant cannot be changed, because its data would have to leave it; connect the machines to a tenant of the other geography');
CREATE TRIGGER plane_tenants_kept BEFORE DELETE ON plane_tenants FOR EACH ROW WHEN (OLD.state <> 'Erased')
EXECUTE FUNCTION plane_refuse('plane_tenants_fixed: a tenant can be removed only after its data was erased');
CREATE TRIGGER plane_trials_fixed BEFORE UPDATE ON plane_trials FOR EACH ROW
EXECUTE FUNCTION plane_refuse('plane_trials_fixed: a trial can be neither stopped nor paused nor extended');
{{END}}
