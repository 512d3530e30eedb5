-- Answers of the API that are sent again to who asks the same under the same key. The id is a keyed digest
-- of person, API key and `Idempotency-Key`; what was answered, and to what, is sealed under the person's key.
CREATE TABLE kept_answers (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    content    BLOB NOT NULL,          -- sealed
    bytes      INTEGER NOT NULL,       -- of the content, so that none of it is read to know its size
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX kept_answers_by_owner ON kept_answers (owner, created_at, bytes);
CREATE INDEX kept_answers_by_age ON kept_answers (created_at);
