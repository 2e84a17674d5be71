-- Ways to machines without a connector: sealed secrets, host keys. Every table begins with the tenant. Times are
-- microseconds since 1970 UTC.

-- `sealed` is nonce and AES-256-GCM text, hexadecimal; its key lies in the data folder and never here.
CREATE TABLE reach_secrets (
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    sealed TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

-- Keys that hosts have shown, as lines of OpenSSH's known_hosts.
CREATE TABLE reach_hosts (
    tenant_id TEXT NOT NULL,
    address TEXT NOT NULL,
    lines TEXT NOT NULL,
    accepted_by TEXT NOT NULL,
    accepted BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, address)
);
