-- Who may use which model is bound as a whole (`access::binding`), so that a row that is taken away is found
-- as one that is changed is; single rows need no digest any more. A database from before gets its digest
-- once, at the next start, where the verified audit log says the same of every model.
ALTER TABLE model_access DROP COLUMN mac;
CREATE TABLE model_access_sum (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    closed INTEGER NOT NULL,           -- 1: a model without a row is open to nobody
    mac    BLOB NOT NULL
) STRICT;
