-- Prices, owned seats, and bytes taken in a day. Moments are whole hours or days counted from 1970, prices are whole
-- millionths of the currency a unit: a machine-hour for a plan, a megabyte for what is taken in.
CREATE TABLE metering_prices (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    meter TEXT NOT NULL,
    currency TEXT NOT NULL,
    unit_micros BIGINT NOT NULL,
    valid_from BIGINT NOT NULL,
    valid_to BIGINT,
    created_by TEXT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- A list of seats that is replaced leaves the former ones here: the ledger names them.
CREATE TABLE metering_seats (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    plan TEXT NOT NULL,
    seats BIGINT NOT NULL,
    subscription_id TEXT NOT NULL,
    valid_from BIGINT NOT NULL,
    valid_to BIGINT,
    note TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created BIGINT NOT NULL,
    removed BIGINT,
    PRIMARY KEY (tenant_id, id)
);

-- The seat that covers an hour; empty where none does. Written with the row, never later.
ALTER TABLE metering_ledger ADD COLUMN seat_id TEXT NOT NULL DEFAULT '';

CREATE TABLE metering_ingest (
    tenant_id TEXT NOT NULL,
    day BIGINT NOT NULL,
    subscription_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    event_bytes BIGINT NOT NULL,
    other_bytes BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, day, subscription_id, device_id)
);
