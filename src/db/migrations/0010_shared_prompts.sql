-- System prompts that administrators keep for many: name, text, and whom they are for, sealed together,
-- so that none of it can be changed alone.
CREATE TABLE shared_prompts (
    id         TEXT PRIMARY KEY,
    content    BLOB NOT NULL,          -- sealed
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The shared prompt that a conversation stands under.
ALTER TABLE conversations ADD COLUMN prompt TEXT;
