//! The one road that every generation takes, whoever asks and by whatever door: `Gate::run`. The
//! order of its lines is the security model. Knows no HTTP but in `api.rs`, and no feature: those
//! that ask (chat, API, evaluations) and the library of models stand above.

pub(crate) mod api;
mod catalog;
mod error;
mod exchange;
mod generate;
mod inspect;
mod loaded;
mod metrics;
mod prompt;
mod record;
mod request;
mod running;
mod score;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use catalog::{Catalog, Model, ModelState};
pub(crate) use error::GateError;
pub use generate::Generate;
pub(crate) use loaded::Engines;
pub(crate) use request::{
    Ending, ExchangeEvent, ExchangeHandle, ExchangeRequest, ExchangeUsage, Input, Notice,
    NoticeDirection, Purpose,
};
pub(crate) use score::ScoreText;

use crate::access::{Caller, Refusals, Revocation};
use crate::audit::AuditLog;
use crate::clock::Clock;
use crate::db::Db;
use crate::engine::Domain;
use crate::guard::Guard;
use crate::ids::UserId;
use crate::limits::{Limiter, Reservation, Standing, Subject, Usage, Wanted};
use crate::vault::Vault;
use exchange::Exchange;
use metrics::Metrics;
use prompt::Draft;
use running::Running;

/// How long the records of exchanges that were ended may take at shutdown.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// What the gate is made of.
pub(crate) struct GateParts {
    /// The models.
    pub(crate) catalog: Arc<dyn Catalog>,
    /// The limits.
    pub(crate) limits: Limiter,
    /// The guard.
    pub(crate) guard: Guard,
    /// The record.
    pub(crate) audit: AuditLog,
    /// Where limits and record are written together.
    pub(crate) db: Db,
    /// The digests of prompts.
    pub(crate) vault: Vault,
    /// The longest answer where a request names no bound.
    pub(crate) default_max_tokens: usize,
    /// How many denials are recorded one by one.
    pub(crate) refusals: Arc<Refusals>,
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
}

impl Gate {
    /// Puts the gate together.
    pub(crate) fn new(parts: GateParts) -> Self {
        let (running, metrics) = (Running::default(), Metrics::default());
        let limited = record::Limited::default();
        Self { inner: Arc::new(Inner { parts, running, metrics, limited }) }
    }

    /// The road. Whoever comes out at its end has passed every control; what comes out is read
    /// from the handle, and dropping the handle ends the work.
    pub(crate) async fn run(
        &self,
        caller: &Caller,
        request: ExchangeRequest,
    ) -> Result<ExchangeHandle, GateError> {
        let begun = Instant::now();
        let (gate, by) = (self.clone(), caller.clone());
        // On its own task: a caller who goes away half-way leaves no half-written books.
        let road = async move { gate.road(&by, request, begun).await };
        let result =
            self.inner.parts.runtime.spawn(road).await.unwrap_or(Err(GateError::ShuttingDown));
        if let Err(error) = &result {
            self.inner.metrics.refused(error.name());
        }
        result
    }

    async fn road(
        &self,
        caller: &Caller,
        request: ExchangeRequest,
        begun: Instant,
    ) -> Result<ExchangeHandle, GateError> {
        let purpose = request.purpose;
        let place = self.inner.running.enter(caller)?;
        // Now that a revocation would find this place: whether there was one since the caller was
        // let in, while their request was still being read.
        if !(self.inner.parts.still_holds)(caller) {
            self.record_denial(caller, purpose.permission().name(), None).await?;
            return Err(GateError::Revoked);
        }
        let model = self.authorise(caller, purpose, request.model.as_deref()).await?;
        self.check_pace(caller, &model).await?;
        let parts = &self.inner.parts;
        let today = parts.clock.now().date();
        let mut draft = Draft::make(&model, request, parts.default_max_tokens, today).await?;
        let reservation = self.admit(caller, &model, draft.wanted()).await?;
        draft.bound(reservation.tokens());
        let cleared = self.inspect(caller, &model, draft, reservation).await?;
        let record = self.record_start(caller, &model, purpose, &cleared).await?;
        let exchange = Exchange::new(self.clone(), place, record, begun);
        exchange.start(&model, cleared).await
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
        let model = self.inner.parts.catalog.find(name).ok_or(GateError::ModelNotFound)?;
        if !model.is_open_to(caller) {
            self.record_denial(caller, "model", Some(&model.name)).await?;
            return Err(GateError::ModelNotFound);
        }
        match &model.state {
            ModelState::Ready => Ok(model),
            ModelState::Loading => Err(GateError::ModelNotReady("It is being loaded.".into())),
            ModelState::Failed(_) => {
                Err(GateError::ModelNotReady("It could not be loaded.".into()))
            }
        }
    }

    /// Refuses whoever is over a limit before their text costs any work.
    async fn check_pace(&self, caller: &Caller, model: &Model) -> Result<(), GateError> {
        let Err(refusal) = self.inner.parts.limits.would_admit(&subject(caller)) else {
            return Ok(());
        };
        self.record_limit(caller, model, refusal).await?;
        Err(refusal.into())
    }

    /// Takes prompt and longest answer out of everybody's accounts that count.
    async fn admit(
        &self,
        caller: &Caller,
        model: &Model,
        wanted: Wanted,
    ) -> Result<Reservation, GateError> {
        match self.inner.parts.limits.admit(&subject(caller), wanted) {
            Ok(reservation) => Ok(reservation),
            Err(refusal) => {
                self.record_limit(caller, model, refusal).await?;
                Err(refusal.into())
            }
        }
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

    /// Where the caller stands against their limits.
    pub(crate) fn standing(&self, caller: &Caller) -> Standing {
        self.inner.parts.limits.standing(&subject(caller))
    }

    /// What the caller has used today and in the last minute.
    pub(crate) fn usage(&self, caller: &Caller) -> Usage {
        self.inner.parts.limits.usage(caller.user, &caller.roles)
    }

    /// Ends every exchange that the withdrawn thing had let in, within one step; says how many. Of a
    /// person, nothing stays in the caches.
    pub(crate) fn revoke(&self, what: Revocation) -> usize {
        if let Revocation::Person(user) = what {
            for model in self.inner.parts.catalog.all() {
                if let Some(engine) = &model.engine {
                    engine.forget(domain(user));
                }
            }
        }
        self.inner.running.revoke(what)
    }

    /// Whether a model that everybody with the API may use answers; for the readiness probe.
    pub(crate) fn is_ready(&self) -> bool {
        let default = self.inner.parts.catalog.find(None);
        default.is_some_and(|model| model.state == ModelState::Ready)
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

/// Whose limits count.
fn subject(caller: &Caller) -> Subject {
    Subject { user: caller.user, key: caller.key().map(|key| key.id), roles: caller.roles.clone() }
}

/// The cache of prompts is kept apart by person.
fn domain(user: UserId) -> Domain {
    Domain(u128::from_be_bytes(*user.as_bytes()))
}
