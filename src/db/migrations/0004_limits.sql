-- What people and keys have used, so that a restart gives nothing away.
CREATE TABLE limit_minutes (
    account        TEXT PRIMARY KEY,   -- usr_… or key_…
    requests_spent INTEGER NOT NULL,   -- in sixty-thousandths of a request
    requests_at    INTEGER NOT NULL,   -- ms since the epoch
    tokens_spent   INTEGER NOT NULL,
    tokens_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE limit_days (
    account  TEXT NOT NULL,
    day      INTEGER NOT NULL,         -- days since the epoch, UTC
    requests INTEGER NOT NULL,
    tokens   INTEGER NOT NULL,
    PRIMARY KEY (account, day)
) STRICT, WITHOUT ROWID;

CREATE INDEX limit_days_by_day ON limit_days (day);
