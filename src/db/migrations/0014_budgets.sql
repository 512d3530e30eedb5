-- What was used in a calendar month, as `limit_days` has it for a day. What is on record of days counts at once.
CREATE TABLE limit_months (
    account  TEXT NOT NULL,            -- usr_…, key_…, grp_…, or usr_…/ and the digest of a model
    month    INTEGER NOT NULL,         -- twelve times the year, and the month of it from 0, UTC
    requests INTEGER NOT NULL,
    tokens   INTEGER NOT NULL,
    PRIMARY KEY (account, month)
) STRICT, WITHOUT ROWID;

CREATE INDEX limit_months_by_month ON limit_months (month);

INSERT INTO limit_months (account, month, requests, tokens)
SELECT account,
       12 * CAST(strftime('%Y', day * 86400, 'unixepoch') AS INTEGER)
         + CAST(strftime('%m', day * 86400, 'unixepoch') AS INTEGER) - 1,
       CAST(total(requests) AS INTEGER), CAST(total(tokens) AS INTEGER)
FROM limit_days WHERE day BETWEEN 0 AND 2932896   -- up to the year 9999
GROUP BY 1, 2;

-- Limits of one key, beside those of all keys: JSON, bound by the row's `mac` where there are any.
ALTER TABLE api_keys ADD COLUMN limits TEXT;

-- Groups of people, each with a budget that its members have together. Name and limits are sealed together
-- and bound to their row. A group only limits, so who is in one is not bound: whoever can write here could
-- as well write what was used.
CREATE TABLE user_groups (
    id         TEXT PRIMARY KEY,
    content    BLOB NOT NULL           -- sealed
) STRICT, WITHOUT ROWID;

CREATE TABLE user_group_members (
    user_group TEXT NOT NULL REFERENCES user_groups (id) ON DELETE CASCADE,
    user       TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (user_group, user)
) STRICT, WITHOUT ROWID;

CREATE INDEX user_group_members_by_user ON user_group_members (user);
