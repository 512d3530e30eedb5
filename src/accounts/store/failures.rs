//! The rows behind delays: failed attempts by keyed hash of where they came from, and pairs of person
//! and address that have signed in before.

use rusqlite::{Connection, OptionalExtension, params};

use crate::access::registry::SecretHash;
use crate::clock::Timestamp;
use crate::db::DbError;

/// How many failures a source has, and when the last one was.
pub(in crate::accounts) fn failures(
    db: &Connection,
    source: &SecretHash,
) -> Result<Option<(i64, Timestamp)>, DbError> {
    let sql = "SELECT failures, last_at FROM sign_in_failures WHERE source = ?1";
    Ok(db.query_row(sql, [source], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Counts one more failure of a source.
pub(in crate::accounts) fn add_failure(
    db: &Connection,
    source: &SecretHash,
    now: Timestamp,
) -> Result<(), DbError> {
    db.execute(
        "INSERT INTO sign_in_failures (source, failures, last_at) VALUES (?1, 1, ?2)
         ON CONFLICT (source) DO UPDATE SET failures = failures + 1, last_at = ?2",
        params![source, now],
    )?;
    Ok(())
}

/// Takes one failure of a source back; the last one was then, if there was one.
pub(in crate::accounts) fn take_failure_back(
    db: &Connection,
    source: &SecretHash,
    last_at: Option<Timestamp>,
) -> Result<(), DbError> {
    db.execute(
        "UPDATE sign_in_failures SET failures = failures - 1,
           last_at = coalesce(?2, last_at) WHERE source = ?1",
        params![source, last_at],
    )?;
    // What was not made leaves nothing: rows of attempts that found no place would fill the table.
    db.execute("DELETE FROM sign_in_failures WHERE source = ?1 AND failures <= 0", [source])?;
    Ok(())
}

/// Forgets the failures of a source.
pub(in crate::accounts) fn forget_failures(
    db: &Connection,
    source: &SecretHash,
) -> Result<(), DbError> {
    db.execute("DELETE FROM sign_in_failures WHERE source = ?1", [source])?;
    Ok(())
}

/// Forgets sources whose last failure was before that.
pub(in crate::accounts) fn forget_failures_before(
    db: &Connection,
    before: Timestamp,
) -> Result<(), DbError> {
    db.execute("DELETE FROM sign_in_failures WHERE last_at < ?1", [before])?;
    Ok(())
}

/// Dates failures from the future as of now.
pub(in crate::accounts) fn date_failures_by(
    db: &Connection,
    now: Timestamp,
) -> Result<(), DbError> {
    db.execute("UPDATE sign_in_failures SET last_at = ?1 WHERE last_at > ?1", [now])?;
    Ok(())
}

/// Whether a person has signed in from an address before.
pub(in crate::accounts) fn is_known(db: &Connection, pair: &SecretHash) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM sign_in_known WHERE source = ?1";
    Ok(db.query_row(sql, [pair], |_| Ok(())).optional()?.is_some())
}

/// Notes that a person has signed in from an address.
pub(in crate::accounts) fn put_known(
    db: &Connection,
    pair: &SecretHash,
    now: Timestamp,
) -> Result<(), DbError> {
    db.execute("INSERT OR REPLACE INTO sign_in_known VALUES (?1, ?2)", params![pair, now])?;
    Ok(())
}
