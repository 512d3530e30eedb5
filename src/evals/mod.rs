//! Fairness suites, runs, reports. A run scores given sentences on the gate's road, and keeps ids
//! and numbers; nothing that a person wrote comes in here, and no sentence goes out.
//!
//! | file | owns |
//! | --- | --- |
//! | `suites/` | our sentences, as data |
//! | `suite.rs`, `crows.rs` | reading them, and the published file |
//! | `plan.rs` | what is scored, and what is made of the scores |
//! | `bootstrap.rs`, `results.rs` | the numbers and their intervals |
//! | `run.rs`, `schedule.rs` | runs under way, and when they begin by themselves |
//! | `store.rs`, `api.rs`, `report/` | how they are kept and shown |

pub(crate) mod api;
mod bootstrap;
mod crows;
mod error;
mod plan;
pub(crate) mod report;
mod results;
mod run;
mod schedule;
mod store;
mod suite;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

pub(crate) use bootstrap::Interval;
pub(crate) use error::EvalsError;
pub(crate) use plan::{COUNTERFACTUAL_NAME, CROWS_NAME};
pub(crate) use results::Results;
pub(crate) use store::last_run;
pub(crate) use store::{Origin, RunState, RunSummary};

use crate::access::Caller;
use crate::audit::{Action, Actor, AuditLog, Event, Outcome};
use crate::clock::{Clock, Timestamp};
use crate::db::Db;
use crate::gate::{Gate, GateError, Lease, Model};
use crate::ids::RunId;
use plan::Suite;
use run::{Progress, RunError};
use store::RunEnd;

/// How long the end of a run may take at shutdown, after the gate has ended its work.
/// What a clock may be off without being taken for wrong.
const CLOCK_OFF: Duration = Duration::from_hours(1);
/// How soon it is tried again to keep the end of a run.
const KEEP_AGAIN: Duration = Duration::from_secs(10);
const FINISH_MAX: Duration = Duration::from_secs(5);

/// What the evaluations are made of.
pub(crate) struct EvalParts {
    /// The road to the models.
    pub(crate) gate: Gate,
    /// Where runs are kept.
    pub(crate) db: Db,
    /// The record.
    pub(crate) audit: AuditLog,
    /// The time.
    pub(crate) clock: Clock,
    /// Where the operator puts published data sets.
    pub(crate) files: PathBuf,
    /// Where runs go on in the background.
    pub(crate) runtime: tokio::runtime::Handle,
}

/// The evaluations. A handle.
#[derive(Clone)]
pub(crate) struct Evals {
    inner: Arc<Inner>,
}

struct Inner {
    parts: EvalParts,
    current: Mutex<Option<Current>>,
    is_closed: AtomicBool,
}

/// The run that is under way, or the last one that was.
struct Current {
    id: RunId,
    progress: Arc<Progress>,
    task: Option<JoinHandle<()>>,
}

/// What is to be run.
#[derive(Clone, Debug)]
pub(crate) struct StartRequest {
    /// The suite's name.
    pub(crate) suite: String,
    /// The model's name or alias; none means the default one.
    pub(crate) model: Option<String>,
    /// Who starts it.
    pub(crate) origin: Origin,
    /// The person, if one does.
    pub(crate) by: Option<Caller>,
    /// Where the published data set lies; none means where the operator puts it.
    pub(crate) data: Option<PathBuf>,
}

impl StartRequest {
    /// A run that the server starts by itself.
    pub(crate) fn new(suite: &str, model: Option<&str>, origin: Origin) -> Self {
        Self { suite: suite.into(), model: model.map(Into::into), origin, by: None, data: None }
    }
}

impl Evals {
    /// Takes up the evaluations; runs that an earlier server left unfinished are ended. Blocks.
    pub(crate) fn open(parts: EvalParts) -> Result<Self, EvalsError> {
        let (audit, now) = (parts.audit.clone(), parts.clock.now());
        parts.db.write_blocking(move |tx| -> Result<(), EvalsError> {
            for id in store::end_left_over(tx, now)? {
                let event = Event::new(Action::EvaluationEnd, Outcome::Failed, Actor::System)
                    .subject(id)
                    .with("reason", "interrupted");
                audit.record_in(tx, event)?;
            }
            Ok(())
        })?;
        let inner = Inner { parts, current: Mutex::new(None), is_closed: AtomicBool::new(false) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Starts a run and returns at once. It is on record before anything is scored.
    pub(crate) async fn start(&self, request: StartRequest) -> Result<RunId, EvalsError> {
        self.model(&request)?;
        let suite = self.suite(&request).await?;
        let (model, lease) = self.hold(&request).await?;
        let run = RunSummary {
            id: RunId::new(),
            suite: suite.name().into(),
            model: model.name.clone(),
            model_sha256: model.digest.clone(),
            origin: request.origin,
            started_by: request.by.as_ref().map(|by| by.user),
            started_at: self.now(),
            ended_at: None,
            state: RunState::Running,
            reason: None,
        };
        let id = run.id;
        let event = started_event(&run, request.by.as_ref());
        let audit = self.inner.parts.audit.clone();
        let begin = move |tx: &crate::db::Transaction<'_>| -> Result<(), EvalsError> {
            if !store::begin(tx, &run)? {
                return Err(EvalsError::AlreadyRunning);
            }
            audit.record_in(tx, event)?;
            Ok(())
        };
        // A run that is on record is under way, also where whoever asked has gone meanwhile.
        let evals = self.clone();
        let held = (model, lease);
        self.inner.parts.db.write_then(begin, move |()| evals.spawn(id, held, suite)).await?;
        Ok(id)
    }

    fn spawn(&self, id: RunId, (model, lease): (Arc<Model>, Lease), suite: Suite) {
        let progress = Arc::new(Progress::default());
        let mut current = self.inner.current.lock();
        if self.inner.is_closed.load(Ordering::SeqCst) {
            progress.cancel();
        }
        let (evals, following) = (self.clone(), Arc::clone(&progress));
        let runtime = self.inner.parts.runtime.clone();
        let work = async move {
            let parts = evals.clone();
            let scoring = runtime.spawn(async move {
                let found = run::run(&parts.inner.parts.gate, &model, &suite, &following).await;
                drop(lease);
                found
            });
            // On a task of its own, so that a run that panics has an end too.
            let found = scoring.await.unwrap_or(Err(RunError::Broken));
            evals.end(id, found).await;
        };
        let task = Some(self.inner.parts.runtime.spawn(work));
        *current = Some(Current { id, progress, task });
    }

    /// Keeps how a run ended, with its record.
    async fn end(&self, id: RunId, found: Result<Results, RunError>) {
        let state = match &found {
            Ok(_) => RunState::Done,
            Err(error) if error.is_cancelled() => RunState::Cancelled,
            Err(_) => RunState::Failed,
        };
        let reason = found.as_ref().err().map(RunError::name);
        let results = found.ok().and_then(|results| serde_json::to_string(&results).ok());
        let outcome = match state {
            RunState::Done => Outcome::Done,
            RunState::Cancelled => Outcome::Cancelled,
            RunState::Failed | RunState::Running => Outcome::Failed,
        };
        let event = Event::new(Action::EvaluationEnd, outcome, Actor::System)
            .subject(id)
            .with("reason", reason);
        let (audit, end) =
            (self.inner.parts.audit.clone(), RunEnd { at: self.now(), state, reason, results });
        let keep = move |tx: &crate::db::Transaction<'_>| -> Result<(), EvalsError> {
            store::end(tx, id, &end)?;
            audit.record_in(tx, event.clone())?;
            Ok(())
        };
        // Until it is kept no other run can begin; what the server's end cuts off is ended as
        // interrupted at the next start.
        while let Err(error) = self.inner.parts.db.write(keep.clone()).await {
            tracing::error!(run = %id, cause = %error, "the end of an evaluation is not kept");
            if self.inner.is_closed.load(Ordering::SeqCst) {
                break;
            }
            tokio::time::sleep(KEEP_AGAIN).await;
        }
    }

    /// Begins no more runs, and ends the one under way after the texts that are being scored.
    pub(crate) fn close(&self) {
        let current = self.inner.current.lock();
        self.inner.is_closed.store(true, Ordering::SeqCst);
        if let Some(current) = &*current {
            current.progress.cancel();
        }
    }

    /// Waits until the run under way has ended, for a while at most.
    pub(crate) async fn finish(&self) {
        if tokio::time::timeout(FINISH_MAX, self.ended()).await.is_err() {
            tracing::warn!("an evaluation did not end in time");
        }
    }

    /// Waits until the run under way has ended.
    pub(crate) async fn ended(&self) {
        let task = self.inner.current.lock().as_mut().and_then(|current| current.task.take());
        if let Some(task) = task {
            // It fails only where the run panicked or the runtime is ending.
            let _ = task.await;
        }
    }

    /// Texts scored, of how many, by a run of this server.
    pub(crate) fn progress(&self, id: RunId) -> Option<(usize, usize)> {
        let current = self.inner.current.lock();
        current.as_ref().filter(|current| current.id == id).map(|current| current.progress.counts())
    }

    /// The newest runs with their results, newest first.
    pub(crate) async fn list(
        &self,
        limit: u32,
    ) -> Result<Vec<(RunSummary, Option<Results>)>, EvalsError> {
        let rows = self.inner.parts.db.read(move |db| store::list(db, limit)).await?;
        rows.into_iter().map(|(run, json)| Ok((run, read_results(json)?))).collect()
    }

    /// One run with its results.
    pub(crate) async fn find(
        &self,
        id: RunId,
    ) -> Result<(RunSummary, Option<Results>), EvalsError> {
        let row = self.inner.parts.db.read(move |db| store::find(db, id)).await?;
        let (run, json) = row.ok_or(EvalsError::NotFound)?;
        Ok((run, read_results(json)?))
    }

    /// The suites that can be run here.
    pub(crate) async fn suites(&self) -> Vec<&'static str> {
        let files = self.inner.parts.files.clone();
        let is_there = tokio::task::spawn_blocking(move || crows::is_in(&files)).await;
        let mut suites = vec![COUNTERFACTUAL_NAME];
        suites.extend(is_there.is_ok_and(|is_there| is_there).then_some(CROWS_NAME));
        suites
    }

    async fn last_try(&self, suite: &str, model: &str) -> Result<Option<Timestamp>, EvalsError> {
        let (suite, model) = (suite.to_owned(), model.to_owned());
        // Dated further ahead is what a clock that was wrong has done: when, nobody knows.
        let until = self.now().plus(CLOCK_OFF);
        Ok(self.inner.parts.db.read(move |db| store::last_try(db, &suite, &model, until)).await?)
    }

    /// The model in memory, for as long as the run goes on.
    async fn hold(&self, request: &StartRequest) -> Result<(Arc<Model>, Lease), EvalsError> {
        let caller = request.by.clone().unwrap_or_else(Caller::system);
        let held = self.inner.parts.gate.hold(&caller, request.model.as_deref()).await;
        held.map_err(|error| match error {
            GateError::ModelNotFound => EvalsError::ModelNotFound,
            GateError::ShuttingDown => EvalsError::Closing,
            _ => EvalsError::ModelNotReady,
        })
    }

    /// The model, if it is open to whoever asks and answers, or will once it is asked.
    fn model(&self, request: &StartRequest) -> Result<Arc<Model>, EvalsError> {
        if self.inner.is_closed.load(Ordering::SeqCst) {
            return Err(EvalsError::Closing);
        }
        let caller = request.by.clone().unwrap_or_else(Caller::system);
        let model = self.inner.parts.gate.model(&caller, request.model.as_deref());
        let model = model.ok_or(EvalsError::ModelNotFound)?;
        if model.will_answer() { Ok(model) } else { Err(EvalsError::ModelNotReady) }
    }

    async fn suite(&self, request: &StartRequest) -> Result<Suite, EvalsError> {
        match request.suite.as_str() {
            COUNTERFACTUAL_NAME => Ok(Suite::Counterfactual),
            CROWS_NAME => {
                let files = request.data.clone().unwrap_or_else(|| self.inner.parts.files.clone());
                let read = tokio::task::spawn_blocking(move || crows::read(&files)).await;
                Ok(Suite::Crows(read.map_err(|_| EvalsError::Closing)??))
            }
            _ => Err(EvalsError::UnknownSuite),
        }
    }

    fn now(&self) -> Timestamp {
        self.inner.parts.clock.now()
    }
}

fn started_event(run: &RunSummary, by: Option<&Caller>) -> Event {
    let actor = by.map_or(Actor::System, Caller::actor);
    let event = Event::new(Action::EvaluationStart, Outcome::Started, actor)
        .subject(run.id)
        .with("suite", run.suite.clone())
        .with("model", run.model.clone())
        .with("model_sha256", run.model_sha256.clone())
        .with("origin", run.origin.name());
    match by {
        Some(by) => event.from_request(by.address, by.request),
        None => event,
    }
}

fn read_results(json: Option<String>) -> Result<Option<Results>, EvalsError> {
    json.map(|json| serde_json::from_str(&json)).transpose().map_err(EvalsError::Unreadable)
}
