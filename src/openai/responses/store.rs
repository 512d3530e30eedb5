//! Kept responses as rows. Every statement that is about somebody's names the owner: what is not yours is
//! not there.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::clock::Timestamp;
use crate::db::DbError;
use crate::ids::{ResponseId, UserId};
use crate::vault::Sealed;

/// The most that is kept for one person.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) count_max: i64,
    pub(super) bytes_max: i64,
}

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

/// Takes away what there is no room for, what was used the longest ago first; says how many.
pub(super) fn make_room(tx: &Transaction<'_>, owner: UserId, room: Room) -> Result<usize, DbError> {
    let sql = "SELECT count(*), coalesce(sum(bytes), 0) FROM responses WHERE owner = ?1";
    let (count, bytes): (i64, i64) =
        tx.query_row(sql, [owner], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if count <= room.count_max && bytes <= room.bytes_max {
        return Ok(0);
    }
    Ok(tx.execute(
        "DELETE FROM responses WHERE id IN (
             SELECT id FROM (
                 SELECT id, row_number() OVER newest AS place, sum(bytes) OVER newest AS bytes
                 FROM responses WHERE owner = ?1
                 WINDOW newest AS (ORDER BY used_at DESC, id DESC ROWS UNBOUNDED PRECEDING))
             WHERE place > 1 AND (place > ?2 OR bytes > ?3))",
        params![owner, room.count_max, room.bytes_max],
    )?)
}

/// Deletes one; says whether it was there.
pub(super) fn delete(tx: &Transaction<'_>, owner: UserId, id: ResponseId) -> Result<bool, DbError> {
    let sql = "DELETE FROM responses WHERE id = ?1 AND owner = ?2";
    Ok(tx.execute(sql, params![id, owner])? == 1)
}

/// Deletes what nobody has used since `before`, at most `count_max`; says how many.
pub(super) fn expire(
    tx: &Transaction<'_>,
    before: Timestamp,
    count_max: u32,
) -> Result<usize, DbError> {
    let sql = "DELETE FROM responses WHERE id IN (
                   SELECT id FROM responses WHERE used_at < ?1 LIMIT ?2)";
    Ok(tx.execute(sql, params![before, count_max])?)
}
