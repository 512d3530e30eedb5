//! The facts of the database, and all facts together. What was done last is read from the audit
//! log, which is its only record. Reads the tables of other rooms, and writes none: the command
//! works beside a running server, where those rooms are not to be had.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::digests::Digests;
use super::place::{self, CertificateSeen, Depth, ModelSeen, Modes, Process};
use crate::audit::Action;
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::db::DbError;
use crate::monitor::alerts::store::open_count;
use crate::vault::SourceKind;

/// Accounts and keys that were not used for so long are named.
pub(super) const UNUSED: Duration = Duration::from_hours(24 * 90);

/// A fairness run with results.
#[derive(Clone, Debug)]
pub(crate) struct FairnessRun {
    /// When it ended.
    pub(crate) at: Timestamp,
    /// The suite.
    pub(crate) suite: String,
    /// The model.
    pub(crate) model: String,
}

/// Where facts come from.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// The settings in force.
    pub(crate) settings: &'a Settings,
    /// The data directory.
    pub(crate) data: &'a Path,
    /// The process that is asked about.
    pub(crate) process: Process,
    /// How closely model files are looked at.
    pub(crate) depth: Depth,
    /// What is known of model files.
    pub(crate) digests: &'a Digests,
    /// The newest fairness run; evaluations are another room's.
    pub(crate) fairness: fn(&Connection) -> Result<Option<FairnessRun>, DbError>,
    /// The guard's policy in force; none where no guard is at work.
    pub(crate) guard: Option<&'a str>,
}

/// What was done last, and how it ended.
#[derive(Clone, Debug)]
pub(super) struct Last {
    pub(super) at: Timestamp,
    pub(super) is_done: bool,
    pub(super) detail: Value,
}

/// People and keys, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) people: u64,
    pub(super) owners: u64,
    pub(super) people_unused: u64,
    pub(super) keys: u64,
    pub(super) keys_endless: u64,
    pub(super) keys_unused: u64,
}

/// Everything that a verdict rests on.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(super) now: Timestamp,
    pub(super) settings: Settings,
    pub(super) counts: Counts,
    pub(super) certificate: Result<CertificateSeen, String>,
    pub(super) root_key: Result<(SourceKind, Timestamp), String>,
    pub(super) modes: Result<Modes, String>,
    pub(super) is_core_off: Option<bool>,
    pub(super) models: Vec<(String, ModelSeen)>,
    pub(super) verified: Option<Last>,
    pub(super) backup: Option<Last>,
    pub(super) advisories: Option<Last>,
    /// The last time that the system's clock was found wrong.
    pub(super) clock: Option<Last>,
    /// When the newest record is dated.
    pub(super) newest_record: Option<Timestamp>,
    pub(super) alerts_open: u64,
    pub(super) fairness: Option<FairnessRun>,
    pub(super) guard: Option<String>,
}

impl Facts {
    /// Gathers them. Blocks.
    pub(crate) fn gather(
        db: &Connection,
        sources: &Sources<'_>,
        now: Timestamp,
    ) -> Result<Self, DbError> {
        let Sources { settings, data, .. } = *sources;
        Ok(Self {
            now,
            settings: settings.clone(),
            counts: counts(db, now)?,
            certificate: place::certificate(data, settings),
            root_key: place::root_key(data),
            modes: place::modes(data),
            is_core_off: sources.process.is_core_off,
            models: place::models(settings, &loads(db)?, (sources.depth, sources.digests)),
            verified: last(db, Action::AuditVerify)?,
            backup: last(db, Action::BackupCreate)?,
            advisories: last(db, Action::AdvisoryCheck)?,
            clock: last(db, Action::ClockJump)?,
            newest_record: newest_record(db)?,
            alerts_open: open_count(db)?,
            fairness: (sources.fairness)(db)?,
            guard: sources.guard.map(str::to_owned),
        })
    }
}

/// When something was last done, or tried and failed.
pub(crate) fn last_at(db: &Connection, action: Action) -> Result<Option<Timestamp>, DbError> {
    Ok(last(db, action)?.map(|last| last.at))
}

fn last(db: &Connection, action: Action) -> Result<Option<Last>, DbError> {
    let sql = "SELECT at, outcome, body FROM audit_events
               WHERE action = ?1 AND outcome IN ('done', 'failed') ORDER BY seq DESC LIMIT 1";
    let mut query = db.prepare_cached(sql)?;
    let row = query.query_row([action.name()], |row| {
        let (outcome, body): (String, Vec<u8>) = (row.get(1)?, row.get(2)?);
        Ok(Last { at: row.get(0)?, is_done: outcome == "done", detail: detail(&body) })
    });
    Ok(row.optional()?)
}

fn newest_record(db: &Connection) -> Result<Option<Timestamp>, DbError> {
    let sql = "SELECT at FROM audit_events ORDER BY seq DESC LIMIT 1";
    Ok(db.query_row(sql, [], |row| row.get(0)).optional()?)
}

fn detail(body: &[u8]) -> Value {
    let mut body: Value = serde_json::from_slice(body).unwrap_or_default();
    body.get_mut("detail").map(Value::take).unwrap_or_default()
}

/// The newest load of every model: its digest, and when.
fn loads(db: &Connection) -> Result<HashMap<String, (String, Timestamp)>, DbError> {
    let mut query = db.prepare_cached(
        "SELECT subject, at, body FROM audit_events WHERE seq IN
           (SELECT max(seq) FROM audit_events WHERE action = ?1 AND outcome = 'done'
            AND subject IS NOT NULL GROUP BY subject)",
    )?;
    let mut rows = query.query([Action::ModelLoad.name()])?;
    let mut loads = HashMap::new();
    while let Some(row) = rows.next()? {
        let digest = detail(&row.get::<_, Vec<u8>>(2)?)["sha256"].as_str().map(str::to_owned);
        if let Some(digest) = digest {
            loads.insert(row.get(0)?, (digest, row.get(1)?));
        }
    }
    Ok(loads)
}

fn counts(db: &Connection, now: Timestamp) -> Result<Counts, DbError> {
    let limit = now.minus(UNUSED);
    let people = "SELECT count(*),
          coalesce(sum(EXISTS (SELECT 1 FROM user_roles r WHERE r.user = u.id AND r.role = 'owner')
                   AND u.password IS NOT NULL), 0),
          coalesce(sum(max(u.created_at,
            coalesce((SELECT max(last_used_at) FROM api_keys k WHERE k.user = u.id), 0),
            coalesce((SELECT max(last_seen_at) FROM sessions s WHERE s.user = u.id), 0),
            coalesce((SELECT at FROM audit_events e WHERE e.actor = u.id
                      ORDER BY seq DESC LIMIT 1), 0)) < ?1), 0)
        FROM users u WHERE u.disabled = 0";
    let keys = "SELECT count(*), coalesce(sum(expires_at IS NULL), 0),
          coalesce(sum(max(created_at, coalesce(last_used_at, 0)) < ?1), 0)
        FROM api_keys WHERE expires_at IS NULL OR expires_at > ?2";
    let three = |row: &rusqlite::Row<'_>| -> rusqlite::Result<[i64; 3]> {
        Ok([row.get(0)?, row.get(1)?, row.get(2)?])
    };
    let [people, owners, people_unused] =
        db.query_row(people, [limit], three)?.map(i64::unsigned_abs);
    let [keys, keys_endless, keys_unused] =
        db.query_row(keys, params![limit, now], three)?.map(i64::unsigned_abs);
    Ok(Counts { people, owners, people_unused, keys, keys_endless, keys_unused })
}
