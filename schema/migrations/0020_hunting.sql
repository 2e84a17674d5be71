-- Hunting: what was run and what it cost, and saved queries. Times are microseconds since 1970 UTC; `report` is JSON.

CREATE TABLE hunting_history (
    number {{AUTO_ID}},
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    interface TEXT NOT NULL,
    began BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    state TEXT NOT NULL,
    error TEXT,
    query TEXT NOT NULL,
    report TEXT NOT NULL
);
CREATE INDEX hunting_history_began ON hunting_history (tenant_id, began, number);
CREATE INDEX hunting_history_owner ON hunting_history (tenant_id, owner, began, number);

-- `place` is unique: the owner (empty for shared ones), folder and name, each followed by a line end.
CREATE TABLE hunting_query (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    shared BIGINT NOT NULL,
    folder TEXT NOT NULL,
    name TEXT NOT NULL,
    place TEXT NOT NULL,
    description TEXT NOT NULL,
    query TEXT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX hunting_query_place ON hunting_query (tenant_id, place);
