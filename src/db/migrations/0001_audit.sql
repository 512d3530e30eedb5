-- The audit log: one row an event, in order, never changed. `leaf` is the RFC 6962 leaf hash of
-- `body`, the canonical bytes of the event.
CREATE TABLE audit_events (
    seq     INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    action  TEXT NOT NULL,
    outcome TEXT NOT NULL,
    actor   TEXT NOT NULL,
    subject TEXT,
    request TEXT,
    body    BLOB NOT NULL,
    leaf    BLOB NOT NULL
) STRICT;

CREATE INDEX audit_events_by_actor ON audit_events (actor, seq);
CREATE INDEX audit_events_by_action ON audit_events (action, seq);
CREATE INDEX audit_events_by_subject ON audit_events (subject, seq);

-- Signed heads: one a commit that added events. `peaks` are the hashes from which the tree grows.
CREATE TABLE audit_heads (
    size      INTEGER PRIMARY KEY,
    root      BLOB NOT NULL,
    signed_at INTEGER NOT NULL,
    signature BLOB NOT NULL,
    peaks     BLOB NOT NULL
) STRICT;
