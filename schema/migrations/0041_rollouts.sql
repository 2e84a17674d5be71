-- Roll-outs of a version of the sensor: one frozen document each; `revision` grows with each change, so that two servers
-- move a roll-out only once. Times are microseconds since 1970 UTC.
CREATE TABLE connect_rollouts (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    created BIGINT NOT NULL,
    document TEXT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
