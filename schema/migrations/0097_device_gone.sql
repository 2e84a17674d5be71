-- A machine keeps the device that its sensor was; whether that was off-boarded or revoked is said beside it.
ALTER TABLE plane_machines ADD COLUMN device_gone BIGINT NOT NULL DEFAULT 0;
