-- The sheet for which an open one was ended: it goes on when that one is taken back. Empty where its end was given.
ALTER TABLE metering_prices ADD COLUMN ended_by TEXT NOT NULL DEFAULT '';
