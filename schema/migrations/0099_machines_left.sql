-- When a machine said that everything of ours is gone from it: from then on it is not heard of, however lately it was.
ALTER TABLE plane_machines ADD COLUMN off_boarded BIGINT;
