//! Who may use which model, as it is kept.

use std::collections::HashMap;

use rusqlite::{Connection, Transaction, params};

use crate::db::DbError;

/// The roles of every model that is not open to all.
pub(super) fn access(connection: &Connection) -> Result<HashMap<String, Vec<String>>, DbError> {
    let mut statement = connection.prepare("SELECT model, roles FROM model_access")?;
    let mut rows = statement.query([])?;
    let mut access = HashMap::new();
    while let Some(row) = rows.next()? {
        // A list that cannot be read lets nobody in.
        let roles = serde_json::from_str(&row.get::<_, String>(1)?).unwrap_or_default();
        access.insert(row.get(0)?, roles);
    }
    Ok(access)
}

/// Keeps who may use a model; none opens it to all.
pub(super) fn set_access(
    tx: &Transaction<'_>,
    model: &str,
    roles: Option<&[String]>,
) -> Result<(), DbError> {
    match roles {
        None => tx.execute("DELETE FROM model_access WHERE model = ?1", [model])?,
        Some(roles) => tx.execute(
            "INSERT INTO model_access (model, roles) VALUES (?1, ?2)
             ON CONFLICT (model) DO UPDATE SET roles = excluded.roles",
            params![model, serde_json::json!(roles).to_string()],
        )?,
    };
    Ok(())
}
