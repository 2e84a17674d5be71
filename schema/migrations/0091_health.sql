-- Health of machines as it was last worked out: state and findings of each as one frozen document, written when they
-- change; and when all of them were last looked at. Every table begins with the tenant. Times are microseconds since
-- 1970 UTC.

CREATE TABLE health_machines (
    tenant_id TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    document TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, machine_id)
);

CREATE TABLE health_rounds (
    tenant_id TEXT PRIMARY KEY,
    at BIGINT NOT NULL
);
