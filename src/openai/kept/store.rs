//! The rows of what is kept, in whichever table: how much of it there may be, and until when.

use rusqlite::{Transaction, params};

use crate::clock::Timestamp;
use crate::db::DbError;
use crate::ids::UserId;

/// A table of things that are kept, with the columns `id`, `owner`, `content` and `bytes`.
#[derive(Clone, Copy, Debug)]
pub(in crate::openai) struct Shelf {
    /// Its name.
    pub(in crate::openai) table: &'static str,
    /// The column that says since when a thing is not needed.
    pub(in crate::openai) since: &'static str,
}

/// The most that is kept for one person.
#[derive(Clone, Copy, Debug)]
pub(in crate::openai) struct Room {
    /// Rows.
    pub(in crate::openai) count_max: i64,
    /// Their bytes, sealed.
    pub(in crate::openai) bytes_max: i64,
}

/// Takes away what there is no room for, what has not been needed the longest first; says how many.
pub(in crate::openai) fn make_room(
    tx: &Transaction<'_>,
    Shelf { table, since }: Shelf,
    owner: UserId,
    room: Room,
) -> Result<usize, DbError> {
    let sql = format!("SELECT count(*), coalesce(sum(bytes), 0) FROM {table} WHERE owner = ?1");
    let (count, bytes): (i64, i64) =
        tx.prepare_cached(&sql)?.query_row([owner], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if count <= room.count_max && bytes <= room.bytes_max {
        return Ok(0);
    }
    // The newest stays, however large it is.
    let sql = format!(
        "DELETE FROM {table} WHERE id IN (
             SELECT id FROM (
                 SELECT id, row_number() OVER newest AS place, sum(bytes) OVER newest AS bytes
                 FROM {table} WHERE owner = ?1
                 WINDOW newest AS (ORDER BY {since} DESC, id DESC ROWS UNBOUNDED PRECEDING))
             WHERE place > 1 AND (place > ?2 OR bytes > ?3))"
    );
    Ok(tx.execute(&sql, params![owner, room.count_max, room.bytes_max])?)
}

/// Deletes what is as old as `before` or older, at most `count_max`; says how many.
pub(super) fn expire(
    tx: &Transaction<'_>,
    Shelf { table, since }: Shelf,
    before: Timestamp,
    count_max: u32,
) -> Result<usize, DbError> {
    let sql = format!(
        "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {since} <= ?1 LIMIT ?2)"
    );
    Ok(tx.execute(&sql, params![before, count_max])?)
}
