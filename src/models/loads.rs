//! Which models are loaded, and when: one after the other, on a thread of their own, so that the
//! server answers meanwhile. What was served before is served on.

use std::collections::VecDeque;
use std::sync::Arc;

use super::error::ModelsError;
use super::library::{Entry, Library, State, event};
use super::plan::{Reservation, Shortage};
use super::reading::{Admission, Job, Trouble};
use crate::access::Caller;
use crate::audit::{Action, Event, Outcome};
use crate::config::LoadWhen;
use crate::db::Transaction;
use crate::engine::{LoadError, LoadProgress};
use crate::gate::{Catalog, Model, ModelState, NotReady, Taken};

/// The loads that are to come.
#[derive(Default)]
pub(super) struct Queue {
    jobs: VecDeque<Job>,
    is_working: bool,
}

/// Who had a model loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The configuration.
    Start,
    /// A request.
    Demand,
    /// A person, or the console.
    Order,
}

impl Cause {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Demand => "demand",
            Self::Order => "order",
        }
    }
}

impl Library {
    /// Loads what is to be loaded at the start; returns at once.
    pub(crate) fn load_in_background(&self) -> Result<(), ModelsError> {
        let is_wanted = |entry: &&Entry| entry.rules.load == LoadWhen::Start;
        let names: Vec<String> = {
            let state = self.inner.state.read();
            state.entries.iter().filter(is_wanted).map(|one| one.model.name.clone()).collect()
        };
        names.iter().try_for_each(|name| self.begin(name, Cause::Start))
    }

    /// Reads one model and no other, for a command that needs no more. Blocks.
    pub(crate) fn load_only(&self, name: Option<&str>) -> Result<Arc<Model>, ModelsError> {
        let model = self.find(name).ok_or(ModelsError::NotFound)?;
        self.work(self.job(&model.name, Cause::Start)?);
        self.find(Some(&model.name)).ok_or(ModelsError::NotFound)
    }

    /// Has a model loaded in somebody's name; one that answers already is read anew where its file
    /// has changed, and answers until that is done. On record before it begins; returns then.
    pub(crate) async fn load(&self, name: &str, caller: &Caller) -> Result<(), ModelsError> {
        let model = self.find(Some(name)).ok_or(ModelsError::NotFound)?;
        may_begin(&model)?;
        let event = event(Action::ModelLoad, Outcome::Started, &model.name, caller);
        let begin = |library: &Self, name: &str| library.begin(name, Cause::Order);
        self.on_record(caller, event, model.name.clone(), begin).await
    }

    /// Cancels a load in somebody's name. What was served before is served on.
    pub(crate) async fn cancel(&self, name: &str, caller: &Caller) -> Result<(), ModelsError> {
        let model = self.find(Some(name)).ok_or(ModelsError::NotFound)?;
        if model.progress.is_none() {
            return Err(ModelsError::Conflict(format!("`{}` is not being loaded.", model.name)));
        }
        let event = event(Action::ModelCancel, Outcome::Done, &model.name, caller);
        let cancel = |library: &Self, name: &str| {
            library.stop_loading(name);
            Ok(())
        };
        self.on_record(caller, event, model.name.clone(), cancel).await
    }

    /// Puts an event on record and then does what it says, where the caller still may.
    pub(super) async fn on_record(
        &self,
        caller: &Caller,
        event: Event,
        name: String,
        act: impl FnOnce(&Self, &str) -> Result<(), ModelsError> + Send + 'static,
    ) -> Result<(), ModelsError> {
        let (audit, library) = (self.inner.audit.clone(), self.clone());
        let record = move |tx: &Transaction<'_>| -> Result<(), ModelsError> {
            audit.record_in(tx, event)?;
            Ok(())
        };
        let act = move |(): &()| {
            if let Err(error) = act(&library, &name) {
                tracing::warn!(model = name, cause = %error, "what was asked was not done");
            }
        };
        self.inner.changes.make(caller, record, act).await
    }

    /// Begins a load for a request that waits.
    pub(super) fn load_on_demand(&self, name: &str) -> Taken {
        let model = self.find(Some(name));
        let name = model.map_or_else(|| name.to_owned(), |model| model.name.clone());
        match self.begin(&name, Cause::Demand) {
            // Where somebody else was quicker, it is on its way too.
            Ok(()) | Err(ModelsError::Conflict(_)) => Taken::Wait,
            Err(ModelsError::Closing) => Taken::No(NotReady::Closing),
            Err(error) => {
                tracing::error!(model = name, cause = %error, "a model cannot be loaded");
                Taken::No(NotReady::Failed)
            }
        }
    }

    /// Lets nothing be loaded any more, and ends what is being loaded.
    pub(crate) fn close(&self) {
        self.with_state(|state| {
            state.is_closed = true;
            for progress in state.entries.iter().filter_map(|entry| entry.model.progress.as_ref()) {
                progress.cancel();
            }
        });
        self.inner.queue.lock().jobs.clear();
    }

    /// Puts a load in the queue.
    pub(super) fn begin(&self, name: &str, cause: Cause) -> Result<(), ModelsError> {
        let job = self.job(name, cause)?;
        {
            let mut queue = self.inner.queue.lock();
            queue.jobs.push_back(job);
            if std::mem::replace(&mut queue.is_working, true) {
                return Ok(());
            }
        }
        let library = self.clone();
        let work = move || {
            while let Some(job) = library.next() {
                library.work(job);
            }
        };
        let thread = std::thread::Builder::new().name("models".into()).spawn(work);
        thread.map(drop).map_err(|error| {
            self.inner.queue.lock().is_working = false;
            self.stop_loading(name);
            ModelsError::Thread(error)
        })
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.inner.queue.lock();
        let job = queue.jobs.pop_front();
        queue.is_working = job.is_some();
        job
    }

    /// A load of this model, which from now on counts as being loaded.
    fn job(&self, name: &str, cause: Cause) -> Result<Job, ModelsError> {
        if self.inner.state.read().is_closed {
            return Err(ModelsError::Closing);
        }
        let admission = Admission::default();
        let progress = self.progress(name, &admission);
        let begun = self.change(name, |entry, model| {
            may_begin(model)?;
            let before = model.digest.clone().filter(|_| model.state == ModelState::Ready);
            if before.is_none() {
                model.state = ModelState::Loading;
            }
            model.progress = Some(progress.clone());
            model.setback = None;
            Ok(Job {
                name: name.to_owned(),
                source: entry.source.clone(),
                engine: entry.engine.clone(),
                progress,
                admission,
                cause,
                before,
            })
        });
        begun.ok_or(ModelsError::NotFound)?
    }

    /// The progress of a load, which takes no memory that the plan has not set aside.
    fn progress(&self, name: &str, admission: &Admission) -> LoadProgress {
        // Weak: the progress stands in the list, which would hold itself by it.
        let (library, name) = (Arc::downgrade(&self.inner), name.to_owned());
        let said = Arc::clone(admission);
        LoadProgress::admitted_by(move |bytes| {
            let inner = library.upgrade().ok_or(LoadError::Cancelled)?;
            let library = Self { inner };
            // Whoever asks again takes this instead of what was set aside before.
            said.lock().take();
            library.change(&name, |entry, _| entry.needed = Some(bytes));
            let answer = library.set_aside(&name, bytes);
            let result = match &answer {
                Ok(_) => Ok(()),
                Err(Shortage { needed, left, .. }) => {
                    Err(LoadError::Memory { needed_mib: needed >> 20, available_mib: left >> 20 })
                }
            };
            *said.lock() = Some(answer);
            result
        })
    }

    /// Sets memory aside; idle models give theirs where that helps.
    fn set_aside(&self, name: &str, bytes: u64) -> Result<Reservation, Shortage> {
        loop {
            match self.inner.plan.reserve(bytes) {
                Ok(reservation) => return Ok(reservation),
                Err(shortage) if !self.make_room(name, shortage.missing()) => return Err(shortage),
                Err(_) => {}
            }
        }
    }

    /// Whether there is room for a model, or would be without those that can leave.
    pub(super) fn has_room(&self, state: &State, bytes: u64) -> Result<(), Shortage> {
        let can_leave: u64 = self.idle_ones(state).map(|(_, bytes, _)| bytes).sum();
        match self.inner.plan.would_fit(bytes) {
            Err(shortage) if shortage.missing() > can_leave => Err(shortage),
            _ => Ok(()),
        }
    }

    /// Takes a load that has not begun out of the queue, or asks one that has to end.
    fn stop_loading(&self, name: &str) {
        let waiting = {
            let mut queue = self.inner.queue.lock();
            let at = queue.jobs.iter().position(|job| job.name == name);
            at.and_then(|at| queue.jobs.remove(at))
        };
        match waiting {
            Some(job) => {
                // Elsewhere: this may be the thread that writes, and giving up waits for it.
                let library = self.clone();
                let give_up = move || library.give_up(&job, &Trouble::Cancelled);
                if std::thread::Builder::new().name("models".into()).spawn(give_up).is_err() {
                    tracing::error!(model = name, "a load that was cancelled cannot be ended");
                }
            }
            None => {
                if let Some(progress) = self.find(Some(name)).and_then(|it| it.progress.clone()) {
                    progress.cancel();
                }
            }
        }
    }
}

/// Whether a load can begin as the model stands.
fn may_begin(model: &Model) -> Result<(), ModelsError> {
    if model.progress.is_some() {
        return Err(ModelsError::Conflict(format!("`{}` is being loaded already.", model.name)));
    }
    if model.state == ModelState::Unloading {
        return Err(ModelsError::Conflict(format!(
            "`{}` is being unloaded. Load it when that is done.",
            model.name
        )));
    }
    Ok(())
}
