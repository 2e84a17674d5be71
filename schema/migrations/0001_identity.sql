-- People, sessions and tokens. Secrets are stored as hashes only.
CREATE TABLE identity_users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    password_hash TEXT,
    created BIGINT NOT NULL
);
CREATE TABLE identity_sessions (
    hash TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES identity_users (id),
    created BIGINT NOT NULL,
    last_used BIGINT NOT NULL
);
CREATE INDEX identity_sessions_user ON identity_sessions (user_id);
CREATE TABLE identity_links (
    hash TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES identity_users (id),
    expires BIGINT NOT NULL
);
CREATE TABLE identity_api_tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    hash TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT,
    last_used BIGINT
);
CREATE TABLE identity_enrolment_tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    uses_max BIGINT NOT NULL,
    uses BIGINT NOT NULL,
    revoked BIGINT NOT NULL
);
