-- How machines stood under recommendations when they were last looked at, so that a change can be told to others: a
-- row a machine and recommendation, written when its state changes. What the API answers is worked out anew. Every table
-- begins with the tenant. Times are microseconds since 1970 UTC.

CREATE TABLE recommend_states (
    tenant_id TEXT NOT NULL,
    recommendation TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    state TEXT NOT NULL,
    before TEXT NOT NULL,
    document TEXT NOT NULL,
    changed BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, recommendation, machine_id)
);
CREATE INDEX recommend_states_changed ON recommend_states (tenant_id, changed);
