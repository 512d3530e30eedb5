//! What the gate needs of the library of models, and who may use which.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::generate::Generate;
use super::lease::{InUse, Lease};
use super::loaded::{Engines, ModelKind};
use crate::access::{Caller, Via};
use crate::clock::{Clock, Timestamp};
use crate::config::LimitSet;
use crate::engine::{LoadProgress, ModelInfo};

/// Where a model stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelState {
    /// It is known, and not in memory.
    NotLoaded,
    /// It is being read, or waits for its turn.
    Loading,
    /// It answers.
    Ready,
    /// It takes no new requests and leaves the memory when the last one has ended.
    Unloading,
    /// It cannot be served, and why, in plain words.
    Failed(String),
}

impl ModelState {
    /// The name, as the API writes it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::NotLoaded => "not_loaded",
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Unloading => "unloading",
            Self::Failed(_) => "failed",
        }
    }
}

/// Why the last try to load a model left things as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Setback {
    /// There was no memory for it; with the numbers.
    Memory(String),
    /// Somebody cancelled it.
    Cancelled,
    /// The new file cannot be used; the old one still answers.
    KeptOld(String),
}

impl Setback {
    /// What happened, in plain words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Memory(reason) => reason.clone(),
            Self::Cancelled => "The loading was cancelled.".to_owned(),
            Self::KeptOld(reason) => {
                format!("{reason} What was loaded before still answers.")
            }
        }
    }
}

/// How often a model was loaded, and how long that took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoadTally {
    /// Loads that ended well.
    pub(crate) done: u64,
    /// Loads that did not, cancelled and refused ones included.
    pub(crate) failed: u64,
    /// How long those that ended well took, all together.
    pub(crate) took: Duration,
}

/// A model as the library knows it at one moment.
#[derive(Clone)]
pub(crate) struct Model {
    /// The name that requests use.
    pub(crate) name: String,
    /// Further names.
    pub(crate) aliases: Vec<String>,
    /// Where it stands.
    pub(crate) state: ModelState,
    /// Whether it is used where a request names none.
    pub(crate) is_default: bool,
    /// Whether a request may have it loaded.
    pub(crate) is_on_demand: bool,
    /// The roles that may use it; none means everybody who may use models.
    pub(crate) roles: Option<Vec<String>>,
    /// Upper bound of an answer, in tokens.
    pub(crate) answer_tokens_max: Option<usize>,
    /// How much of it one person may use, beside their other limits.
    pub(crate) person_limits: LimitSet,
    /// SHA-256 of the file, in hexadecimal, once it is read.
    pub(crate) digest: Option<String>,
    /// When the server took it up.
    pub(crate) since: Timestamp,
    /// What it does, once it is ready.
    pub(crate) engine: Option<Engines>,
    /// Who uses it, once it is ready.
    pub(crate) in_use: Option<Arc<InUse>>,
    /// What was read of it last, kept when it is unloaded.
    pub(crate) known: Option<ModelInfo>,
    /// How far it is read, as long as it is.
    pub(crate) progress: Option<LoadProgress>,
    /// Bytes of memory that are set aside for it.
    pub(crate) memory_bytes: Option<u64>,
    /// What became of the last try to load it, where that changed nothing.
    pub(crate) setback: Option<Setback>,
    /// How often it was loaded.
    pub(crate) loads: LoadTally,
}

impl Model {
    /// A model of which nothing but its name is known, and that everybody may use.
    pub(crate) fn new(name: impl Into<String>, since: Timestamp) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            state: ModelState::NotLoaded,
            is_default: false,
            is_on_demand: false,
            roles: None,
            answer_tokens_max: None,
            person_limits: LimitSet::default(),
            digest: None,
            since,
            engine: None,
            in_use: None,
            known: None,
            progress: None,
            memory_bytes: None,
            setback: None,
            loads: LoadTally::default(),
        }
    }

    /// The same, in memory and ready.
    #[must_use]
    pub(crate) fn ready(self, engine: Engines, clock: &Clock) -> Self {
        Self {
            state: ModelState::Ready,
            known: Some(engine.info().clone()),
            engine: Some(engine),
            in_use: Some(InUse::new(clock)),
            setback: None,
            ..self
        }
    }

    /// The same, out of memory.
    #[must_use]
    pub(crate) fn away(self, state: ModelState) -> Self {
        Self { state, engine: None, in_use: None, memory_bytes: None, ..self }
    }

    /// The engine, if the model is ready and one that generates.
    pub(crate) fn generator(&self) -> Option<Arc<dyn Generate>> {
        match self.engine.as_ref()? {
            Engines::Generate(engine) => Some(Arc::clone(engine)),
            Engines::Embed(_) => None,
        }
    }

    /// What it is for, once it is read.
    pub(crate) fn kind(&self) -> Option<ModelKind> {
        self.engine.as_ref().map(Engines::kind)
    }

    /// What is known about the weights, once they were read.
    pub(crate) fn info(&self) -> Option<&ModelInfo> {
        self.engine.as_ref().map(Engines::info).or(self.known.as_ref())
    }

    /// Whether it answers, or will once it is asked.
    pub(crate) fn will_answer(&self) -> bool {
        match self.state {
            ModelState::Ready => true,
            ModelState::NotLoaded | ModelState::Loading | ModelState::Unloading => {
                self.is_on_demand
            }
            ModelState::Failed(_) => false,
        }
    }

    /// Whether this is its name, or one of its further names.
    fn is_called(&self, name: &String) -> bool {
        self.name == *name || self.aliases.contains(name)
    }

    /// Whether the caller may use it: by role, and by what a key is limited to.
    pub(crate) fn is_open_to(&self, caller: &Caller) -> bool {
        if matches!(caller.via, Via::System) {
            return true;
        }
        let by_role = self
            .roles
            .as_ref()
            .is_none_or(|roles| roles.iter().any(|role| caller.roles.contains(role)));
        let by_key = caller
            .key()
            .and_then(|key| key.models.as_ref())
            .is_none_or(|models| models.iter().any(|name| self.is_called(name)));
        by_role && by_key
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Model")
            .field("name", &self.name)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A model that was asked for.
pub(crate) enum Taken {
    /// It answers, and stays in memory as long as the lease lives.
    Ready(Arc<Model>, Lease),
    /// It is on its way.
    Wait,
    /// It does not answer.
    No(NotReady),
}

/// Why a model does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotReady {
    /// There is none of that name any more.
    Gone,
    /// It is not in memory, and requests do not load it.
    NotLoaded,
    /// It cannot be served.
    Failed,
    /// There is no memory for it; with the numbers.
    Memory(String),
    /// Somebody cancelled the loading.
    Cancelled,
    /// The server ends.
    Closing,
}

/// The models that there are.
pub(crate) trait Catalog: Send + Sync + 'static {
    /// The model of this name or alias; without a name, the default one.
    fn find(&self, name: Option<&str>) -> Option<Arc<Model>>;
    /// Every model, in the order of the configuration.
    fn all(&self) -> Vec<Arc<Model>>;

    /// Takes a model up for a request, and has it loaded where that is allowed. Who has waited for
    /// it before is told how that ended.
    fn take(&self, name: &str, _has_waited: bool) -> Taken {
        let Some(model) = self.find(Some(name)) else { return Taken::No(NotReady::Gone) };
        match (&model.state, &model.in_use) {
            (ModelState::Ready, Some(in_use)) => {
                let lease = in_use.lease();
                Taken::Ready(model, lease)
            }
            (ModelState::Failed(_), _) => Taken::No(NotReady::Failed),
            _ => Taken::No(NotReady::NotLoaded),
        }
    }

    /// Tells of every change of where a model stands.
    fn changes(&self) -> watch::Receiver<()> {
        watch::channel(()).1
    }
}
