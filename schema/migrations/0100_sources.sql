-- Clouds whose machines are taken in again and again. Every table begins with the tenant. Times are microseconds since
-- 1970 UTC.

-- `lease_until` and `lease_holder`: the server that works on the source now, so that two on one database do not both.
-- `next_run` is 0 where it is to be worked on at once. `outcome`, `message` and `failures` (in a row) are those of the
-- newest round, `counts` (JSON) those of the newest one that read the inventory.
CREATE TABLE reach_sources (
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    cloud TEXT NOT NULL,
    region TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    secret TEXT NOT NULL,
    subscription_id TEXT NOT NULL,
    group_name TEXT NOT NULL,
    gateway TEXT NOT NULL,
    program TEXT NOT NULL,
    install BIGINT NOT NULL,
    every_minutes BIGINT NOT NULL,
    disabled BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    created BIGINT NOT NULL,
    next_run BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    lease_holder TEXT NOT NULL,
    last_run BIGINT,
    outcome TEXT NOT NULL,
    message TEXT NOT NULL,
    counts TEXT NOT NULL,
    failures BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

-- Instances that sources have seen. `tags` (JSON) are those that the cloud last gave: what a person changed here since
-- is told apart by them. `next_try` is when the connector may be sent again.
CREATE TABLE reach_instances (
    tenant_id TEXT NOT NULL,
    cloud TEXT NOT NULL,
    instance TEXT NOT NULL,
    source TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    tags TEXT NOT NULL,
    state TEXT NOT NULL,
    tries BIGINT NOT NULL,
    last_try BIGINT NOT NULL,
    next_try BIGINT NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (tenant_id, cloud, instance)
);
