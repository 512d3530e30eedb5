//! A model in memory, of whatever kind: what everybody may ask of it.

use std::sync::Arc;

use super::generate::Generate;
use crate::engine::{Dimensions, Domain, Embedder, EngineStats, Loaded, ModelInfo, Piece, Reading};

/// What a model does once it is in memory.
#[derive(Clone)]
pub(crate) enum Engines {
    /// It turns tokens into tokens.
    Generate(Arc<dyn Generate>),
    /// It makes vectors of texts, or judges pairs of them.
    Embed(Embedder),
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelKind {
    /// It answers in words.
    Chat,
    /// It makes vectors of texts.
    Embedding,
    /// It judges how well texts answer a query.
    Reranker,
}

impl ModelKind {
    /// The name, as the API writes it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embedding => "embedding",
            Self::Reranker => "reranker",
        }
    }

    /// What can be asked of it through the API.
    pub(crate) const fn capabilities(self) -> &'static [&'static str] {
        match self {
            Self::Chat => &["chat", "completions", "logprobs", "tools", "json_schema"],
            Self::Embedding => &["embeddings"],
            Self::Reranker => &["rerank"],
        }
    }
}

impl From<Loaded> for Engines {
    fn from(loaded: Loaded) -> Self {
        match loaded {
            Loaded::Generate(engine) => Self::Generate(Arc::new(engine)),
            Loaded::Embed(engine) => Self::Embed(engine),
        }
    }
}

impl Engines {
    /// What it is for.
    pub(crate) fn kind(&self) -> ModelKind {
        match self {
            Self::Generate(_) => ModelKind::Chat,
            Self::Embed(engine) if engine.dimensions() == Dimensions::Rank => ModelKind::Reranker,
            Self::Embed(_) => ModelKind::Embedding,
        }
    }

    /// What is known about the weights.
    pub(crate) fn info(&self) -> &ModelInfo {
        match self {
            Self::Generate(engine) => engine.info(),
            Self::Embed(engine) => engine.info(),
        }
    }

    /// Turns a text into tokens that somebody wants to see.
    pub(super) fn read(&self, text: &str, reading: Reading) -> Vec<u32> {
        match self {
            Self::Generate(engine) => engine.read(text, reading),
            Self::Embed(engine) => engine.read(text, reading),
        }
    }

    /// A token as it stands in the vocabulary.
    pub(super) fn piece(&self, token: u32) -> Piece {
        match self {
            Self::Generate(engine) => engine.piece(token),
            Self::Embed(engine) => engine.piece(token),
        }
    }

    /// Turns tokens into text.
    pub(super) fn detokenize(&self, tokens: &[u32]) -> String {
        match self {
            Self::Generate(engine) => engine.detokenize(tokens),
            Self::Embed(engine) => engine.detokenize(tokens),
        }
    }

    /// What it does right now and has done.
    pub(crate) fn stats(&self) -> EngineStats {
        match self {
            Self::Generate(engine) => engine.stats(),
            Self::Embed(engine) => engine.stats(),
        }
    }

    /// Keeps nothing of what it has computed for a domain.
    pub(crate) fn forget(&self, domain: Domain) {
        match self {
            Self::Generate(engine) => engine.forget(domain),
            // It keeps nothing.
            Self::Embed(_) => {}
        }
    }

    /// Takes no more requests; what runs may go on for a while.
    pub(crate) fn shutdown(&self) {
        match self {
            Self::Generate(engine) => engine.shutdown(),
            Self::Embed(engine) => engine.shutdown(),
        }
    }

    /// Waits until nothing runs any more after `shutdown`; blocks.
    pub(crate) fn wait_closed(&self) {
        match self {
            Self::Generate(engine) => engine.wait_closed(),
            Self::Embed(engine) => engine.wait_closed(),
        }
    }
}
