//! The one road that every generation takes, whoever asks and by whatever door: `Gate::road`. The
//! order of its lines is the security model. Knows no HTTP but in `api.rs`, and no feature: those
//! that ask (chat, API, evaluations) and the library of models stand above.

pub(crate) mod api;
mod catalog;
mod echo;
mod embed;
mod error;
pub(crate) mod examples;
mod exchange;
mod extent;
mod form;
mod generate;
mod held;
mod inspect;
mod lease;
mod loaded;
mod metrics;
mod moderate;
mod prompt;
mod pump;
mod record;
mod request;
mod running;
mod score;
mod shared;
pub(crate) mod standing;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tokens;
mod waiting;
mod way;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use catalog::{Catalog, Model, ModelState, NotReady, Setback, Taken};
pub(crate) use embed::{EmbedAsk, EmbedText, EmbedTexts, Embedded, TEXTS_MAX};
pub(crate) use error::GateError;
pub use generate::Generate;
pub(crate) use lease::{InUse, Lease};
pub(crate) use loaded::{Engines, ModelKind};
pub(crate) use moderate::{Found, MODERATOR};
pub(crate) use request::{
    Ending, ExchangeEvent, ExchangeHandle, ExchangeRequest, ExchangeUsage, HeldTo, Input, Notice,
    PROMPTS_MAX, Purpose,
};
pub(crate) use score::ScoreText;
pub(crate) use shared::SharedPrompt;
pub(crate) use tokens::{Read, ReadAsk, Spell, TokenInput};
pub(crate) use waiting::WaitOptions;
pub(crate) use way::{Rest, Way};

use crate::access::{Caller, Refusals, Revocation};
use crate::audit::AuditLog;
use crate::clock::Clock;
use crate::db::Db;
use crate::engine::{Domain, Weight};
use crate::guard::Guard;
use crate::ids::UserId;
use crate::limits::{Limiter, Reservation, Wanted};
use crate::usage::Ledger;
use crate::vault::Vault;
use exchange::Exchange;
use metrics::Metrics;
use prompt::Draft;
use running::{Place, Running};
use shared::SharedPrompts;
use standing::subject;
use waiting::Line;
use way::Asker;

/// How long the records of exchanges that were ended may take at shutdown.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// What the gate is made of.
pub(crate) struct GateParts {
    /// The models.
    pub(crate) catalog: Arc<dyn Catalog>,
    /// The limits.
    pub(crate) limits: Limiter,
    /// What was used.
    pub(crate) ledger: Ledger,
    /// The guard.
    pub(crate) guard: Guard,
    /// The record.
    pub(crate) audit: AuditLog,
    /// How many refusals are recorded one by one.
    pub(crate) refusals: Arc<Refusals>,
    /// Where limits and record are written together.
    pub(crate) db: Db,
    /// The digests of prompts.
    pub(crate) vault: Vault,
    /// How requests wait for models that are not in memory.
    pub(crate) wait: WaitOptions,
    /// The longest answer where a request names no bound.
    pub(crate) default_max_tokens: usize,
    /// Which day it is, for chat templates that say so.
    pub(crate) clock: Clock,
    /// Where exchanges run: it outlives the threads that speak HTTP.
    pub(crate) runtime: tokio::runtime::Handle,
    /// Whether everything that let a caller in still stands.
    pub(crate) still_holds: Box<dyn Fn(&Caller) -> bool + Send + Sync>,
}

/// The gate. A handle.
#[derive(Clone)]
pub(crate) struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    parts: GateParts,
    running: Running,
    metrics: Metrics,
    limited: record::Limited,
    line: Line,
    shared: SharedPrompts,
}

/// Somebody who is inside: counted among the requests and among those under way.
pub(crate) struct Entry {
    caller: Caller,
    place: Place,
    reservation: Reservation,
    begun: Instant,
}

impl Gate {
    /// Puts the gate together.
    pub(crate) fn new(parts: GateParts) -> Self {
        let (running, metrics) = (Running::default(), Metrics::default());
        let limited = record::Limited::default();
        let (line, shared) = (Line::default(), SharedPrompts::default());
        Self { inner: Arc::new(Inner { parts, running, metrics, limited, line, shared }) }
    }

    /// The first part of the road: a place and a request are taken before anything is done for the
    /// caller, so that what fails further on has been counted. For those who have work to do
    /// before they know what to ask.
    pub(crate) async fn enter(
        &self,
        caller: &Caller,
        purpose: Purpose,
    ) -> Result<Entry, GateError> {
        let begun = Instant::now();
        let result = self.let_in(caller, purpose, begun).await;
        self.counted(result)
    }

    /// The rest of the road, for somebody who may stop waiting for the model.
    async fn proceed_for(
        &self,
        entry: Entry,
        request: ExchangeRequest,
        asker: Asker,
    ) -> Result<ExchangeHandle, GateError> {
        let result = self.road(entry, request, asker).await;
        self.counted(result)
    }

    pub(super) fn counted<T>(&self, result: Result<T, GateError>) -> Result<T, GateError> {
        result.inspect_err(|error| self.inner.metrics.refused(error.name()))
    }

    async fn let_in(
        &self,
        caller: &Caller,
        purpose: Purpose,
        begun: Instant,
    ) -> Result<Entry, GateError> {
        let place = self.inner.running.enter(caller)?;
        // Now that a revocation would find this place: whether there was one since the caller was
        // let in, while their request was still being read.
        if !(self.inner.parts.still_holds)(caller) {
            self.record_denial(caller, purpose.permission().name(), None).await?;
            return Err(GateError::Revoked);
        }
        match self.inner.parts.limits.enter(&subject(caller)) {
            Ok(reservation) => Ok(Entry { caller: caller.clone(), place, reservation, begun }),
            Err(refusal) => {
                self.record_limit(caller, None, refusal).await?;
                Err(refusal.into())
            }
        }
    }

    async fn road(
        &self,
        entry: Entry,
        request: ExchangeRequest,
        asker: Asker,
    ) -> Result<ExchangeHandle, GateError> {
        let Entry { caller, mut place, mut reservation, begun } = entry;
        let purpose = request.purpose;
        let model = self.authorise(&caller, purpose, request.model.as_deref()).await?;
        // Whoever may ask no more of this model does not have it loaded either.
        self.narrow(&caller, &model, &mut reservation).await?;
        let foreseen = self.foresee(&caller, &model, request, reservation).await?;
        let (request, mut reservation) = foreseen;
        let (model, lease) = self.ready(&caller, &model, &mut place, Some(asker)).await?;
        place.keep(lease);
        fits(&model, purpose)?;
        let parts = &self.inner.parts;
        let today = parts.clock.now().date();
        let mut draft = Draft::make(&model, request, parts.default_max_tokens, today).await?;
        self.reserve(&caller, &model, &mut reservation, draft.wanted()).await?;
        draft.bound(reservation.tokens());
        let cleared = self.inspect(&caller, &model, draft, reservation).await?;
        let cleared = self.share(&caller, &model, cleared).await?;
        let record = match self.record_start(&caller, &model, purpose, &cleared).await {
            Ok(record) => record,
            Err(error) => {
                // Nothing ran, and nothing is on disk.
                cleared.reservation.settle(0);
                return Err(error);
            }
        };
        let exchange = Exchange::new(self.clone(), place, record, begun);
        exchange.start(&model, cleared).await
    }

    /// Counts the request on what the caller may use of this model too.
    pub(super) async fn narrow(
        &self,
        caller: &Caller,
        model: &Model,
        reservation: &mut Reservation,
    ) -> Result<(), GateError> {
        match reservation.narrow(&model.name, &model.person_limits) {
            Ok(()) => Ok(()),
            Err(refusal) => {
                self.record_limit(caller, Some(model), refusal).await?;
                Err(refusal.into())
            }
        }
    }

    /// Takes prompt and longest answer out of everybody's accounts that count.
    async fn reserve(
        &self,
        caller: &Caller,
        model: &Model,
        reservation: &mut Reservation,
        wanted: Wanted,
    ) -> Result<(), GateError> {
        match reservation.reserve(wanted) {
            Ok(()) => Ok(()),
            Err(refusal) => {
                self.record_limit(caller, Some(model), refusal).await?;
                Err(refusal.into())
            }
        }
    }

    /// The model of this name; without one the default, or the first that the caller may use for
    /// this purpose where the default is of another kind.
    fn find(&self, caller: &Caller, purpose: Purpose, name: Option<&str>) -> Option<Arc<Model>> {
        let catalog = &self.inner.parts.catalog;
        let named = catalog.find(name);
        let suits = |model: &Arc<Model>| model.kind().is_some_and(|kind| purpose.takes(kind));
        let is_other = named.as_ref().is_none_or(|model| model.kind().is_some() && !suits(model));
        if name.is_some() || !is_other {
            return named;
        }
        let mut all = catalog.all().into_iter();
        all.find(|model| suits(model) && model.is_open_to(caller)).or(named)
    }

    /// Whether the caller may use this model for this purpose. A refusal is on record before it
    /// is told, and a model that is not open to the caller is told as one that is not there.
    async fn authorise(
        &self,
        caller: &Caller,
        purpose: Purpose,
        name: Option<&str>,
    ) -> Result<Arc<Model>, GateError> {
        if !caller.may(purpose.permission()) {
            self.record_denial(caller, purpose.permission().name(), None).await?;
            return Err(GateError::NotPermitted);
        }
        let model = self.find(caller, purpose, name).ok_or(GateError::ModelNotFound)?;
        self.check_open(caller, &model).await?;
        fits(&model, purpose)?;
        Ok(model)
    }

    /// Refuses a model that is not open to the caller.
    async fn check_open(&self, caller: &Caller, model: &Model) -> Result<(), GateError> {
        if model.is_open_to(caller) {
            return Ok(());
        }
        self.record_denial(caller, "model", Some(&model.name)).await?;
        Err(GateError::ModelNotFound)
    }

    /// A model that is taken up for longer than one request: it stays in memory as long as the
    /// lease lives. Has it loaded where that is allowed.
    pub(crate) async fn hold(
        &self,
        caller: &Caller,
        name: Option<&str>,
    ) -> Result<(Arc<Model>, Lease), GateError> {
        let model = self.model(caller, name).ok_or(GateError::ModelNotFound)?;
        let mut place = self.inner.running.enter(caller)?;
        self.ready(caller, &model, &mut place, None).await
    }

    /// The models that the caller may use.
    pub(crate) fn models(&self, caller: &Caller) -> Vec<Arc<Model>> {
        let mut models = self.inner.parts.catalog.all();
        models.retain(|model| model.is_open_to(caller));
        models
    }

    /// A model by name or alias, if the caller may use it.
    pub(crate) fn model(&self, caller: &Caller, name: Option<&str>) -> Option<Arc<Model>> {
        self.inner.parts.catalog.find(name).filter(|model| model.is_open_to(caller))
    }

    /// How much of an engine the caller gets beside others.
    fn weight(&self, caller: &Caller) -> Weight {
        Weight::new(self.inner.parts.limits.weight(&caller.roles))
    }

    /// The model that a request for this purpose is for, if the caller may use it.
    pub(crate) fn asked(
        &self,
        caller: &Caller,
        purpose: Purpose,
        name: Option<&str>,
    ) -> Option<Arc<Model>> {
        self.find(caller, purpose, name).filter(|model| model.is_open_to(caller))
    }

    /// Ends every exchange that the withdrawn thing had let in, within one step; says how many. Of a
    /// person, nothing stays in the caches.
    pub(crate) fn revoke(&self, what: &Revocation) -> usize {
        let ended = self.inner.running.revoke(what);
        if let Revocation::Person(user) = what {
            for model in self.inner.parts.catalog.all() {
                if let Some(engine) = &model.engine {
                    engine.forget(domain(*user));
                }
            }
        }
        ended
    }

    /// Whether the default model answers, or will once it is asked; for the readiness probe.
    pub(crate) fn is_ready(&self) -> bool {
        self.inner.parts.catalog.find(None).is_some_and(|model| model.will_answer())
    }

    /// Lets nobody in any more and waits for those inside; after the limit they are ended.
    pub(crate) async fn drain(&self, limit: Duration) {
        self.inner.running.drain(limit, LAST_RECORDS).await;
        for model in self.inner.parts.catalog.all() {
            if let Some(engine) = &model.engine {
                engine.shutdown();
            }
        }
    }

    /// The numbers, as Prometheus reads them.
    pub(crate) fn metrics_text(&self) -> String {
        let models = self.inner.parts.catalog.all();
        self.inner.metrics.text(self.inner.running.count(), &models)
    }
}

/// Whether the model is for this, as far as is known: what one that is not in memory is for is known
/// once it is read.
fn fits(model: &Model, purpose: Purpose) -> Result<(), GateError> {
    match model.kind() {
        Some(kind) if !purpose.takes(kind) => Err(GateError::WrongKind(kind)),
        Some(_) | None => Ok(()),
    }
}

/// The cache of prompts is kept apart by person.
fn domain(user: UserId) -> Domain {
    Domain(u128::from_be_bytes(*user.as_bytes()))
}
