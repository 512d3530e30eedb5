//! Shared prompts as rows.

use rusqlite::{Connection, Row, Transaction, params};

use super::unreadable::RowName;
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::ids::SharedPromptId;
use crate::vault::Sealed;

/// A prompt, sealed.
#[derive(Clone, Debug)]
pub(super) struct PromptRow {
    pub(super) id: SharedPromptId,
    pub(super) content: Sealed,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

/// Gives every row, the oldest first, one at a time: what stands there as its id, and the prompt where that
/// is one. Of any length and number, whoever has written them.
pub(super) fn each<E: From<DbError>>(
    connection: &Connection,
    mut visit: impl FnMut(&[u8], Option<PromptRow>) -> Result<(), E>,
) -> Result<(), E> {
    // As bytes: text that somebody wrote into the file need not be any.
    let sql = "SELECT CAST(id AS BLOB), content, created_at, updated_at FROM shared_prompts
        ORDER BY created_at, id";
    let mut statement = connection.prepare(sql).map_err(DbError::from)?;
    let mut rows = statement.query([]).map_err(DbError::from)?;
    while let Some(row) = rows.next().map_err(DbError::from)? {
        let stored: Vec<u8> = row.get(0).map_err(DbError::from)?;
        let prompt = match RowName::of(&stored) {
            RowName::Prompt(id) => Some(read(id, row).map_err(DbError::from)?),
            RowName::Other(_) => None,
        };
        visit(&stored, prompt)?;
    }
    Ok(())
}

fn read(id: SharedPromptId, row: &Row<'_>) -> rusqlite::Result<PromptRow> {
    let (content, created_at, updated_at) = (row.get(1)?, row.get(2)?, row.get(3)?);
    Ok(PromptRow { id, content, created_at, updated_at })
}

/// Keeps a prompt, in the place of what it was.
pub(super) fn save(tx: &Transaction<'_>, row: &PromptRow) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO shared_prompts (id, content, created_at, updated_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET
           content = excluded.content, updated_at = excluded.updated_at",
        params![row.id, row.content, row.created_at, row.updated_at],
    )?;
    Ok(())
}

/// Deletes a row.
pub(super) fn remove(tx: &Transaction<'_>, name: RowName) -> Result<(), DbError> {
    match name {
        RowName::Prompt(id) => {
            tx.execute("DELETE FROM shared_prompts WHERE id = ?1", [id])?;
        }
        RowName::Other(_) => {
            let mut statement = tx.prepare("SELECT CAST(id AS BLOB) FROM shared_prompts")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let stored: Vec<u8> = row.get(0)?;
                if RowName::of(&stored) == name {
                    let delete = "DELETE FROM shared_prompts WHERE CAST(id AS BLOB) = ?1";
                    tx.execute(delete, [stored])?;
                    break;
                }
            }
        }
    }
    Ok(())
}
