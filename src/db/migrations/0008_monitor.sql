-- How far the monitor has read the audit log. One row.
CREATE TABLE monitor_cursor (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL
) STRICT;

-- Failed sign-ins of the last quarter of an hour, by what they count against.
CREATE TABLE monitor_failures (
    source TEXT NOT NULL,              -- usr_…, an address, or `server`
    seq    INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (source, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX monitor_failures_by_seq ON monitor_failures (seq);

-- Tokens by person and hour since the epoch.
CREATE TABLE monitor_hours (
    user   TEXT NOT NULL,
    hour   INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (user, hour)
) STRICT, WITHOUT ROWID;

CREATE TABLE alerts (
    id              TEXT PRIMARY KEY,
    rule            TEXT NOT NULL,
    source          TEXT NOT NULL,
    seen            INTEGER NOT NULL,  -- failures, or tokens in the hour
    raised_at       INTEGER NOT NULL,
    last_at         INTEGER NOT NULL,
    acknowledged_at INTEGER,
    acknowledged_by TEXT
) STRICT, WITHOUT ROWID;

-- One open alert for one thing.
CREATE UNIQUE INDEX alerts_open ON alerts (rule, source) WHERE acknowledged_at IS NULL;
CREATE INDEX alerts_by_time ON alerts (raised_at);
