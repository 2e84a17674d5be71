-- Rules that operators brought, switches of all rules, and how far detection has come.

CREATE TABLE detection_rule (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    source TEXT NOT NULL,
    imported_by TEXT NOT NULL,
    imported BIGINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE detection_switch (
    tenant_id TEXT NOT NULL,
    rule_id TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    changed_by TEXT NOT NULL,
    changed BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, rule_id)
);

CREATE TABLE detection_content (
    tenant_id TEXT NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    digest TEXT NOT NULL
);

-- Rows that came (IngestTime) before this moment have been looked at by every rule.
CREATE TABLE detection_watermark (
    tenant_id TEXT NOT NULL PRIMARY KEY,
    ingested BIGINT NOT NULL
);
