-- Several tenants in one server: which one a session works in, and which one a token was made in. Users are the server's;
-- what they may do in a tenant is an assignment there.
ALTER TABLE identity_sessions ADD COLUMN of_tenant TEXT NOT NULL DEFAULT 'default';
ALTER TABLE identity_api_tokens ADD COLUMN of_tenant TEXT NOT NULL DEFAULT 'default';
ALTER TABLE identity_enrolment_tokens ADD COLUMN of_tenant TEXT NOT NULL DEFAULT 'default';
-- Who made a user: only that tenant may let it in, and the first one's operator.
ALTER TABLE identity_users ADD COLUMN of_tenant TEXT NOT NULL DEFAULT 'default';
-- A chain of the audit log a tenant: `id` numbers the chains, and numbers of entries of chain n begin at (n - 1) * 2^40.
ALTER TABLE access_audit_head ADD COLUMN of_tenant TEXT NOT NULL DEFAULT 'default';
CREATE UNIQUE INDEX access_audit_head_tenant ON access_audit_head (of_tenant);
