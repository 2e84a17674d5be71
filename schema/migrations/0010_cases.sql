-- Alerts, incidents and what belongs to them. Times are microseconds since 1970 UTC; `doc` and `lineage` are JSON.

CREATE TABLE incidents_incident (
    tenant_id TEXT NOT NULL,
    id BIGINT NOT NULL,
    title TEXT NOT NULL,
    title_given BIGINT NOT NULL,
    severity BIGINT NOT NULL,
    status TEXT NOT NULL,
    assigned_to TEXT,
    classification TEXT,
    determination TEXT,
    tags TEXT NOT NULL,
    redirect_id BIGINT,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    first_event BIGINT NOT NULL,
    last_event BIGINT NOT NULL,
    search TEXT NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX incidents_incident_updated ON incidents_incident (tenant_id, updated, id);

CREATE TABLE incidents_alert (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    incident_id BIGINT NOT NULL,
    device_id TEXT NOT NULL,
    device_name TEXT NOT NULL,
    rule_id TEXT NOT NULL,
    severity BIGINT NOT NULL,
    status TEXT NOT NULL,
    category TEXT NOT NULL,
    techniques TEXT NOT NULL,
    related_user TEXT,
    title TEXT NOT NULL,
    suppressed BIGINT NOT NULL,
    fold_key TEXT NOT NULL,
    match_count BIGINT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    first_event BIGINT NOT NULL,
    last_event BIGINT NOT NULL,
    search TEXT NOT NULL,
    reason TEXT NOT NULL,
    doc TEXT NOT NULL,
    lineage TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX incidents_alert_incident ON incidents_alert (tenant_id, incident_id);
CREATE INDEX incidents_alert_fold ON incidents_alert (tenant_id, fold_key, last_event);
CREATE INDEX incidents_alert_updated ON incidents_alert (tenant_id, updated, id);
CREATE INDEX incidents_alert_device ON incidents_alert (tenant_id, device_id, status);
CREATE INDEX incidents_alert_rule ON incidents_alert (tenant_id, rule_id, created);

-- What alerts have in common: processes, files, addresses, names, accounts, devices.
CREATE TABLE incidents_key (
    tenant_id TEXT NOT NULL,
    alert_id TEXT NOT NULL,
    incident_id BIGINT NOT NULL,
    shared_key TEXT NOT NULL,
    seen BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, alert_id, shared_key)
);
CREATE INDEX incidents_key_shared ON incidents_key (tenant_id, shared_key, seen);
CREATE INDEX incidents_key_incident ON incidents_key (tenant_id, incident_id);

-- Rows that alerts were raised on, so that a time line can name the alert and a repeat is not counted twice.
CREATE TABLE incidents_alert_row (
    tenant_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    report_id BIGINT NOT NULL,
    rule_id TEXT NOT NULL,
    alert_id TEXT NOT NULL,
    PRIMARY KEY (tenant_id, device_id, boot_id, report_id, rule_id)
);

CREATE TABLE incidents_comment (
    id {{AUTO_ID}},
    tenant_id TEXT NOT NULL,
    target TEXT NOT NULL,
    text TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created BIGINT NOT NULL
);
CREATE INDEX incidents_comment_target ON incidents_comment (tenant_id, target);

CREATE TABLE incidents_audit (
    id {{AUTO_ID}},
    tenant_id TEXT NOT NULL,
    target TEXT NOT NULL,
    who TEXT NOT NULL,
    at BIGINT NOT NULL,
    what TEXT NOT NULL,
    old TEXT,
    new TEXT
);
CREATE INDEX incidents_audit_target ON incidents_audit (tenant_id, target);

CREATE TABLE incidents_suppression (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    scope TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT,
    hidden_count BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
