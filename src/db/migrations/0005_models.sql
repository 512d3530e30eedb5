-- Who may use a model. A model without a row here is open to everybody who may use models.
CREATE TABLE model_access (
    model TEXT PRIMARY KEY,
    roles TEXT NOT NULL                -- JSON list of role names
) STRICT, WITHOUT ROWID;
