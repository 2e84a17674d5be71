-- Connectors: tokens that connect machines, identities, what should be on a machine and is, off-boarding, history.
-- Every table begins with the tenant. Times are microseconds since 1970 UTC.

-- An empty scope lets a machine choose.
CREATE TABLE connect_tokens (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    subscription_id TEXT NOT NULL,
    group_name TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    uses_max BIGINT NOT NULL,
    uses BIGINT NOT NULL,
    revoked BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- One line an identity; a machine that is enrolled anew gets another one, the older one is revoked.
CREATE TABLE connect_connectors (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    bound_machine_id TEXT NOT NULL,
    bound_hardware TEXT NOT NULL,
    token_id TEXT NOT NULL,
    runs TEXT NOT NULL,
    facts TEXT NOT NULL,
    enrolled BIGINT NOT NULL,
    revoked BIGINT NOT NULL,
    revoked_reason TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX connect_connectors_machine ON connect_connectors (tenant_id, machine_id);

-- What should be and is, as one frozen document; `revision` grows with each change, so that two servers that look at
-- one machine at once cannot both give an order.
CREATE TABLE connect_standings (
    tenant_id TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    standing TEXT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, machine_id)
);

CREATE TABLE connect_history (
    id {{AUTO_ID}},
    tenant_id TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    extension TEXT NOT NULL,
    state TEXT NOT NULL,
    code BIGINT NOT NULL,
    detail TEXT NOT NULL,
    version TEXT NOT NULL
);
CREATE INDEX connect_history_machine ON connect_history (tenant_id, machine_id, id);

-- Tokens of sensors that were given out for a machine: the device that enrols with one is the machine's.
CREATE TABLE connect_sensor_tokens (
    tenant_id TEXT NOT NULL,
    token_id TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, token_id)
);
