-- Runs of the evaluations. Results hold ids of the suites and numbers; no text that was scored.
CREATE TABLE evaluation_runs (
    id           TEXT PRIMARY KEY,
    suite        TEXT NOT NULL,
    model        TEXT NOT NULL,
    model_sha256 TEXT,
    origin       TEXT NOT NULL CHECK (origin IN ('person', 'schedule', 'console')),
    started_by   TEXT,                 -- the person, if one started it
    started_at   INTEGER NOT NULL,
    ended_at     INTEGER,
    state        TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'cancelled')),
    reason       TEXT,                 -- the name of what went wrong
    results      TEXT                  -- JSON, once it is done
) STRICT, WITHOUT ROWID;

CREATE INDEX evaluation_runs_by_time ON evaluation_runs (started_at);
-- One at a time: the models are there for people first.
CREATE UNIQUE INDEX evaluation_runs_one_running ON evaluation_runs (state) WHERE state = 'running';
