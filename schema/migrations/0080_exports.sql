-- Where alerts, recommendations and findings are exported to. `cursor` is JSON: for each kind the place (time, id) of the
-- last record that was delivered; `revision` grows with every change from outside, so that a delivery under way does not
-- write over a replay. `secret` is sealed.
CREATE TABLE exports_target (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    mode TEXT NOT NULL,
    what TEXT NOT NULL,
    target TEXT NOT NULL,
    secret TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    cursor TEXT NOT NULL,
    snapshot BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    next_attempt BIGINT NOT NULL,
    delivered BIGINT NOT NULL,
    last_delivered BIGINT,
    last_error TEXT,
    created_by TEXT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
