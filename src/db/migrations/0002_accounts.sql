-- People. The sign-in name is in the clear, as the audit log's reader must see who is who; the
-- display name is sealed under the person's key. `mac`, here and below, is a keyed digest that binds
-- the row (a person's covers their roles too): a row whose digest does not fit is not believed.
CREATE TABLE users (
    id           TEXT PRIMARY KEY,
    username     TEXT NOT NULL UNIQUE,
    display_name BLOB NOT NULL,          -- sealed
    password     TEXT,                   -- PHC string; none until an invitation is redeemed
    disabled     INTEGER NOT NULL DEFAULT 0,
    created_at   INTEGER NOT NULL,
    mac          BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE user_roles (
    user TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    PRIMARY KEY (user, role)
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    id           TEXT PRIMARY KEY,
    user         TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    secret_hash  BLOB NOT NULL UNIQUE,   -- keyed
    created_at   INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    address      TEXT,
    user_agent   BLOB NOT NULL,          -- sealed
    mac          BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_user ON sessions (user);

-- One-time links: set-up, invitation, reset. A used one is deleted.
CREATE TABLE links (
    id          TEXT PRIMARY KEY,
    kind        TEXT NOT NULL,
    secret_hash BLOB NOT NULL UNIQUE,    -- keyed
    user        TEXT REFERENCES users (id) ON DELETE CASCADE,
    made_by     TEXT REFERENCES users (id) ON DELETE CASCADE,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    mac         BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Failed sign-ins and failed attempts at links, by keyed hashes of names and addresses.
CREATE TABLE sign_in_failures (
    source   BLOB PRIMARY KEY,
    failures INTEGER NOT NULL,
    last_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_failures_by_time ON sign_in_failures (last_at);

-- Pairs of person and address that have signed in before.
CREATE TABLE sign_in_known (
    source  BLOB PRIMARY KEY,
    last_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
