-- Who used which model how much, by the day, and by the hour of late. Sums alone, and ids alone: what is
-- left of a person who was deleted names nobody.
CREATE TABLE usage_days (
    slot          INTEGER NOT NULL,    -- days since the epoch, UTC
    user          TEXT NOT NULL,       -- usr_…, or system: the server itself
    key           TEXT NOT NULL,       -- key_…, or empty: no key was used
    model         TEXT NOT NULL,
    kind          TEXT NOT NULL,       -- the purpose, as the audit log writes it
    requests      INTEGER NOT NULL,
    input_tokens  INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,    -- of the input, those that were in the cache
    output_tokens INTEGER NOT NULL,
    cost_micro    INTEGER NOT NULL,    -- whole millionths of the currency's unit
    cost_pico     INTEGER NOT NULL,    -- and millionths of one of them, below one
    PRIMARY KEY (slot, user, key, model, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_hours (
    slot          INTEGER NOT NULL,    -- hours since the epoch
    user          TEXT NOT NULL,
    key           TEXT NOT NULL,
    model         TEXT NOT NULL,
    kind          TEXT NOT NULL,
    requests      INTEGER NOT NULL,
    input_tokens  INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_micro    INTEGER NOT NULL,
    cost_pico     INTEGER NOT NULL,
    PRIMARY KEY (slot, user, key, model, kind)
) STRICT, WITHOUT ROWID;
