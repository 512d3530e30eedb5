//! Shared prompts as rows.

use rusqlite::{Connection, Transaction, params};

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

/// Every prompt, the oldest first; of a row whose id is none, what stands there.
pub(super) fn load(connection: &Connection) -> Result<Vec<Result<PromptRow, String>>, DbError> {
    let mut statement = connection.prepare(
        "SELECT id, content, created_at, updated_at FROM shared_prompts ORDER BY created_at, id",
    )?;
    let rows = statement.query_map([], |row| {
        let named: String = row.get(0)?;
        let Ok(id) = SharedPromptId::parse(&named) else { return Ok(Err(named)) };
        let (content, created_at, updated_at) = (row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(Ok(PromptRow { id, content, created_at, updated_at }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
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

/// Deletes a prompt.
pub(super) fn remove(tx: &Transaction<'_>, id: SharedPromptId) -> Result<(), DbError> {
    tx.execute("DELETE FROM shared_prompts WHERE id = ?1", [id])?;
    Ok(())
}
