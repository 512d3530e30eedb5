//! How models leave the memory: at somebody's word, when nobody has asked them for long, or to make
//! room for another. Running answers come to their end first, within a limit.

use std::sync::Arc;
use std::time::Duration;

use super::error::ModelsError;
use super::library::{Entry, Library, State, event};
use super::plan::Reservation;
use crate::access::Caller;
use crate::audit::{Action, Actor, Event, Outcome};
use crate::clock::Timestamp;
use crate::config::LoadWhen;
use crate::engine::give_back_memory;
use crate::gate::{Catalog, Engines, InUse, Model, ModelState};

/// Why a model is unloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Somebody said so.
    Order,
    /// Nobody has asked it for long.
    Idle,
    /// Another one needs the room.
    Room,
}

impl Reason {
    const fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Idle => "idle",
            Self::Room => "room",
        }
    }
}

/// What was loaded and is to leave the memory.
pub(super) struct Leaving {
    engine: Engines,
    in_use: Arc<InUse>,
    reservation: Option<Reservation>,
}

impl Leaving {
    /// Takes what is loaded out of its place; from then on nobody new comes to it.
    pub(super) fn take(entry: &mut Entry, model: &mut Model) -> Option<Self> {
        let (engine, in_use) = (model.engine.take()?, model.in_use.take()?);
        Some(Self { engine, in_use, reservation: entry.reservation.take() })
    }
}

impl Library {
    /// Unloads a model in somebody's name. On record before it begins; returns then.
    pub(crate) async fn unload(&self, name: &str, caller: &Caller) -> Result<(), ModelsError> {
        let model = self.find(Some(name)).ok_or(ModelsError::NotFound)?;
        may_unload(&model)?;
        let event = event(Action::ModelUnload, Outcome::Started, &model.name, caller);
        let unload = |library: &Self, name: &str| {
            let leaving = library.begin_unload(name, Reason::Order)?;
            library.finish_in_background(name, Reason::Order, leaving)
        };
        self.on_record(caller, event, model.name.clone(), unload).await
    }

    /// Unloads what nobody has used for longer than it may be idle.
    pub(crate) fn unload_idle(&self) {
        let now = self.inner.clock.now();
        let is_over = |entry: &&Entry| {
            let since = entry.model.in_use.as_ref().and_then(|in_use| in_use.idle_since());
            let over = |(since, idle): (Timestamp, Duration)| now.since(since) >= idle;
            since.zip(entry.rules.idle).is_some_and(over) && entry.model.progress.is_none()
        };
        let names: Vec<String> = {
            let state = self.inner.state.read();
            state.entries.iter().filter(is_over).map(|one| one.model.name.clone()).collect()
        };
        for name in names {
            let library = self.clone();
            let work = move || drop(library.unload_unused(&name, Reason::Idle));
            if let Err(error) = std::thread::Builder::new().name("models".into()).spawn(work) {
                tracing::warn!(cause = %error, "an idle model cannot be unloaded");
            }
        }
    }

    /// Unloads models that nobody uses until so much is free, the one that was idle longest first.
    /// Says whether any was; none is where all of them together are not enough. Blocks.
    pub(super) fn make_room(&self, for_name: &str, missing: u64) -> bool {
        let mut idle: Vec<(String, u64, Timestamp)> = {
            let state = self.inner.state.read();
            self.idle_ones(&state).filter(|(name, _, _)| name != for_name).collect()
        };
        if idle.iter().map(|(_, bytes, _)| bytes).sum::<u64>() < missing {
            return false;
        }
        idle.sort_by_key(|(_, _, since)| *since);
        let mut freed = 0;
        for (name, bytes, _) in idle {
            if freed < missing && self.unload_unused(&name, Reason::Room).is_ok() {
                freed += bytes;
            }
        }
        freed > 0
    }

    /// Models that could leave now: name, bytes, and since when nobody has used them.
    pub(super) fn idle_ones<'a>(
        &self,
        state: &'a State,
    ) -> impl Iterator<Item = (String, u64, Timestamp)> + use<'a> {
        let evict = self.inner.options.evict;
        let can_leave = move |entry: &'a Entry| {
            let model = &entry.model;
            let may = evict && entry.rules.load == LoadWhen::Demand && model.progress.is_none();
            let since = model.in_use.as_ref().filter(|_| may)?.idle_since()?;
            Some((model.name.clone(), model.memory_bytes?, since))
        };
        state.entries.iter().filter_map(can_leave)
    }

    /// Unloads a model unless somebody uses it. Blocks until its memory is given back.
    fn unload_unused(&self, name: &str, reason: Reason) -> Result<(), ModelsError> {
        let event = Event::new(Action::ModelUnload, Outcome::Started, Actor::System);
        let event = event.subject(name).with("reason", reason.name());
        self.inner.audit.record_blocking(event)?;
        let leaving = self.begin_unload(name, reason).inspect_err(|_| {
            // Somebody has come to it meanwhile: it stays.
            let event = Event::new(Action::ModelUnload, Outcome::Cancelled, Actor::System);
            let event = event.subject(name).with("reason", reason.name());
            if let Err(error) = self.inner.audit.record_blocking(event) {
                tracing::error!(cause = %error, "that a model stays cannot be put on record");
            }
        })?;
        self.finish(name, reason, leaving);
        Ok(())
    }

    /// Lets nobody new come to a model.
    fn begin_unload(&self, name: &str, reason: Reason) -> Result<Leaving, ModelsError> {
        let begun = self.change(name, |entry, model| {
            may_unload(model)?;
            let is_used = model.in_use.as_ref().is_some_and(|in_use| in_use.count() > 0);
            if is_used && reason != Reason::Order {
                return Err(ModelsError::Conflict(format!("`{name}` is in use.")));
            }
            let leaving = Leaving::take(entry, model);
            let memory_bytes = model.memory_bytes;
            *model = Model { memory_bytes, ..model.clone().away(ModelState::Unloading) };
            // One that somebody sent away is not called back by the next request, unless that is
            // how it is always loaded.
            model.is_on_demand = reason != Reason::Order || entry.rules.load == LoadWhen::Demand;
            leaving.ok_or(ModelsError::NotFound)
        });
        begun.ok_or(ModelsError::NotFound)?
    }

    fn finish_in_background(
        &self,
        name: &str,
        reason: Reason,
        leaving: Leaving,
    ) -> Result<(), ModelsError> {
        let (library, name) = (self.clone(), name.to_owned());
        let work = move || library.finish(&name, reason, leaving);
        let thread = std::thread::Builder::new().name("models".into()).spawn(work);
        thread.map(drop).map_err(ModelsError::Thread)
    }

    fn finish(&self, name: &str, reason: Reason, leaving: Leaving) {
        self.retire(leaving);
        let event = Event::new(Action::ModelUnload, Outcome::Done, Actor::System);
        let event = event.subject(name).with("reason", reason.name());
        if let Err(error) = self.inner.audit.record_blocking(event) {
            tracing::error!(cause = %error, "that a model was unloaded cannot be put on record");
        }
        tracing::info!(model = name, reason = reason.name(), "model is unloaded");
        self.change(name, |_, model| *model = model.clone().away(ModelState::NotLoaded));
    }

    /// Lets running answers come to their end, then gives the memory back. Blocks.
    fn retire(&self, Leaving { engine, in_use, reservation }: Leaving) {
        if !in_use.wait_unused(self.inner.options.grace) {
            tracing::warn!(answers = in_use.count(), "answers are ended: their model is unloaded");
        }
        engine.shutdown();
        engine.wait_closed();
        drop(engine);
        give_back_memory();
        drop(reservation);
    }

    /// The same, elsewhere.
    pub(super) fn retire_in_background(&self, leaving: Leaving) {
        let library = self.clone();
        let work = move || library.retire(leaving);
        if let Err(error) = std::thread::Builder::new().name("models".into()).spawn(work) {
            tracing::warn!(cause = %error, "what a model was before is dropped at once");
        }
    }
}

/// Whether a model can be unloaded as it stands.
fn may_unload(model: &Model) -> Result<(), ModelsError> {
    let reason = match model.state {
        ModelState::Ready if model.progress.is_some() => "is being loaded anew. Cancel that first.",
        ModelState::Ready => return Ok(()),
        ModelState::Loading => "is being loaded. Cancel that instead.",
        ModelState::Unloading => "is being unloaded already.",
        ModelState::NotLoaded | ModelState::Failed(_) => "is not loaded.",
    };
    Err(ModelsError::Conflict(format!("`{}` {reason}", model.name)))
}
