//! The runs, as they are kept: who started which suite on which model, how it ended, and the
//! numbers. Plain functions over a connection.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::db::DbError;
use crate::ids::{RunId, UserId};

/// Runs that are kept; older ones make room.
const KEPT_MAX: u32 = 500;

/// Who started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// A person, in the web app.
    Person,
    /// The schedule.
    Schedule,
    /// The operator, at the console.
    Console,
}

impl Origin {
    /// The name, as the database and the audit log write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Schedule => "schedule",
            Self::Console => "console",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Person, Self::Schedule, Self::Console].into_iter().find(|one| one.name() == name)
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RunState {
    /// It is under way.
    Running,
    /// It has results.
    Done,
    /// It went wrong.
    Failed,
    /// The server was stopped meanwhile.
    Cancelled,
}

impl RunState {
    /// The name, as the database and the audit log write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let all = [Self::Running, Self::Done, Self::Failed, Self::Cancelled];
        all.into_iter().find(|one| one.name() == name)
    }
}

/// The facts of one run, without its results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct RunSummary {
    /// The run.
    pub(crate) id: RunId,
    /// The suite.
    pub(crate) suite: String,
    /// The model's name.
    pub(crate) model: String,
    /// SHA-256 of the model's file, in hexadecimal.
    pub(crate) model_sha256: Option<String>,
    /// Who started it.
    pub(crate) origin: Origin,
    /// The person, if one started it.
    pub(crate) started_by: Option<UserId>,
    /// When it started.
    pub(crate) started_at: Timestamp,
    /// When it ended.
    pub(crate) ended_at: Option<Timestamp>,
    /// Where it stands.
    pub(crate) state: RunState,
    /// The name of what went wrong.
    pub(crate) reason: Option<String>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub(super) struct RunEnd {
    pub(super) at: Timestamp,
    pub(super) state: RunState,
    pub(super) reason: Option<&'static str>,
    pub(super) results: Option<String>,
}

const COLUMNS: &str = "id, suite, model, model_sha256, origin, started_by, started_at, ended_at, \
    state, reason";

/// The newest run that has results, on any suite and model; for those who ask when fairness was
/// last measured.
pub(crate) fn last_run(connection: &Connection) -> Result<Option<RunSummary>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM evaluation_runs WHERE state = 'done'
         ORDER BY started_at DESC, id DESC LIMIT 1"
    );
    Ok(connection.prepare_cached(&sql)?.query_row([], summary).optional()?)
}

/// When a suite was last tried on a model, whatever became of it; a run that the server's end cut
/// short does not count.
pub(super) fn last_try(
    connection: &Connection,
    suite: &str,
    model: &str,
    until: Timestamp,
) -> Result<Option<Timestamp>, DbError> {
    let mut query = connection.prepare_cached(
        "SELECT max(started_at) FROM evaluation_runs
         WHERE suite = ?1 AND model = ?2 AND state <> 'cancelled'
           AND started_at <= ?3",
    )?;
    Ok(query.query_row(params![suite, model, until], |row| row.get(0))?)
}

/// The newest runs, newest first.
pub(super) fn list(connection: &Connection, limit: u32) -> Result<Vec<StoredRun>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS}, results FROM evaluation_runs ORDER BY started_at DESC, id DESC LIMIT ?1"
    );
    let mut query = connection.prepare_cached(&sql)?;
    let rows = query.query_map([limit], stored)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A run and its results, as they are stored.
pub(super) type StoredRun = (RunSummary, Option<String>);

/// One run.
pub(super) fn find(connection: &Connection, id: RunId) -> Result<Option<StoredRun>, DbError> {
    let sql = format!("SELECT {COLUMNS}, results FROM evaluation_runs WHERE id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id], stored).optional()?)
}

/// Keeps the start of a run; `false` where another one is under way.
pub(super) fn begin(tx: &Transaction<'_>, run: &RunSummary) -> Result<bool, DbError> {
    let count = tx.execute(
        "INSERT INTO evaluation_runs
             (id, suite, model, model_sha256, origin, started_by, started_at, state)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, 'running'
         WHERE NOT EXISTS (SELECT 1 FROM evaluation_runs WHERE state = 'running')",
        params![
            run.id,
            run.suite,
            run.model,
            run.model_sha256,
            run.origin.name(),
            run.started_by,
            run.started_at
        ],
    )?;
    tx.execute(
        "DELETE FROM evaluation_runs WHERE state <> 'running' AND id NOT IN
             (SELECT id FROM evaluation_runs ORDER BY started_at DESC, id DESC LIMIT ?1)",
        [KEPT_MAX],
    )?;
    Ok(count == 1)
}

/// Keeps how a run ended.
pub(super) fn end(tx: &Transaction<'_>, id: RunId, end: &RunEnd) -> Result<(), DbError> {
    tx.execute(
        "UPDATE evaluation_runs SET ended_at = ?2, state = ?3, reason = ?4, results = ?5
         WHERE id = ?1",
        params![id, end.at, end.state.name(), end.reason, end.results],
    )?;
    Ok(())
}

/// Ends what a server that was cut off had left as running; gives the ids.
pub(super) fn end_left_over(tx: &Transaction<'_>, now: Timestamp) -> Result<Vec<RunId>, DbError> {
    let mut query = tx.prepare("SELECT id FROM evaluation_runs WHERE state = 'running'")?;
    let ids: Vec<RunId> = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let over =
        RunEnd { at: now, state: RunState::Failed, reason: Some("interrupted"), results: None };
    for id in &ids {
        end(tx, *id, &over)?;
    }
    Ok(ids)
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredRun> {
    Ok((summary(row)?, row.get("results")?))
}

fn summary(row: &Row<'_>) -> rusqlite::Result<RunSummary> {
    let (origin, state): (String, String) = (row.get("origin")?, row.get("state")?);
    Ok(RunSummary {
        id: row.get("id")?,
        suite: row.get("suite")?,
        model: row.get("model")?,
        model_sha256: row.get("model_sha256")?,
        // The schema lets no other names in.
        origin: Origin::parse(&origin).ok_or(rusqlite::Error::InvalidQuery)?,
        started_by: row.get("started_by")?,
        started_at: row.get("started_at")?,
        ended_at: row.get("ended_at")?,
        state: RunState::parse(&state).ok_or(rusqlite::Error::InvalidQuery)?,
        reason: row.get("reason")?,
    })
}
