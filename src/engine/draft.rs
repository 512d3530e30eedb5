//! The reading of a draft model: one that fits the model that it is to guess for.

use std::path::Path;

use super::compute::Compute;
use super::decoder::Decoder;
use super::error::LoadError;
use super::families::{self, DecoderSpec};
use super::gguf::File;
use super::kv::Pool;
use super::memory;
use super::scheduler::DraftModel;
use super::tokenizer::Tokenizer;
use super::{EngineOptions, LoadProgress};

/// Which part of the cache budget is the small model's.
const BUDGET_SHARE: usize = 8;

/// A small model that fits, and of which no weights are in memory yet.
pub(super) struct OpenedDraft {
    file: File,
    spec: DecoderSpec,
    vocabulary: usize,
    /// What its cache takes of the budget.
    pub(super) cache_bytes: usize,
}

/// Opens the small model, if there is to be one. One of another vocabulary is told of in the log and
/// left out: its tokens would mean something else.
pub(super) fn open(
    options: &EngineOptions,
    tokenizer: &Tokenizer,
) -> Result<Option<OpenedDraft>, LoadError> {
    let Some(path) = &options.draft else { return Ok(None) };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    open_file(path, options, tokenizer)
        .map_err(|error| LoadError::Draft { file: name.into_owned(), reason: error.to_string() })
}

fn open_file(
    path: &Path,
    options: &EngineOptions,
    tokenizer: &Tokenizer,
) -> Result<Option<OpenedDraft>, LoadError> {
    let file = File::open(path)?;
    let own =
        Tokenizer::from_gguf(&file).map_err(|error| LoadError::Tokenizer(error.to_string()))?;
    if !is_same(&own, tokenizer) {
        tracing::warn!("the draft model has another vocabulary than this model: it is not used");
        return Ok(None);
    }
    families::family_of(&file)?;
    let spec = families::spec(&file, options.context_tokens_max)?;
    let cache_bytes = options.kv_budget_bytes / BUDGET_SHARE;
    Ok(Some(OpenedDraft { file, spec, vocabulary: own.vocabulary(), cache_bytes }))
}

impl OpenedDraft {
    /// Bytes that it will take of the machine's memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        memory::weights(&self.file).saturating_add(self.cache_bytes as u64)
    }

    /// Reads the weights.
    pub(super) fn load(
        self,
        options: &EngineOptions,
        progress: &LoadProgress,
    ) -> Result<DraftModel, LoadError> {
        let Self { file, spec, vocabulary, cache_bytes } = self;
        let context = spec.context;
        let pool = Pool::new(spec.cache_shape(options.kv_precision), cache_bytes);
        let decoder = Decoder::load(&file, spec, vocabulary, Compute::Host, &progress.beside())?;
        let weights = file.tensors().iter().map(memory::resident_bytes).sum();
        Ok(DraftModel::new(decoder, pool, context, weights))
    }
}

/// Whether every token of both means the same.
fn is_same(one: &Tokenizer, other: &Tokenizer) -> bool {
    let same = |token: u32| {
        one.token_bytes(token) == other.token_bytes(token)
            && one.is_control(token) == other.is_control(token)
    };
    one.vocabulary() == other.vocabulary() && (0..one.vocabulary() as u32).all(same)
}
