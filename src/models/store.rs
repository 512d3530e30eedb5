//! Who may use which model, and further names of models, as they are kept.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::access::binding::{BoundRow, RowMac};
use crate::db::DbError;

/// Who may use which model, as it stands in the database. It is bound as a whole: a row that is taken
/// away opens a model just as one that is changed does.
#[derive(Default)]
pub(super) struct AccessTable {
    /// The list of roles, as text, by model.
    pub(super) lists: BTreeMap<String, String>,
    /// Whether a model without a row is open to nobody.
    pub(super) is_closed: bool,
}

impl BoundRow for AccessTable {
    const TABLE: &'static str = "model_access";

    fn row_id(&self) -> String {
        "all".to_owned()
    }

    fn columns(&self) -> Vec<Option<Vec<u8>>> {
        let bytes = |text: &String| Some(text.as_bytes().to_vec());
        let rows = self.lists.iter().flat_map(|(model, list)| [bytes(model), bytes(list)]);
        std::iter::once(Some(vec![u8::from(self.is_closed)])).chain(rows).collect()
    }
}

/// What is kept of who may use which model; the digest is none in a database from before there was one.
pub(super) type KeptAccess = (AccessTable, Option<Vec<u8>>);

/// Reads who may use which model. Text that is none is read as well as can be: no digest fits it.
pub(super) fn access(connection: &Connection) -> Result<KeptAccess, DbError> {
    let mut table = AccessTable::default();
    let mut statement =
        connection.prepare("SELECT CAST(model AS BLOB), CAST(roles AS BLOB) FROM model_access")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (model, list): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        table.lists.insert(text(&model), text(&list));
    }
    let sum = connection
        .query_row("SELECT closed <> 0, mac FROM model_access_sum", [], |row| {
            Ok((row.get::<_, bool>(0)?, row.get::<_, Vec<u8>>(1)?))
        })
        .optional()?;
    let mac = sum.map(|(is_closed, mac)| {
        table.is_closed = is_closed;
        mac
    });
    Ok((table, mac))
}

/// Reads further names of models.
pub(super) fn aliases(connection: &Connection) -> Result<BTreeMap<String, String>, DbError> {
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

/// Keeps who may use which model, in the place of all that was there, with its digest.
pub(super) fn put_access(
    tx: &Transaction<'_>,
    table: &AccessTable,
    mac: &RowMac,
) -> Result<(), DbError> {
    tx.execute("DELETE FROM model_access", [])?;
    let mut insert = tx.prepare("INSERT INTO model_access (model, roles) VALUES (?1, ?2)")?;
    for (model, list) in &table.lists {
        insert.execute(params![model, list])?;
    }
    tx.execute(
        "INSERT INTO model_access_sum (id, closed, mac) VALUES (1, ?1, ?2)
         ON CONFLICT (id) DO UPDATE SET closed = excluded.closed, mac = excluded.mac",
        params![table.is_closed, mac],
    )?;
    Ok(())
}
