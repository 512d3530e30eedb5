//! Builds every long-lived part in order of dependence, runs the server, shuts it down.

#[cfg(feature = "bench")]
mod bench;
mod certificates;
mod console;
mod control;
mod expiry;
mod facts;
mod group_orders;
mod home;
mod key_orders;
mod orders;
mod people;
mod sealed;
mod start;
mod stop;
#[cfg(test)]
mod tests;
mod upkeep;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::App as WebApp;
use actix_web::middleware::from_fn;
use actix_web::web::{Data, PathConfig, PayloadConfig, QueryConfig, ServiceConfig};
use anyhow::{Context, Result};
use tokio::runtime::{Handle, Runtime};

use crate::access::{Authenticator, Binder, Caller, Refusals, Registry, route};
use crate::accounts::Accounts;
use crate::admin::api::SecurityContact;
use crate::audit::{Action, Actor, AuditLog, Event, Outcome};
use crate::chat::{Chat, ChatParts};
use crate::config::{Config, Settings};
use crate::db::{Db, DbOptions};
use crate::evals::{EvalParts, Evals};
use crate::gate::{Catalog, Gate, GateParts, WaitOptions};
use crate::groups::{Groups, GroupsParts};
use crate::guard::Guard;
use crate::keys::Keys;
use crate::limits::Limiter;
use crate::models::{Library, LibraryParts};
use crate::monitor::{Monitor, MonitorParts};
use crate::openai::api::{OpenAi, tell_limits};
use crate::openai::idempotency::api::answer_once;
use crate::openai::idempotency::{Idempotency, IdempotencyParts};
use crate::openai::responses::{Responses, ResponsesParts};
use crate::prompts::{Prompts, PromptsParts};
use crate::routes;
use crate::usage::{Ledger, Reports};
use crate::web::arrival::Arrivals;
use crate::web::coding::CodedFiles;
use crate::web::serve::{Serving, serve};
use crate::web::shell::{Shell, surround};
use crate::web::tls::{Certificates, server_config};
use crate::web::{ApiError, ErrorCode};
#[cfg(feature = "bench")]
pub use bench::serve_engine;
pub(crate) use control::{is_served, send_order, send_passphrase};
use facts::library_options;
use facts::policy;
pub(crate) use facts::{guard_in_words, instructions, last_fairness_run};
pub(crate) use group_orders::GroupOrder;
pub(crate) use home::{Home, ask_new_passphrase};
pub(crate) use key_orders::KeyOrder;
pub(crate) use orders::{Operator, Order};
use people::People;
pub(crate) use start::{prepare_certificate, run};
pub(crate) use stop::StopSignals;

/// How long connections may take to say what is left, once no answer is running.
const LAST_WORDS_S: u64 = 3;

/// Every long-lived part of the server.
#[derive(Clone)]
pub(crate) struct App {
    settings: Settings,
    home: Home,
    pub(crate) db: Db,
    pub(crate) audit: AuditLog,
    registry: Arc<Registry>,
    binder: Binder,
    refusals: Arc<Refusals>,
    pub(crate) accounts: Accounts,
    pub(crate) keys: Keys,
    pub(crate) groups: Groups,
    pub(crate) library: Library,
    gate: Gate,
    prompts: Prompts,
    chat: Chat,
    responses: Responses,
    usage: Reports,
    once: Idempotency,
    pub(crate) evals: Evals,
    pub(crate) monitor: Monitor,
}

impl App {
    /// Builds the parts over an open vault. Blocks; not to be called on an async thread.
    pub(crate) fn build(home: &Home, config: &Config, runtime: Handle) -> Result<Self> {
        Self::build_over(home, config, runtime, |library| Arc::new(library.clone()))
    }

    /// The same, over what stands in for the library of models.
    fn build_over(
        home: &Home,
        config: &Config,
        runtime: Handle,
        catalog: impl FnOnce(&Library) -> Arc<dyn Catalog>,
    ) -> Result<Self> {
        let settings = config.settings().clone();
        let guard = Guard::new(policy(&settings)?);
        let db = Db::open(&home.database(), DbOptions::default())
            .context("the database cannot be opened")?;
        let (vault, clock) = (&home.vault, &home.clock);
        let audit = AuditLog::open(&db, vault, &home.audit_directory(), &clock.ordered())
            .context("the audit log cannot be opened")?;
        let People { registry, binder, refusals, accounts, keys } =
            People::open(home, &settings, &db, &audit)?;
        let library = open_library(home, &settings, (&db, &audit), (&registry, &binder))?;
        let limits = Limiter::open(&db, clock.clone(), &settings.limits)?;
        let groups = open_groups(home, &limits, (&db, &audit), &registry)?;
        let gate = Gate::new(GateParts {
            catalog: catalog(&library),
            limits,
            ledger: Ledger::new(clock, &settings.models.prices),
            guard: guard.clone(),
            audit: audit.clone(),
            refusals: Arc::clone(&refusals),
            db: db.clone(),
            vault: vault.clone(),
            wait: wait_options(&settings),
            default_max_tokens: settings.api.default_max_tokens as usize,
            clock: clock.clone(),
            runtime: runtime.clone(),
            still_holds: still_holds(&registry),
        });
        let evals = open_evals(home, &gate, (&db, &audit), &runtime)?;
        let prompts = Prompts::open(PromptsParts {
            gate: gate.clone(),
            db: db.clone(),
            vault: vault.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            registry: Arc::clone(&registry),
        })?;
        let chat = Chat::open(ChatParts {
            gate: gate.clone(),
            prompts: prompts.clone(),
            db: db.clone(),
            vault: vault.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            registry: Arc::clone(&registry),
            runtime,
            heartbeat: settings.api.heartbeat(),
        })?;
        let responses = open_responses(home, &settings, (&db, &audit), (&registry, &gate));
        let usage = Reports::new((&db, &audit), clock, &registry, &settings);
        let once = open_idempotency(home, &settings, (&db, &audit), &registry, (&gate, &guard));
        let monitor = open_monitor(home, &settings, (&db, &audit));
        let ends = gate.clone();
        registry.on_revocation(move |what| {
            ends.revoke(&what);
        });
        Ok(Self {
            settings,
            home: home.clone(),
            db,
            audit,
            registry,
            binder,
            refusals,
            accounts,
            keys,
            groups,
            library,
            gate,
            prompts,
            chat,
            responses,
            usage,
            once,
            evals,
            monitor,
        })
    }

    /// Every route, over the parts that the handlers work with.
    fn service(&self) -> impl Fn(&mut ServiceConfig) + Clone + Send + use<> {
        let authenticator = Data::new(Authenticator::new(
            Arc::clone(&self.registry),
            self.home.vault.clone(),
            Arc::clone(&self.refusals),
            self.home.clock.clone(),
            self.settings.server.is_https(),
        ));
        let openai = Data::new(OpenAi {
            gate: self.gate.clone(),
            clock: self.home.clock.clone(),
            heartbeat: self.settings.api.heartbeat(),
        });
        let app = self.clone();
        let body_max = self.settings.server.body_bytes_max as usize;
        move |config| {
            config
                .app_data(authenticator.clone())
                .app_data(openai.clone())
                .app_data(Data::new(app.gate.clone()))
                .app_data(Data::new(app.prompts.clone()))
                .app_data(Data::new(app.chat.clone()))
                .app_data(Data::new(app.responses.clone()))
                .app_data(Data::new(app.usage.clone()))
                .app_data(Data::new(app.once.clone()))
                .app_data(Data::new(app.evals.clone()))
                .app_data(Data::new(app.monitor.clone()))
                .app_data(Data::new(app.library.clone()))
                .app_data(Data::new(app.accounts.clone()))
                .app_data(Data::new(app.keys.clone()))
                .app_data(Data::new(app.groups.clone()))
                .app_data(Data::new(app.audit.clone()))
                .app_data(Data::new(app.db.clone()))
                .app_data(Data::new(app.home.clock.clone()))
                .app_data(Data::new(SecurityContact(app.settings.server.security_contact.clone())))
                .app_data(PayloadConfig::new(body_max))
                .app_data(
                    PathConfig::default()
                        .error_handler(|_, _| ApiError::from(ErrorCode::NotFound).into()),
                )
                .app_data(QueryConfig::default().error_handler(|_, _| {
                    ApiError::new(ErrorCode::InvalidValue)
                        .message("The query of the address is not accepted.")
                        .into()
                }))
                .configure(|config| routes::all().mount(config));
        }
    }

    /// Serves until told to stop.
    async fn serve(
        &self,
        listener: TcpListener,
        certificates: Option<Arc<Certificates>>,
        mut stop: StopSignals,
    ) -> Result<()> {
        let shell = Data::new(shell(&self.settings));
        let service = self.service();
        let settings = &self.settings.server;
        // Running answers are ended after the grace; their last words still have to go out.
        let shutdown_s = u64::from(settings.shutdown_grace_s) + LAST_WORDS_S;
        let tls = certificates.clone().map(server_config).transpose()?;
        let serving = Serving::new(settings, shutdown_s).with_tls(tls);
        let server = serve(listener, serving, move || {
            WebApp::new()
                .wrap(from_fn(answer_once))
                .wrap(from_fn(tell_limits))
                .wrap(from_fn(surround))
                .app_data(shell.clone())
                .configure(service.clone())
                .default_service(actix_web::web::to(route::nowhere))
        })?;
        let handle = server.handle();
        let serving = actix_web::rt::spawn(server);
        let upkeep = actix_web::rt::spawn(self.clone().upkeep(certificates));
        let schedule = self.evals.clone().keep_schedule(self.settings.evals.clone());
        let schedule = actix_web::rt::spawn(schedule);
        let watch = actix_web::rt::spawn(self.monitor.clone().keep_watch());
        let orders = actix_web::rt::spawn(self.clone().take_orders());
        stop.wait().await;
        tracing::info!("stopping: no new work, running answers may end");
        let grace = Duration::from_secs(settings.shutdown_grace_s.into());
        schedule.abort();
        watch.abort();
        orders.abort();
        self.evals.close();
        let closing = actix_web::rt::spawn(handle.stop(true));
        self.library.close();
        self.gate.drain(grace).await;
        // Connections over HTTP/2 stay open as long as the browser likes; they are not waited for.
        let last_words = Duration::from_secs(LAST_WORDS_S);
        let is_closed = tokio::time::timeout(last_words, closing).await.is_ok();
        self.chat.finish().await;
        self.evals.finish().await;
        upkeep.abort();
        if is_closed {
            serving.await.context("the server ended")??;
        } else {
            serving.abort();
        }
        self.keep().await;
        let event = Event::new(Action::ServerStop, Outcome::Done, Actor::System);
        self.audit.record(event).await.context("the stop cannot be put on record")?;
        self.audit.flush().context("the heads of the log cannot be written")?;
        Ok(())
    }
}

fn open_library(
    home: &Home,
    settings: &Settings,
    (db, audit): (&Db, &AuditLog),
    (registry, binder): (&Arc<Registry>, &Binder),
) -> Result<Library> {
    let parts = LibraryParts {
        db: db.clone(),
        audit: audit.clone(),
        clock: home.clock.clone(),
        registry: Arc::clone(registry),
        binder: binder.clone(),
    };
    Ok(Library::open(parts, library_options(settings)?)?)
}

fn open_groups(
    home: &Home,
    limits: &Limiter,
    (db, audit): (&Db, &AuditLog),
    registry: &Arc<Registry>,
) -> Result<Groups> {
    Ok(Groups::open(GroupsParts {
        limits: limits.clone(),
        db: db.clone(),
        vault: home.vault.clone(),
        audit: audit.clone(),
        registry: Arc::clone(registry),
    })?)
}

fn open_evals(
    home: &Home,
    gate: &Gate,
    (db, audit): (&Db, &AuditLog),
    runtime: &Handle,
) -> Result<Evals> {
    Ok(Evals::open(EvalParts {
        gate: gate.clone(),
        db: db.clone(),
        audit: audit.clone(),
        clock: home.clock.clone(),
        files: home.data().join("evaluations"),
        runtime: runtime.clone(),
    })?)
}

fn open_monitor(home: &Home, settings: &Settings, (db, audit): (&Db, &AuditLog)) -> Monitor {
    Monitor::new(MonitorParts {
        db: db.clone(),
        audit: audit.clone(),
        clock: home.clock.clone(),
        settings: settings.clone(),
        data: home.data().to_owned(),
        fairness: last_fairness_run,
        guard: guard_in_words(settings),
    })
}

fn open_responses(
    home: &Home,
    settings: &Settings,
    (db, audit): (&Db, &AuditLog),
    (registry, gate): (&Arc<Registry>, &Gate),
) -> Responses {
    Responses::new(ResponsesParts {
        db: db.clone(),
        vault: home.vault.clone(),
        audit: audit.clone(),
        clock: home.clock.clone(),
        registry: Arc::clone(registry),
        gate: gate.clone(),
        days: settings.api.responses_days,
        by_default: settings.api.store_responses,
    })
}

fn open_idempotency(
    home: &Home,
    settings: &Settings,
    (db, audit): (&Db, &AuditLog),
    registry: &Arc<Registry>,
    (gate, guard): (&Gate, &Guard),
) -> Idempotency {
    let parts = IdempotencyParts {
        db: db.clone(),
        vault: home.vault.clone(),
        audit: audit.clone(),
        clock: home.clock.clone(),
        registry: Arc::clone(registry),
        gate: gate.clone(),
        hours: settings.api.idempotency_hours,
    };
    Idempotency::new(parts, guard.policy())
}

fn wait_options(settings: &Settings) -> WaitOptions {
    WaitOptions {
        limit: Duration::from_secs(settings.models.load_wait_s.into()),
        waiting_max: settings.models.load_waiting_max.into(),
    }
}

/// Whether everything that let a caller in still stands. Weak: the registry tells the gate of
/// revocations, and would hold itself by it.
fn still_holds(registry: &Arc<Registry>) -> Box<dyn Fn(&Caller) -> bool + Send + Sync> {
    let registry = Arc::downgrade(registry);
    Box::new(move |caller| registry.upgrade().is_some_and(|one| one.holds(caller)))
}

/// Where exchanges run: it outlives the threads that speak HTTP.
pub(crate) fn exchange_runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("exchange")
        .enable_all()
        .build()
        .context("the runtime cannot be started")
}

fn shell(settings: &Settings) -> Shell {
    Shell {
        hosts: settings.server.hosts.clone().into(),
        body_timeout: Duration::from_millis(settings.server.body_timeout_ms.into()),
        arrivals: Arrivals::default(),
        files: CodedFiles::default(),
        is_https: settings.server.is_https(),
        trusted_proxies: settings.server.trusted_proxies().into(),
        forwarded_header: settings.server.forwarded_header,
        cors_origins: settings.server.cors_origins.clone().into(),
    }
}
