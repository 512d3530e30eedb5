//! The log's rows.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serde_json::Value;

use super::tree::Hash;
use super::{Filter, Head};
use crate::clock::Timestamp;
use crate::db::DbError;

/// One event as the log holds it.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its place in the log, from 1.
    pub seq: u64,
    /// When it was recorded.
    pub at: Timestamp,
    /// What was done.
    pub action: String,
    /// How it ended.
    pub outcome: String,
    /// Who did it.
    pub actor: String,
    /// What it was done to.
    pub subject: Option<String>,
    /// The request.
    pub request: Option<String>,
    /// The canonical bytes.
    pub body: Vec<u8>,
    /// Their leaf hash, as stored.
    pub leaf: Vec<u8>,
}

impl Record {
    /// One field of the canonical bytes.
    pub fn field(&self, name: &str) -> Value {
        serde_json::from_slice::<Value>(&self.body)
            .ok()
            .and_then(|mut body| body.get_mut(name).map(Value::take))
            .unwrap_or(Value::Null)
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get::<_, i64>(0)?.unsigned_abs(),
            at: row.get(1)?,
            action: row.get(2)?,
            outcome: row.get(3)?,
            actor: row.get(4)?,
            subject: row.get(5)?,
            request: row.get(6)?,
            body: row.get(7)?,
            leaf: row.get(8)?,
        })
    }
}

const COLUMNS: &str = "seq, at, action, outcome, actor, subject, request, body, leaf";

pub(super) fn last_seq(db: &Connection) -> Result<u64, DbError> {
    let mut statement = db.prepare_cached("SELECT coalesce(max(seq), 0) FROM audit_events")?;
    Ok(statement.query_row([], |row| row.get::<_, i64>(0))?.unsigned_abs())
}

pub(super) fn last_at(db: &Connection) -> Result<Option<Timestamp>, DbError> {
    Ok(db
        .query_row("SELECT at FROM audit_events ORDER BY seq DESC LIMIT 1", [], |row| row.get(0))
        .optional()?)
}

pub(super) fn insert(db: &Connection, record: &Record) -> Result<(), DbError> {
    let mut statement = db.prepare_cached(
        "INSERT INTO audit_events (seq, at, action, outcome, actor, subject, request, body, leaf)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    statement.execute(params![
        record.seq as i64,
        record.at,
        record.action,
        record.outcome,
        record.actor,
        record.subject,
        record.request,
        record.body,
        record.leaf
    ])?;
    Ok(())
}

pub(super) fn leaves_after(db: &Connection, seq: u64) -> Result<Vec<Hash>, DbError> {
    let mut statement =
        db.prepare_cached("SELECT leaf FROM audit_events WHERE seq > ?1 ORDER BY seq")?;
    let leaves = statement.query_map([seq as i64], |row| row.get::<_, [u8; 32]>(0))?;
    Ok(leaves.collect::<Result<_, _>>()?)
}

pub(super) fn insert_head(db: &Connection, head: &Head, peaks: &[u8]) -> Result<(), DbError> {
    let mut statement = db.prepare_cached(
        "INSERT INTO audit_heads (size, root, signed_at, signature, peaks) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    statement.execute(params![
        head.size as i64,
        head.root,
        head.signed_at,
        head.signature.as_slice(),
        peaks
    ])?;
    Ok(())
}

fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head {
        size: row.get::<_, i64>(0)?.unsigned_abs(),
        root: row.get(1)?,
        signed_at: row.get(2)?,
        signature: row.get(3)?,
    })
}

pub(super) fn last_head(db: &Connection) -> Result<Option<(Head, Vec<u8>)>, DbError> {
    Ok(db
        .query_row(
            "SELECT size, root, signed_at, signature, peaks FROM audit_heads ORDER BY size DESC LIMIT 1",
            [],
            |row| Ok((head(row)?, row.get(4)?)),
        )
        .optional()?)
}

/// Up to `limit` heads over more than `after` events, in order.
pub(super) fn heads_after(db: &Connection, after: u64, limit: u32) -> Result<Vec<Head>, DbError> {
    let mut statement = db.prepare_cached(
        "SELECT size, root, signed_at, signature FROM audit_heads WHERE size > ?1
         ORDER BY size LIMIT ?2",
    )?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let heads = statement.query_map(params![after, limit], head)?;
    Ok(heads.collect::<Result<_, _>>()?)
}

/// Calls `visit` with the leaves `from..to`, counted from 0, in order.
pub(super) fn each_leaf(
    db: &Connection,
    from: u64,
    to: u64,
    mut visit: impl FnMut(Hash),
) -> Result<(), DbError> {
    let mut statement = db.prepare_cached(
        "SELECT leaf FROM audit_events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![from as i64, to as i64])?;
    while let Some(row) = rows.next()? {
        visit(row.get(0)?);
    }
    Ok(())
}

/// Runs a job that sees the database as it stands at one moment.
pub(super) fn at_one_moment<T, E: From<DbError>>(
    db: &Connection,
    job: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    if !db.is_autocommit() {
        // The caller has begun a transaction, which holds the moment.
        return job(db);
    }
    let transaction = db.unchecked_transaction().map_err(DbError::from)?;
    job(&transaction)
}

/// Calls `visit` with every record from `after` on, in order.
pub(super) fn each<E: From<DbError>>(
    db: &Connection,
    after: u64,
    mut visit: impl FnMut(Record) -> Result<(), E>,
) -> Result<(), E> {
    let sql = format!("SELECT {COLUMNS} FROM audit_events WHERE seq > ?1 ORDER BY seq");
    let mut statement = db.prepare(&sql).map_err(DbError::from)?;
    let mut rows = statement.query([after as i64]).map_err(DbError::from)?;
    while let Some(row) = rows.next().map_err(DbError::from)? {
        visit(Record::read(row).map_err(DbError::from)?)?;
    }
    Ok(())
}

/// The newest records that fit the filter, newest first.
pub(super) fn page(db: &Connection, filter: &Filter) -> Result<Vec<Record>, DbError> {
    let (condition, mut values) = condition(filter);
    values.push(i64::from(filter.limit.clamp(1, 500)).into());
    let sql =
        format!("SELECT {COLUMNS} FROM audit_events WHERE {condition} ORDER BY seq DESC LIMIT ?");
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), Record::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A condition that names only what is asked for, so that an index can serve it. Its text comes
/// from here alone; what was asked for goes in as parameters.
fn condition(filter: &Filter) -> (String, Vec<SqlValue>) {
    let mut parts = vec!["1"];
    let mut values: Vec<SqlValue> = Vec::new();
    if let Some(before) = filter.before {
        parts.push("seq < ?");
        values.push(i64::try_from(before).unwrap_or(i64::MAX).into());
    }
    if let Some(actor) = &filter.actor {
        // A person's keys follow the person: `0` is the character after `/`.
        parts.push("(actor = ? OR (actor > ? AND actor < ?))");
        values.extend([
            actor.clone().into(),
            format!("{actor}/").into(),
            format!("{actor}0").into(),
        ]);
    }
    if let Some(action) = filter.action {
        parts.push("action = ?");
        values.push(action.name().to_owned().into());
    }
    if let Some(subject) = &filter.subject {
        parts.push("subject = ?");
        values.push(subject.clone().into());
    }
    if let Some(since) = filter.since {
        parts.push("at >= ?");
        values.push(since.ms().into());
    }
    (parts.join(" AND "), values)
}
