-- The cloud view asks for alerts by how they were closed, and by when they were made.

ALTER TABLE incidents_alert ADD COLUMN classification TEXT;
UPDATE incidents_alert SET classification = 'TruePositive' WHERE doc LIKE '%"classification":"TruePositive"%';
UPDATE incidents_alert SET classification = 'FalsePositive' WHERE doc LIKE '%"classification":"FalsePositive"%';
UPDATE incidents_alert SET classification = 'InformationalExpectedActivity'
    WHERE doc LIKE '%"classification":"InformationalExpectedActivity"%';
CREATE INDEX incidents_alert_created ON incidents_alert (tenant_id, created, id);
