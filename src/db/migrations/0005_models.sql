-- Who may use a model. A model without a row here is open to everybody who may use models.
CREATE TABLE model_access (
    model TEXT PRIMARY KEY,
    roles TEXT NOT NULL                -- JSON list of role names
) STRICT, WITHOUT ROWID;

-- The digest under which a model was last served, so that a changed file is noticed.
CREATE TABLE model_files (
    model     TEXT PRIMARY KEY,
    sha256    TEXT NOT NULL,
    bytes     INTEGER NOT NULL,
    seen_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
