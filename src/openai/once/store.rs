//! Kept answers as rows. Every statement that is about somebody's names the owner: what is not yours is
//! not there.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::clock::Timestamp;
use crate::db::DbError;
use crate::ids::UserId;
use crate::vault::Sealed;

/// The most that is kept for one person.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) count_max: i64,
    pub(super) bytes_max: i64,
}

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

/// Takes away what there is no room for, the oldest first; says how many.
pub(super) fn make_room(tx: &Transaction<'_>, owner: UserId, room: Room) -> Result<usize, DbError> {
    let sql = "SELECT count(*), coalesce(sum(bytes), 0) FROM kept_answers WHERE owner = ?1";
    let (count, bytes): (i64, i64) =
        tx.query_row(sql, [owner], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if count <= room.count_max && bytes <= room.bytes_max {
        return Ok(0);
    }
    Ok(tx.execute(
        "DELETE FROM kept_answers WHERE id IN (
             SELECT id FROM (
                 SELECT id, row_number() OVER newest AS place, sum(bytes) OVER newest AS bytes
                 FROM kept_answers WHERE owner = ?1
                 WINDOW newest AS (ORDER BY created_at DESC, id ROWS UNBOUNDED PRECEDING))
             WHERE place > 1 AND (place > ?2 OR bytes > ?3))",
        params![owner, room.count_max, room.bytes_max],
    )?)
}

/// Deletes all that is kept for a person; says how many.
pub(super) fn forget(tx: &Transaction<'_>, owner: UserId) -> Result<usize, DbError> {
    Ok(tx.execute("DELETE FROM kept_answers WHERE owner = ?1", [owner])?)
}

/// Deletes what is as old as `before` or older, at most `count_max`; says how many.
pub(super) fn expire(
    tx: &Transaction<'_>,
    before: Timestamp,
    count_max: u32,
) -> Result<usize, DbError> {
    let sql = "DELETE FROM kept_answers WHERE id IN (
                   SELECT id FROM kept_answers WHERE created_at <= ?1 LIMIT ?2)";
    Ok(tx.execute(sql, params![before, count_max])?)
}
