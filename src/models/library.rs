//! The models of this server: which there are, where each stands, who may use it. How they come
//! into memory and leave it again stands in `loads.rs` and `unloads.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::error::ModelsError;
use super::identity::FileIdentity;
use super::kept::Access;
use super::loads::Queue;
use super::plan::{Plan, Reservation};
use super::sources::{self, Source};
use super::{aliases, kept};
use crate::access::{Binder, Caller, Changes, Registry};
use crate::audit::{Action, AuditLog, Event, Outcome};
use crate::clock::Clock;
use crate::config::{LimitSet, LoadWhen, ModelLimits};
use crate::db::{Db, Transaction};
use crate::engine::{EngineOptions, Weights};
use crate::gate::{Catalog, Model, ModelState, NotReady, Setback, Taken};

/// Which models are served, and how.
#[derive(Clone, Debug)]
pub(crate) struct LibraryOptions {
    /// The built-in guide, if it is served.
    pub(crate) guide: Option<&'static [u8]>,
    /// Files.
    pub(crate) files: Vec<PathBuf>,
    /// A directory whose files are served too.
    pub(crate) directory: Option<PathBuf>,
    /// The default model; empty: the first file, else the guide.
    pub(crate) default: String,
    /// Further names of models, by the configuration: name, model.
    pub(crate) aliases: BTreeMap<String, String>,
    /// How the engines compute.
    pub(crate) engine: EngineOptions,
    /// What holds for every model, but for what `limits` says of one.
    pub(crate) all: Rules,
    /// What holds for one model instead.
    pub(crate) limits: BTreeMap<String, ModelLimits>,
    /// What all models together may take.
    pub(crate) memory_bytes: Option<u64>,
    /// Whether idle models make room for others.
    pub(crate) evict: bool,
    /// How long running answers may go on when their model is unloaded.
    pub(crate) grace: Duration,
}

/// When a model is loaded and unloaded, and how long its answers may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// When it is loaded.
    pub(crate) load: LoadWhen,
    /// How long it may be idle.
    pub(crate) idle: Option<Duration>,
    /// Upper bound of an answer, in tokens.
    pub(crate) answer_tokens_max: Option<usize>,
}

impl Default for LibraryOptions {
    fn default() -> Self {
        Self {
            guide: None,
            files: Vec::new(),
            directory: None,
            default: String::new(),
            aliases: BTreeMap::new(),
            engine: EngineOptions::default(),
            all: Rules { load: LoadWhen::Start, idle: None, answer_tokens_max: None },
            limits: BTreeMap::new(),
            memory_bytes: None,
            evict: true,
            grace: Duration::from_secs(20),
        }
    }
}

/// What the library works with.
pub(crate) struct LibraryParts {
    pub(crate) db: Db,
    pub(crate) audit: AuditLog,
    pub(crate) clock: Clock,
    pub(crate) registry: Arc<Registry>,
    pub(crate) binder: Binder,
}

/// The library. A handle.
#[derive(Clone)]
pub(crate) struct Library {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) changes: Changes,
    pub(super) audit: AuditLog,
    pub(super) clock: Clock,
    binder: Binder,
    pub(super) options: LibraryOptions,
    pub(super) plan: Plan,
    pub(super) queue: Mutex<Queue>,
    pub(super) state: RwLock<State>,
    changed: watch::Sender<()>,
}

/// Everything that changes, under one lock that is never held while anything waits.
pub(super) struct State {
    pub(super) entries: Vec<Entry>,
    /// Who may use which model; of those too that are not there just now.
    access: Access,
    /// Aliases that were made at run time: name, model.
    pub(super) aliases: BTreeMap<String, String>,
    default: Option<String>,
    pub(super) is_closed: bool,
}

/// One model, and what belongs to it here.
pub(super) struct Entry {
    pub(super) source: Source,
    pub(super) rules: Rules,
    pub(super) engine: EngineOptions,
    /// The file that was loaded last, or could not be.
    pub(super) identity: Option<Vec<FileIdentity>>,
    /// What it needed the last time that somebody tried.
    pub(super) needed: Option<u64>,
    pub(super) reservation: Option<Reservation>,
    pub(super) model: Arc<Model>,
}

impl State {
    pub(super) fn find(&self, name: Option<&str>) -> Option<&Entry> {
        let fits = |entry: &&Entry| match name {
            None => entry.model.is_default,
            Some(name) => {
                entry.model.name == name || entry.model.aliases.iter().any(|alias| alias == name)
            }
        };
        self.entries.iter().find(fits)
    }

    /// Takes over who may use which model.
    fn take_access(&mut self, access: Access) {
        for entry in &mut self.entries {
            let roles = access.roles(&entry.model.name);
            if entry.model.roles != roles {
                entry.model = Arc::new(Model { roles, ..Model::clone(&entry.model) });
            }
        }
        self.access = access;
    }
}

impl Library {
    /// Draws up the list of models; none is read yet. Blocks for the database and the directory.
    pub(crate) fn open(parts: LibraryParts, options: LibraryOptions) -> Result<Self, ModelsError> {
        let LibraryParts { db, audit, clock, registry, binder } = parts;
        let (access, kept) = kept::load(&db, &audit, &binder)?;
        let state =
            State { entries: Vec::new(), access, aliases: kept, default: None, is_closed: false };
        let inner = Inner {
            changes: Changes::new(&db, &audit, &registry),
            audit,
            clock,
            binder,
            plan: Plan::new(options.memory_bytes),
            queue: Mutex::default(),
            state: RwLock::new(state),
            changed: watch::channel(()).0,
            options,
        };
        let library = Self { inner: Arc::new(inner) };
        library.draw_up()?;
        Ok(library)
    }

    /// Takes up what the configuration names and what lies in the directory.
    fn draw_up(&self) -> Result<(), ModelsError> {
        let options = &self.inner.options;
        let configured = sources::configured(&options.files, options.guide)?;
        {
            let mut state = self.inner.state.write();
            for source in configured {
                self.take_up(&mut state, source, options.all);
            }
        }
        if options.directory.is_some() {
            for (file, reason) in self.scan()?.refused {
                tracing::warn!(file, reason, "a file of the models directory is not served");
            }
        }
        let mut state = self.inner.state.write();
        aliases::check(&state, &options.aliases)?;
        let default = default_name(options, &state)?;
        state.default.clone_from(&default);
        for name in options.limits.keys().filter(|name| state.find(Some(name)).is_none()) {
            tracing::warn!(model = name, "models.limits names a model that is not there");
        }
        aliases::spread(&mut state, &options.aliases);
        for entry in &mut state.entries {
            let is_default = default.as_ref() == Some(&entry.model.name);
            entry.model = Arc::new(Model { is_default, ..Model::clone(&entry.model) });
        }
        Ok(())
    }

    /// Adds a model to the list, with what is kept of it.
    pub(super) fn take_up(&self, state: &mut State, source: Source, all: Rules) {
        let options = &self.inner.options;
        let own = options.limits.get(&source.name).cloned().unwrap_or_default();
        let rules = rules_of(all, &own);
        let name = source.name.clone();
        let model = Model {
            is_default: state.default.as_ref() == Some(&name),
            is_on_demand: rules.load == LoadWhen::Demand,
            roles: state.access.roles(&name),
            answer_tokens_max: rules.answer_tokens_max,
            person_limits: LimitSet {
                requests_per_minute: own.person_requests_per_minute,
                tokens_per_minute: own.person_tokens_per_minute,
                requests_per_day: own.person_requests_per_day,
                tokens_per_day: own.person_tokens_per_day,
                requests_per_month: own.person_requests_per_month,
                tokens_per_month: own.person_tokens_per_month,
                concurrent: None,
            },
            ..Model::new(name, self.inner.clock.now())
        };
        state.entries.push(Entry {
            source,
            rules,
            engine: engine_of(&options.engine, &own),
            identity: None,
            needed: None,
            reservation: None,
            model: Arc::new(model),
        });
    }

    /// Whether there is a directory that can be looked through.
    pub(super) fn has_directory(&self) -> bool {
        self.inner.options.directory.is_some()
    }

    /// How large a model's file is; none where it is not there.
    pub(super) fn file_bytes(&self, name: &str) -> Option<u64> {
        let source = self.inner.state.read().find(Some(name)).map(|entry| entry.source.clone());
        source?.bytes()
    }

    /// Says which roles may use a model; none means everybody who may use models. The change and
    /// its record are one.
    pub(crate) async fn set_access(
        &self,
        name: &str,
        roles: Option<Vec<String>>,
        caller: &Caller,
    ) -> Result<(), ModelsError> {
        let model = self.find(Some(name)).ok_or(ModelsError::NotFound)?;
        let event = event(Action::ModelAccess, Outcome::Done, &model.name, caller)
            .with("roles", roles.clone())
            .with(kept::BOUND, true);
        let (audit, binder) = (self.inner.audit.clone(), self.inner.binder.clone());
        let (name, library) = (model.name.clone(), self.clone());
        let set = move |tx: &Transaction<'_>| -> Result<Access, ModelsError> {
            let access = kept::set(tx, &binder, &name, roles)?;
            audit.record_in(tx, event)?;
            Ok(access)
        };
        let change = move |access: &Access| {
            library.with_state(|state| state.take_access(access.clone()));
        };
        self.inner.changes.make(caller, set, change).await.map(drop)
    }

    /// Changes one model, and tells whoever waits for that.
    pub(super) fn change<T>(
        &self,
        name: &str,
        change: impl FnOnce(&mut Entry, &mut Model) -> T,
    ) -> Option<T> {
        self.with_state(|state| {
            let entry = state.entries.iter_mut().find(|entry| entry.model.name == name)?;
            let mut model = Model::clone(&entry.model);
            let done = change(entry, &mut model);
            entry.model = Arc::new(model);
            Some(done)
        })
    }

    /// Changes the list, and tells whoever waits for that.
    pub(super) fn with_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.inner.state.write());
        self.inner.changed.send_replace(());
        done
    }
}

impl Catalog for Library {
    fn find(&self, name: Option<&str>) -> Option<Arc<Model>> {
        self.inner.state.read().find(name).map(|entry| Arc::clone(&entry.model))
    }

    fn all(&self) -> Vec<Arc<Model>> {
        self.inner.state.read().entries.iter().map(|entry| Arc::clone(&entry.model)).collect()
    }

    fn take(&self, name: &str, has_waited: bool) -> Taken {
        {
            let state = self.inner.state.read();
            let Some(entry) = state.find(Some(name)) else { return Taken::No(NotReady::Gone) };
            let model = &entry.model;
            match (&model.state, &model.in_use) {
                // Under the lock: who unloads it takes `in_use` away first.
                (ModelState::Ready, Some(in_use)) => {
                    return Taken::Ready(Arc::clone(model), in_use.lease());
                }
                (ModelState::Failed(_), _) => return Taken::No(NotReady::Failed),
                (ModelState::Loading, _) => return Taken::Wait,
                (ModelState::Unloading, _) if model.is_on_demand => return Taken::Wait,
                _ if !model.is_on_demand => return Taken::No(NotReady::NotLoaded),
                _ => {}
            }
            if let Some(setback) = model.setback.as_ref().filter(|_| has_waited) {
                return Taken::No(match setback {
                    Setback::Memory(reason) => NotReady::Memory(reason.clone()),
                    Setback::Cancelled => NotReady::Cancelled,
                    Setback::KeptOld(_) => NotReady::Failed,
                });
            }
            if let Some(Err(shortage)) = entry.needed.map(|bytes| self.has_room(&state, bytes)) {
                return Taken::No(NotReady::Memory(shortage.to_string()));
            }
        }
        self.load_on_demand(name)
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.inner.changed.subscribe()
    }
}

/// An event in somebody's name.
pub(super) fn event(action: Action, outcome: Outcome, subject: &str, caller: &Caller) -> Event {
    Event::new(action, outcome, caller.actor())
        .from_request(caller.address, caller.request)
        .subject(subject)
}

/// What holds for a model: what its own section says, else what holds for all.
fn rules_of(all: Rules, own: &ModelLimits) -> Rules {
    let some = |number: u32| (number > 0).then_some(number);
    Rules {
        load: own.load.unwrap_or(all.load),
        idle: own.idle_minutes.map_or(all.idle, |minutes| {
            some(minutes).map(|minutes| Duration::from_mins(minutes.into()))
        }),
        answer_tokens_max: own
            .answer_tokens_max
            .map_or(all.answer_tokens_max, |most| some(most).map(|most| most as usize)),
    }
}

fn engine_of(all: &EngineOptions, own: &ModelLimits) -> EngineOptions {
    let mut options = all.clone();
    if let Some(mib) = own.kv_budget_mib {
        options.kv_budget_bytes = (mib as usize) << 20;
        options.device_kv_budget_bytes = Some(options.kv_budget_bytes);
    }
    if let Some(streams) = own.streams_max {
        options.streams_max = streams.into();
    }
    if let Some(most) = own.queue_max {
        options.queue_max = most.into();
    }
    if let Some(most) = own.context_tokens_max {
        options.context_tokens_max = (most > 0).then_some(most as usize);
    }
    if let Some(path) = &own.draft_file {
        // An empty one: this model has none, whatever the others have.
        options.draft = (!path.as_os_str().is_empty()).then(|| path.clone());
    }
    options
}

/// The configured default, else the first file, else the guide, else the first of the directory.
fn default_name(options: &LibraryOptions, state: &State) -> Result<Option<String>, ModelsError> {
    if options.default.is_empty() {
        return Ok(state.entries.first().map(|entry| entry.model.name.clone()));
    }
    let wanted = options.aliases.get(&options.default).unwrap_or(&options.default);
    if state.find(Some(wanted)).is_some() {
        Ok(Some(wanted.clone()))
    } else {
        Err(ModelsError::NoSuchDefault(options.default.clone()))
    }
}

/// Whether the weights are a file.
pub(super) fn is_file(source: &Source) -> bool {
    matches!(source.weights, Weights::File(_))
}
