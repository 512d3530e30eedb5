//! Alerts and what their rules count, as they are kept. Plain functions over a connection; every
//! table has a bound.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::rules::{Rule, Sample};
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::ids::{AlertId, UserId};

/// Failures count for this long.
pub(super) const WINDOW: Duration = Duration::from_mins(15);
const FAILURES_MAX: u32 = 20_000;
const ALERTS_MAX: u32 = 2_000;
/// Hours that make up what is usual: two weeks.
const USUAL_HOURS: i64 = 14 * 24;

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alert {
    /// Its id.
    pub(crate) id: AlertId,
    /// The rule that raised it.
    pub(crate) rule: Rule,
    /// Whom or what it is about: a person's id, an address, or `server`.
    pub(crate) source: String,
    /// Failures, tokens in the hour, or refused requests.
    pub(crate) seen: u64,
    /// When it was raised.
    pub(crate) raised_at: Timestamp,
    /// When the same was last seen.
    pub(crate) last_at: Timestamp,
    /// When and by whom it was acknowledged.
    pub(crate) acknowledged: Option<(Timestamp, Option<UserId>)>,
}

/// The last event that was looked at; none where the monitor has never run.
pub(super) fn cursor(db: &Connection) -> Result<Option<u64>, DbError> {
    let seq: Option<i64> =
        db.query_row("SELECT seq FROM monitor_cursor", [], |row| row.get(0)).optional()?;
    Ok(seq.map(i64::unsigned_abs))
}

pub(super) fn set_cursor(tx: &Transaction<'_>, seq: u64) -> Result<(), DbError> {
    tx.execute("INSERT OR REPLACE INTO monitor_cursor VALUES (1, ?1)", [signed(seq)])?;
    Ok(())
}

/// The next events, in order, and the place up to which all were looked at.
pub(super) fn events(db: &Connection, after: u64, limit: u32) -> Result<Vec<Sample>, DbError> {
    let mut query = db.prepare_cached(
        "SELECT seq, at, action, outcome, actor, subject, body FROM audit_events
         WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let rows = query.query_map(params![signed(after), limit], |row| {
        Ok(Sample {
            seq: row.get::<_, i64>(0)?.unsigned_abs(),
            at: row.get(1)?,
            action: row.get(2)?,
            outcome: row.get(3)?,
            actor: row.get(4)?,
            subject: row.get(5)?,
            body: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Counts a failure, or a refused key, against a source.
pub(super) fn add_failure(
    tx: &Transaction<'_>,
    source: &str,
    seq: u64,
    at: Timestamp,
) -> Result<(), DbError> {
    tx.prepare_cached("INSERT OR IGNORE INTO monitor_failures VALUES (?1, ?2, ?3)")?
        .execute(params![source, signed(seq), at])?;
    Ok(())
}

/// Failures of a source around this moment. A quarter of an hour to both sides, so that events
/// that a wrong clock dated into the future count for no longer than others.
pub(super) fn failures(db: &Connection, source: &str, at: Timestamp) -> Result<u64, DbError> {
    let count: i64 = db
        .prepare_cached(
            "SELECT count(*) FROM monitor_failures WHERE source = ?1 AND at > ?2 AND at < ?3",
        )?
        .query_row(params![source, at.minus(WINDOW), at.plus(WINDOW)], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Forgets the failures of a source: they have led to an alert that a person has seen.
pub(super) fn forget_failures(tx: &Transaction<'_>, source: &str) -> Result<(), DbError> {
    tx.execute("DELETE FROM monitor_failures WHERE source = ?1", [source])?;
    Ok(())
}

/// Adds to a person's hour; gives the hour's sum, and the mean of the hours with use before it.
pub(super) fn add_tokens(
    tx: &Transaction<'_>,
    user: UserId,
    hour: i64,
    tokens: u64,
) -> Result<(u64, u64), DbError> {
    let sum: i64 = tx
        .prepare_cached(
            "INSERT INTO monitor_hours VALUES (?1, ?2, ?3)
             ON CONFLICT (user, hour) DO UPDATE SET tokens = min(tokens + excluded.tokens, 1 << 53)
             RETURNING tokens",
        )?
        .query_row(params![user, hour, signed(tokens).min(1 << 53)], |row| row.get(0))?;
    let usual: Option<f64> = tx
        .prepare_cached(
            "SELECT avg(tokens) FROM monitor_hours WHERE user = ?1 AND hour < ?2 AND hour >= ?3",
        )?
        .query_row(params![user, hour, hour - USUAL_HOURS], |row| row.get(0))?;
    Ok((sum.unsigned_abs(), usual.unwrap_or(0.0) as u64))
}

/// Drops what no rule looks at any more.
pub(super) fn prune(tx: &Transaction<'_>, at: Timestamp) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM monitor_failures WHERE at <= ?1 OR at >= ?2",
        [at.minus(WINDOW), at.plus(WINDOW)],
    )?;
    tx.execute(
        "DELETE FROM monitor_failures WHERE seq <=
           (SELECT seq FROM monitor_failures ORDER BY seq DESC LIMIT 1 OFFSET ?1)",
        [FAILURES_MAX],
    )?;
    let hour = super::rules::hour(at);
    tx.execute(
        "DELETE FROM monitor_hours WHERE hour < ?1 OR hour > ?2",
        [hour - USUAL_HOURS, hour + USUAL_HOURS],
    )?;
    // Those that a person has dealt with go first.
    tx.execute(
        "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts
           ORDER BY acknowledged_at IS NOT NULL, raised_at DESC, id LIMIT -1 OFFSET ?1)",
        [ALERTS_MAX],
    )?;
    Ok(())
}

/// Raises an alert, or adds to the open one about the same; gives its id where it is new.
pub(super) fn raise(
    tx: &Transaction<'_>,
    rule: Rule,
    source: &str,
    seen: u64,
    at: Timestamp,
) -> Result<Option<AlertId>, DbError> {
    let id = AlertId::new();
    let kept: AlertId = tx
        .prepare_cached(
            "INSERT INTO alerts (id, rule, source, seen, raised_at, last_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5)
             ON CONFLICT (rule, source) WHERE acknowledged_at IS NULL
             DO UPDATE SET seen = max(seen, excluded.seen), last_at = excluded.last_at
             RETURNING id",
        )?
        .query_row(params![id, rule.name(), source, signed(seen), at], |row| row.get(0))?;
    Ok((kept == id).then_some(id))
}

/// Whether the source has an alert of this rule that was last seen since then.
pub(super) fn has_alert_since(
    db: &Connection,
    rule: Rule,
    source: &str,
    since: Timestamp,
) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM alerts WHERE rule = ?1 AND source = ?2 AND last_at >= ?3
               AND acknowledged_at IS NOT NULL";
    Ok(db.prepare_cached(sql)?.exists(params![rule.name(), source, since])?)
}

/// The newest alerts: the open ones first.
pub(super) fn list(db: &Connection, limit: u32) -> Result<Vec<Alert>, DbError> {
    let mut query = db.prepare_cached(
        "SELECT id, rule, source, seen, raised_at, last_at, acknowledged_at, acknowledged_by
         FROM alerts ORDER BY acknowledged_at IS NOT NULL, last_at DESC, id LIMIT ?1",
    )?;
    let rows = query.query_map([limit], alert)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many are open.
pub(crate) fn open_count(db: &Connection) -> Result<u64, DbError> {
    let count: i64 =
        db.query_row("SELECT count(*) FROM alerts WHERE acknowledged_at IS NULL", [], |row| {
            row.get(0)
        })?;
    Ok(count.unsigned_abs())
}

/// Acknowledges an open alert; gives it, or none where there is no such open one.
pub(super) fn acknowledge(
    tx: &Transaction<'_>,
    id: AlertId,
    by: UserId,
    at: Timestamp,
) -> Result<Option<Alert>, DbError> {
    Ok(tx
        .query_row(
            "UPDATE alerts SET acknowledged_at = ?2, acknowledged_by = ?3
             WHERE id = ?1 AND acknowledged_at IS NULL
             RETURNING id, rule, source, seen, raised_at, last_at, acknowledged_at, acknowledged_by",
            params![id, at, by],
            alert,
        )
        .optional()?)
}

fn alert(row: &Row<'_>) -> rusqlite::Result<Alert> {
    let (rule, seen): (String, i64) = (row.get(1)?, row.get(3)?);
    let (at, by): (Option<Timestamp>, Option<UserId>) = (row.get(6)?, row.get(7)?);
    Ok(Alert {
        id: row.get(0)?,
        rule: Rule::parse(&rule).ok_or(rusqlite::Error::InvalidQuery)?,
        source: row.get(2)?,
        seen: seen.unsigned_abs(),
        raised_at: row.get(4)?,
        last_at: row.get(5)?,
        acknowledged: at.map(|at| (at, by)),
    })
}

/// SQLite's integers have a sign.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
