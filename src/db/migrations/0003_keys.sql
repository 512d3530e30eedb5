-- API keys: a keyed hash of the secret, and what the key may be used for.
CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    user         TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         BLOB NOT NULL,          -- sealed
    secret_hash  BLOB NOT NULL UNIQUE,   -- keyed
    hint         TEXT NOT NULL,          -- the last four digits
    scopes       TEXT NOT NULL,          -- JSON list of permission names
    models       TEXT,                   -- JSON list of model names; none: all that the owner may use
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER,
    mac          BLOB NOT NULL           -- binds the row, as in `users`
) STRICT, WITHOUT ROWID;

CREATE INDEX api_keys_by_user ON api_keys (user);
