//! Kept responses as rows. Every statement that is about somebody's names the owner: what is not yours is
//! not there.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::clock::Timestamp;
use crate::db::DbError;
use crate::ids::{ResponseId, UserId};
use crate::vault::Sealed;

/// Keeps a response.
pub(super) fn add(
    tx: &Transaction<'_>,
    owner: UserId,
    id: ResponseId,
    content: &Sealed,
    now: Timestamp,
) -> Result<(), DbError> {
    let bytes = i64::try_from(content.as_bytes().len()).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO responses (id, owner, content, bytes, created_at, used_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
        params![id, owner, content, bytes, now],
    )?;
    Ok(())
}

/// What is kept of one.
pub(super) fn find(
    connection: &Connection,
    owner: UserId,
    id: ResponseId,
) -> Result<Option<Sealed>, DbError> {
    let sql = "SELECT content FROM responses WHERE id = ?1 AND owner = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row(params![id, owner], |row| row.get(0)).optional()?)
}

/// Notes that somebody went on from these.
pub(super) fn touch(
    tx: &Transaction<'_>,
    owner: UserId,
    ids: &[ResponseId],
    now: Timestamp,
) -> Result<(), DbError> {
    let sql = "UPDATE responses SET used_at = ?3 WHERE id = ?1 AND owner = ?2";
    let mut statement = tx.prepare_cached(sql)?;
    for id in ids {
        statement.execute(params![id, owner, now])?;
    }
    Ok(())
}

/// Deletes one; says whether it was there.
pub(super) fn delete(tx: &Transaction<'_>, owner: UserId, id: ResponseId) -> Result<bool, DbError> {
    let sql = "DELETE FROM responses WHERE id = ?1 AND owner = ?2";
    Ok(tx.execute(sql, params![id, owner])? == 1)
}
