//! One load: what is read, put on record and let answer, or given up. A model that cannot be read says
//! why and stands in nobody's way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::identity::FileIdentity;
use super::library::Library;
use super::loads::Cause;
use super::plan::{Reservation, Shortage};
use super::report::Report;
use super::sources::{Source, digest};
use super::unloads::Leaving;
use crate::audit::{Action, Actor, AuditError, Event, Outcome};
use crate::engine::{EngineOptions, LoadError, LoadProgress, Loaded};
use crate::gate::{Engines, Model, ModelState, Setback};

/// One load.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) engine: EngineOptions,
    pub(super) progress: LoadProgress,
    pub(super) admission: Admission,
    pub(super) cause: Cause,
    /// What is loaded under this name now.
    pub(super) before: Option<String>,
}

impl Job {
    /// Why the engine did not load it.
    fn trouble(&self, error: &LoadError) -> Trouble {
        match (error, self.admission.lock().take()) {
            (LoadError::Memory { .. }, Some(Err(shortage))) => Trouble::Memory(shortage),
            (LoadError::Cancelled, _) => Trouble::Cancelled,
            _ => Trouble::Broken(format!("{error}.")),
        }
    }
}

/// What the plan of memory said.
pub(super) type Admission = Arc<Mutex<Option<Result<Reservation, Shortage>>>>;

/// A model that was read.
struct Fresh {
    engine: Engines,
    digest: String,
    identity: Option<Vec<FileIdentity>>,
    reservation: Option<Reservation>,
}

/// Why a load did not end well.
pub(super) enum Trouble {
    Cancelled,
    Memory(Shortage),
    Broken(String),
}

impl Trouble {
    fn words(&self) -> String {
        match self {
            Self::Cancelled => "cancelled".to_owned(),
            Self::Memory(shortage) => shortage.to_string(),
            Self::Broken(reason) => reason.clone(),
        }
    }
}

impl Library {
    /// Does one load, to its end.
    pub(super) fn work(&self, job: Job) {
        let began = Instant::now();
        let read = {
            let _report = Report::begin(&job.name, &job.progress);
            // A reader that breaks off is a bug; the other models are served on.
            catch_unwind(AssertUnwindSafe(|| self.read(&job)))
                .unwrap_or_else(|_| Err(Trouble::Broken("Reading it failed inside.".to_owned())))
        };
        match read {
            Ok(Some(fresh)) if !job.progress.is_cancelled() => {
                self.install(&job, fresh, began.elapsed());
            }
            Ok(Some(_)) => self.give_up(&job, &Trouble::Cancelled),
            Ok(None) => {
                tracing::info!(model = job.name, "the model's file is the one that is loaded");
                self.change(&job.name, |_, model| model.progress = None);
            }
            Err(trouble) => self.give_up(&job, &trouble),
        }
    }

    /// Reads a model; none where it is the one that is loaded. What it is, by digest, is on record
    /// before it answers anybody.
    fn read(&self, job: &Job) -> Result<Option<Fresh>, Trouble> {
        let Job { source, progress, .. } = job;
        let lost = |error| Trouble::Broken(format!("The file cannot be read: {error}."));
        let identity = source.identity().map_err(lost)?;
        self.change(&job.name, |entry, _| entry.identity.clone_from(&identity));
        let broken = |error| job.trouble(&LoadError::from(error));
        let weights = source.open().map_err(broken)?;
        let is_loaded = |before: &String| digest(&weights, progress).is_ok_and(|it| it == *before);
        if job.before.as_ref().is_some_and(is_loaded) {
            return Ok(None);
        }
        let loaded = Loaded::load(weights.clone(), job.engine.clone(), progress);
        let engine = Engines::from(loaded.map_err(|error| job.trouble(&error))?);
        let digest = digest(&weights, progress).map_err(broken)?;
        if progress.is_cancelled() {
            return Err(Trouble::Cancelled);
        }
        self.record_load(job, Ok(&digest)).map_err(|_| {
            Trouble::Broken("That it was loaded cannot be put on record.".to_owned())
        })?;
        let reservation = job.admission.lock().take().and_then(Result::ok);
        Ok(Some(Fresh { engine, digest, identity, reservation }))
    }

    /// Lets a model that was read answer under its name; what answered before leaves.
    fn install(&self, job: &Job, fresh: Fresh, took: Duration) {
        let Fresh { engine, digest, identity, reservation } = fresh;
        let ms = took.as_millis() as u64;
        tracing::info!(model = job.name, sha256 = digest, took_ms = ms, "model is ready");
        let before = self.change(&job.name, |entry, model| {
            let before = Leaving::take(entry, model);
            entry.identity = identity;
            let memory_bytes = reservation.as_ref().map(Reservation::bytes);
            entry.reservation = reservation;
            let mut loads = model.loads;
            loads.done += 1;
            loads.took += took;
            let kept = model.clone();
            *model = Model {
                digest: Some(digest),
                memory_bytes,
                progress: None,
                loads,
                ..kept.ready(engine, &self.inner.clock)
            };
            before
        });
        if let Some(before) = before.flatten() {
            self.retire_in_background(before);
        }
    }

    /// Leaves things as they were before the load, and says why.
    pub(super) fn give_up(&self, job: &Job, trouble: &Trouble) {
        let reason = trouble.words();
        match trouble {
            Trouble::Broken(_) => {
                tracing::error!(model = job.name, reason, "model cannot be served");
            }
            Trouble::Cancelled | Trouble::Memory(_) => {
                tracing::warn!(model = job.name, reason, "model is not loaded");
            }
        }
        // It did not come to answer anybody; where the record fails, that is in the log.
        let _ = self.record_load(job, Err(trouble));
        self.change(&job.name, |_, model| {
            model.progress = None;
            model.loads.failed += 1;
            let is_served = model.state == ModelState::Ready;
            let (state, setback) = match trouble {
                _ if is_served => (ModelState::Ready, Some(Setback::KeptOld(reason))),
                Trouble::Cancelled => (ModelState::NotLoaded, Some(Setback::Cancelled)),
                Trouble::Memory(_) => (ModelState::NotLoaded, Some(Setback::Memory(reason))),
                Trouble::Broken(_) => (ModelState::Failed(reason), None),
            };
            (model.state, model.setback) = (state, setback);
        });
        job.admission.lock().take();
        crate::engine::give_back_memory();
    }

    fn record_load(&self, job: &Job, result: Result<&str, &Trouble>) -> Result<(), AuditError> {
        let event = |outcome| Event::new(Action::ModelLoad, outcome, Actor::System);
        let event = match result {
            Ok(digest) => event(Outcome::Done).with("sha256", digest),
            Err(Trouble::Cancelled) => event(Outcome::Cancelled),
            Err(trouble) => event(Outcome::Failed).with("reason", trouble.words()),
        };
        let event = event.with("cause", job.cause.name());
        let event = match &job.before {
            Some(before) => event.with("replaces", before.clone()),
            None => event,
        };
        self.inner.audit.record_blocking(event.subject(&job.name)).map(drop)
    }
}
