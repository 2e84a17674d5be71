-- Devices and their certificates. host_name to machine_id are what the sensor says of its host: claims.
CREATE TABLE fleet_devices (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    host_name TEXT NOT NULL,
    os_platform TEXT NOT NULL,
    os_distribution TEXT NOT NULL,
    os_version TEXT NOT NULL,
    kernel_version TEXT NOT NULL,
    architecture TEXT NOT NULL,
    ip_addresses TEXT NOT NULL,
    hardware_uuid TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    duplicate_of TEXT,
    sensor_version TEXT NOT NULL,
    last_ip TEXT,
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    health_issues TEXT NOT NULL,
    sight TEXT NOT NULL,
    tags TEXT NOT NULL,
    content_version TEXT NOT NULL,
    revoked BIGINT NOT NULL,
    revoked_reason TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    lost_count BIGINT NOT NULL
);
CREATE INDEX fleet_devices_hardware ON fleet_devices (hardware_uuid);
CREATE TABLE fleet_certificates (
    fingerprint TEXT PRIMARY KEY,
    device_id TEXT NOT NULL REFERENCES fleet_devices (id),
    serial TEXT NOT NULL,
    issued BIGINT NOT NULL,
    not_after BIGINT NOT NULL
);
CREATE INDEX fleet_certificates_device ON fleet_certificates (device_id);
