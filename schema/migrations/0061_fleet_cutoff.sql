-- A tenant was reset at this moment: certificates that were issued before it let in no device that is not known.

CREATE TABLE fleet_cutoffs (
    tenant_id TEXT PRIMARY KEY,
    issued_before BIGINT NOT NULL
);
