-- In the server's own list of tenants: whether the tenant's control data has begun in its geography. If so and it is not
-- found there, the server does not begin it anew.
ALTER TABLE plane_tenants ADD COLUMN settled BIGINT NOT NULL DEFAULT 0;
