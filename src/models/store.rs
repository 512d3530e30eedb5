//! Who may use which model, and further names of models, as they are kept.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, Transaction, params};

use crate::access::binding::{BoundRow, RowMac};
use crate::db::DbError;

/// What is kept: the roles of every model that is not open to all, and aliases with their models.
pub(super) type Kept = (HashMap<String, Vec<String>>, BTreeMap<String, String>);

/// Who may use a model, as it stands in the database.
pub(super) struct AccessRow {
    pub(super) model: String,
    /// The list, as text.
    pub(super) list: String,
    /// None: a row from before rows were bound.
    pub(super) mac: Option<Vec<u8>>,
}

impl AccessRow {
    /// A row that is not bound yet.
    pub(super) fn new(model: &str, roles: &[String]) -> Self {
        let list = serde_json::json!(roles).to_string();
        Self { model: model.to_owned(), list, mac: None }
    }

    /// The roles; a list that cannot be read has none.
    pub(super) fn roles(&self) -> Vec<String> {
        serde_json::from_str(&self.list).unwrap_or_default()
    }
}

impl BoundRow for AccessRow {
    const TABLE: &'static str = "model_access";

    fn row_id(&self) -> String {
        self.model.clone()
    }

    fn columns(&self) -> Vec<Option<Vec<u8>>> {
        vec![Some(self.list.as_bytes().to_vec())]
    }
}

/// Reads all of it.
pub(super) fn load(
    connection: &Connection,
) -> Result<(Vec<AccessRow>, BTreeMap<String, String>), DbError> {
    Ok((access(connection)?, aliases(connection)?))
}

fn access(connection: &Connection) -> Result<Vec<AccessRow>, DbError> {
    let mut statement = connection.prepare("SELECT model, roles, mac FROM model_access")?;
    let rows = statement.query_map([], |row| {
        Ok(AccessRow { model: row.get(0)?, list: row.get(1)?, mac: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
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

/// Keeps who may use a model.
pub(super) fn put_access(
    tx: &Transaction<'_>,
    row: &AccessRow,
    mac: &RowMac,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO model_access (model, roles, mac) VALUES (?1, ?2, ?3)
         ON CONFLICT (model) DO UPDATE SET roles = excluded.roles, mac = excluded.mac",
        params![row.model, row.list, mac],
    )?;
    Ok(())
}

/// Binds a row from before rows were bound.
pub(super) fn bind_access(tx: &Transaction<'_>, model: &str, mac: &RowMac) -> Result<(), DbError> {
    tx.execute("UPDATE model_access SET mac = ?2 WHERE model = ?1", params![model, mac])?;
    Ok(())
}

/// Opens a model to all.
pub(super) fn remove_access(tx: &Transaction<'_>, model: &str) -> Result<(), DbError> {
    tx.execute("DELETE FROM model_access WHERE model = ?1", [model])?;
    Ok(())
}
