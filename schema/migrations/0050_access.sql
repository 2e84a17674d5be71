-- Who may do what where: assignments of roles, roles of the operator's own, groups of users, device groups, scopes of
-- tokens, and the audit log. The built-in roles are policies of the program (crates/server/policies).
ALTER TABLE identity_users ADD COLUMN disabled BIGINT NOT NULL DEFAULT 0;

-- `principal_kind`: User, UserGroup or Token. `scope_kind`: Tenant, Subscription or DeviceGroup; `scope` is empty for
-- the tenant. `source`: Local, or Oidc for what a sign-in mapped, which the next sign-in replaces.
CREATE TABLE access_assignments (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    principal_kind TEXT NOT NULL,
    principal TEXT NOT NULL,
    role TEXT NOT NULL,
    scope_kind TEXT NOT NULL,
    scope TEXT NOT NULL,
    source TEXT NOT NULL,
    created BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX access_assignments_once
    ON access_assignments (tenant_id, principal_kind, principal, role, scope_kind, scope, source);

CREATE TABLE access_roles (
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    title TEXT NOT NULL,
    actions TEXT NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE access_members (
    tenant_id TEXT NOT NULL,
    user_group TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (tenant_id, user_group, user_id)
);

-- Lowest `place` first; `rules` and nothing else decide. The row `ungrouped` has no rules and only holds a level.
CREATE TABLE access_device_groups (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    place BIGINT NOT NULL,
    rules TEXT NOT NULL,
    automation TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE access_token_scopes (
    token_id TEXT PRIMARY KEY,
    actions TEXT NOT NULL,
    device_groups TEXT NOT NULL
);

-- Who an account of an OpenID provider is here.
CREATE TABLE access_oidc_accounts (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (issuer, subject)
);

-- What an installation had becomes assignments on its tenant; its first administrator owns it.
INSERT INTO access_assignments
    (tenant_id, id, principal_kind, principal, role, scope_kind, scope, source, created, created_by)
SELECT 'default', 'first-' || id, 'User', id,
    CASE WHEN id = (SELECT MIN(o.id) FROM identity_users o WHERE o.role = 'admin' AND o.created =
        (SELECT MIN(c.created) FROM identity_users c WHERE c.role = 'admin')) THEN 'owner' ELSE role END,
    'Tenant', '', 'Local', created, 'migration'
FROM identity_users;

-- The chain: `line` is the entry as it was hashed, `hash` its SHA-256; other columns are copies for searching.
CREATE TABLE access_audit (
    seq BIGINT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    who TEXT NOT NULL,
    kind TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    status BIGINT NOT NULL,
    line TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE INDEX access_audit_at ON access_audit (tenant_id, at);
CREATE INDEX access_audit_who ON access_audit (tenant_id, who, seq);
-- One row: what the next entry follows. It is changed first, so that two servers take turns.
CREATE TABLE access_audit_head (
    id BIGINT PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO access_audit_head (id, seq, hash)
VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

{{ONLY SQLITE}}
CREATE TRIGGER access_audit_fixed BEFORE UPDATE ON access_audit
BEGIN
    SELECT RAISE(ABORT, 'access_audit_fixed: the audit log is never changed');
END;
CREATE TRIGGER access_audit_kept BEFORE DELETE ON access_audit
BEGIN
    SELECT RAISE(ABORT, 'access_audit_fixed: nothing is removed from the audit log');
END;
CREATE TRIGGER access_audit_once BEFORE INSERT ON access_audit
WHEN EXISTS (SELECT 1 FROM access_audit WHERE seq = NEW.seq)
BEGIN
    SELECT RAISE(ABORT, 'access_audit_fixed: this number is taken');
END;
{{ONLY POSTGRES}}
CREATE FUNCTION access_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation',
        MESSAGE = 'access_audit_fixed: the audit log is never changed, and nothing is removed from it';
END $$;
CREATE TRIGGER access_audit_fixed BEFORE UPDATE OR DELETE ON access_audit FOR EACH ROW
EXECUTE FUNCTION access_audit_refuse();
CREATE TRIGGER access_audit_whole BEFORE TRUNCATE ON access_audit EXECUTE FUNCTION access_audit_refuse();
{{END}}
