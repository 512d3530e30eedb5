//! Who may use which model, and further names of models, as they are kept.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, Transaction, params};

use crate::db::DbError;

/// What is kept: the roles of every model that is not open to all, and aliases with their models.
pub(super) type Kept = (HashMap<String, Vec<String>>, BTreeMap<String, String>);

/// Reads all of it.
pub(super) fn load(connection: &Connection) -> Result<Kept, DbError> {
    Ok((access(connection)?, aliases(connection)?))
}

fn access(connection: &Connection) -> Result<HashMap<String, Vec<String>>, DbError> {
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

fn aliases(connection: &Connection) -> Result<BTreeMap<String, String>, DbError> {
    let mut statement = connection.prepare("SELECT alias, model FROM model_aliases")?;
    let mut rows = statement.query([])?;
    let mut aliases = BTreeMap::new();
    while let Some(row) = rows.next()? {
        aliases.insert(row.get(0)?, row.get(1)?);
    }
    Ok(aliases)
}

/// Keeps an alias.
pub(super) fn add_alias(tx: &Transaction<'_>, alias: &str, model: &str) -> Result<(), DbError> {
    tx.execute("INSERT INTO model_aliases (alias, model) VALUES (?1, ?2)", params![alias, model])?;
    Ok(())
}

/// Forgets an alias.
pub(super) fn remove_alias(tx: &Transaction<'_>, alias: &str) -> Result<(), DbError> {
    tx.execute("DELETE FROM model_aliases WHERE alias = ?1", [alias])?;
    Ok(())
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
