-- Recommendations: what was exempted from them. States are worked out when they are asked for, so none is kept. Every
-- table begins with the tenant. Times are microseconds since 1970 UTC.

CREATE TABLE recommend_exemptions (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    recommendation TEXT NOT NULL,
    subscription_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    category TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX recommend_exemptions_of ON recommend_exemptions (tenant_id, recommendation, subscription_id);
