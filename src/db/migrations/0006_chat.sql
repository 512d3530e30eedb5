-- Conversations of the web app. What people wrote is sealed under their own key.
CREATE TABLE conversations (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    title      BLOB NOT NULL,          -- sealed
    model      TEXT,
    pinned     INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX conversations_by_owner ON conversations (owner, updated_at);

CREATE TABLE messages (
    id                TEXT PRIMARY KEY,
    conversation      TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    owner             TEXT NOT NULL,
    seq               INTEGER NOT NULL, -- order within the conversation
    role              TEXT NOT NULL,    -- user or assistant
    content           BLOB NOT NULL,    -- sealed
    model             TEXT,
    created_at        INTEGER NOT NULL,
    state             TEXT NOT NULL,    -- complete, writing or interrupted
    finish_reason     TEXT,
    prompt_tokens     INTEGER,
    completion_tokens INTEGER,
    notices           TEXT NOT NULL DEFAULT '[]', -- categories, actions and counts; no text
    UNIQUE (conversation, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX messages_unfinished ON messages (state) WHERE state = 'writing';
-- At most one answer of a conversation is being written.
CREATE UNIQUE INDEX messages_one_writing ON messages (conversation) WHERE state = 'writing';
