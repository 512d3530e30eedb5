//! A model in memory, of whatever kind: what everybody may ask of it.

use std::sync::Arc;

use super::generate::Generate;
use crate::engine::{Domain, EngineStats, ModelInfo};

/// What a model does once it is in memory.
#[derive(Clone)]
pub(crate) enum Engines {
    /// It turns tokens into tokens.
    Generate(Arc<dyn Generate>),
}

impl Engines {
    /// What is known about the weights.
    pub(crate) fn info(&self) -> &ModelInfo {
        match self {
            Self::Generate(engine) => engine.info(),
        }
    }

    /// What it does right now and has done.
    pub(crate) fn stats(&self) -> EngineStats {
        match self {
            Self::Generate(engine) => engine.stats(),
        }
    }

    /// Keeps nothing of what it has computed for a domain.
    pub(crate) fn forget(&self, domain: Domain) {
        match self {
            Self::Generate(engine) => engine.forget(domain),
        }
    }

    /// Takes no more requests; what runs may go on for a while.
    pub(crate) fn shutdown(&self) {
        match self {
            Self::Generate(engine) => engine.shutdown(),
        }
    }
    /// Waits until nothing runs any more after `shutdown`; blocks.
    pub(crate) fn wait_closed(&self) {
        match self {
            Self::Generate(engine) => engine.wait_closed(),
        }
    }
}
