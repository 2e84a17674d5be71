-- Days that data of a tenant is kept; `hunting_days` 0: hunts see as far as rows are kept.

CREATE TABLE retention_days (
    tenant_id TEXT PRIMARY KEY,
    portal_days BIGINT NOT NULL,
    hunting_days BIGINT NOT NULL,
    cloud_alert_days BIGINT NOT NULL,
    inactive_device_days BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);
