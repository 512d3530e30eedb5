//! What the gate needs of the library of models, and who may use which.

use std::sync::Arc;

use super::generate::Generate;
use super::loaded::{Engines, ModelKind};
use crate::access::{Caller, Via};
use crate::clock::Timestamp;
use crate::engine::ModelInfo;

/// Where a model stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelState {
    /// It is being read.
    Loading,
    /// It answers.
    Ready,
    /// It cannot be served, and why, in plain words.
    Failed(String),
}

impl ModelState {
    /// The name, as the API writes it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Failed(_) => "failed",
        }
    }
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
    /// The roles that may use it; none means everybody who may use models.
    pub(crate) roles: Option<Vec<String>>,
    /// SHA-256 of the file, in hexadecimal, once it is read.
    pub(crate) digest: Option<String>,
    /// When the server took it up.
    pub(crate) since: Timestamp,
    /// What it does, once it is ready.
    pub(crate) engine: Option<Engines>,
}

impl Model {
    /// A model of which nothing but its name is known, and that everybody may use.
    pub(crate) fn new(name: impl Into<String>, since: Timestamp) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            state: ModelState::Loading,
            is_default: false,
            roles: None,
            digest: None,
            since,
            engine: None,
        }
    }

    /// The same, in memory and ready.
    #[must_use]
    pub(crate) fn ready(self, engine: Engines) -> Self {
        Self { state: ModelState::Ready, engine: Some(engine), ..self }
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

    /// What is known about the weights, once they are read.
    pub(crate) fn info(&self) -> Option<&ModelInfo> {
        self.engine.as_ref().map(Engines::info)
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
            .is_none_or(|models| models.contains(&self.name));
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

/// The models that there are.
pub(crate) trait Catalog: Send + Sync + 'static {
    /// The model of this name or alias; without a name, the default one.
    fn find(&self, name: Option<&str>) -> Option<Arc<Model>>;
    /// Every model, in the order of the configuration.
    fn all(&self) -> Vec<Arc<Model>>;
}
