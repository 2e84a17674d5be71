-- Several tenants in one server: which one a session works in, and which one a token was made in. Users are the server's;
-- what they may do in a tenant is an assignment there.
ALTER TABLE identity_sessions ADD COLUMN of_tenant TEXT NOT NULL DEFAULT 'default';
ALTER TABLE identity_api_tokens ADD COLUMN of_tenant TEXT NOT NULL DEFAULT 'default';
ALTER TABLE identity_enrolment_tokens ADD COLUMN of_tenant TEXT NOT NULL DEFAULT 'default';
