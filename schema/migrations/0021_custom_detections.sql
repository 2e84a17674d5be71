-- Detections made of queries, indicators, and hunts of both through the past.

CREATE TABLE detection_custom (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    -- Name and alert title in lower case: each is there once.
    name_key TEXT NOT NULL,
    title_key TEXT NOT NULL,
    doc TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    -- End of the last window that was dealt with, microseconds of event time.
    watermark BIGINT NOT NULL,
    -- Tries of the next window that failed, and when to try again.
    attempts BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    created BIGINT NOT NULL,
    updated_by TEXT NOT NULL,
    updated BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX detection_custom_name ON detection_custom (tenant_id, name_key);
CREATE UNIQUE INDEX detection_custom_title ON detection_custom (tenant_id, title_key);

CREATE TABLE detection_custom_run (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    rule_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    window_from BIGINT NOT NULL,
    window_to BIGINT NOT NULL,
    started BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    alert_count BIGINT NOT NULL,
    repeated_count BIGINT NOT NULL,
    capped BIGINT NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX detection_custom_run_rule ON detection_custom_run (tenant_id, rule_id, started);

-- How far event time has come, and up to which time of coming continuous rules have seen every row.
CREATE TABLE detection_custom_clock (
    tenant_id TEXT NOT NULL PRIMARY KEY,
    event_time BIGINT NOT NULL,
    ingested BIGINT NOT NULL
);

CREATE TABLE detection_indicator (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    doc TEXT NOT NULL,
    expires BIGINT,
    created BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX detection_indicator_value ON detection_indicator (tenant_id, kind, value);

CREATE TABLE detection_retro (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    title TEXT NOT NULL,
    state TEXT NOT NULL,
    range_from BIGINT NOT NULL,
    range_to BIGINT NOT NULL,
    -- Everything before this moment of the range has been looked at.
    done_to BIGINT NOT NULL,
    alerts BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    match_count BIGINT NOT NULL,
    alert_count BIGINT NOT NULL,
    error TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created BIGINT NOT NULL,
    ended BIGINT,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX detection_retro_state ON detection_retro (tenant_id, state, created);

CREATE TABLE detection_retro_match (
    tenant_id TEXT NOT NULL,
    retro_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (tenant_id, retro_id, number)
);
