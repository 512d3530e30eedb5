-- Responses of the API that are kept for their person. What was asked and what was answered is sealed
-- together under the person's own key; the one before it is named in there.
CREATE TABLE responses (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    content    BLOB NOT NULL,          -- sealed
    bytes      INTEGER NOT NULL,       -- of the content, so that none of it is read to know its size
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL        -- when it was made, or gone on from last
) STRICT, WITHOUT ROWID;

CREATE INDEX responses_by_owner ON responses (owner, used_at, bytes);
CREATE INDEX responses_by_use ON responses (used_at);
