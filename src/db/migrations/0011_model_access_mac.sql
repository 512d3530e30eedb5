-- Rows of access are bound as those of people are (`access::binding`). Rows from before have no digest:
-- at the next start those get one that the verified audit log confirms; nobody is let in by the others.
ALTER TABLE model_access ADD COLUMN mac BLOB;
