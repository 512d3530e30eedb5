//! Kept answers as rows. Every statement that is about somebody's names the owner: what is not yours is
//! not there.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::clock::Timestamp;
use crate::db::DbError;
use crate::ids::UserId;
use crate::vault::Sealed;

/// Keeps an answer, in the place of an older one.
pub(super) fn put(
    tx: &Transaction<'_>,
    owner: UserId,
    id: &str,
    content: &Sealed,
    now: Timestamp,
) -> Result<(), DbError> {
    let bytes = i64::try_from(content.as_bytes().len()).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT OR REPLACE INTO kept_answers (id, owner, content, bytes, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![id, owner, content, bytes, now],
    )?;
    Ok(())
}

/// What is kept, if it is no older than `since`.
pub(super) fn find(
    connection: &Connection,
    owner: UserId,
    id: &str,
    since: Timestamp,
) -> Result<Option<Sealed>, DbError> {
    let sql = "SELECT content FROM kept_answers WHERE id = ?1 AND owner = ?2 AND created_at > ?3";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row(params![id, owner, since], |row| row.get(0)).optional()?)
}

/// Deletes all that is kept for a person; says how many.
pub(super) fn forget(tx: &Transaction<'_>, owner: UserId) -> Result<usize, DbError> {
    Ok(tx.execute("DELETE FROM kept_answers WHERE owner = ?1", [owner])?)
}
