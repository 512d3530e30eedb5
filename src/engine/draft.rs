//! The reading of a draft model: one that fits the model that it is to guess for.

use super::decoder::Decoder;
use super::error::LoadError;
use super::families;
use super::gguf::File;
use super::kv::Pool;
use super::memory;
use super::scheduler::DraftModel;
use super::tokenizer::Tokenizer;
use super::{EngineOptions, LoadProgress};

/// Which part of the cache budget is the small model's.
const BUDGET_SHARE: usize = 8;

/// The bytes that the small model may take for its cache.
pub(super) fn cache_bytes(options: &EngineOptions) -> usize {
    if options.draft.is_some() { options.kv_budget_bytes / BUDGET_SHARE } else { 0 }
}

/// Reads the small model, if there is to be one. One of another vocabulary is told of in the log and
/// left out: its tokens would mean something else.
pub(super) fn load(
    options: &EngineOptions,
    tokenizer: &Tokenizer,
) -> Result<Option<DraftModel>, LoadError> {
    let Some(path) = &options.draft else { return Ok(None) };
    let file = File::open(path)?;
    let own =
        Tokenizer::from_gguf(&file).map_err(|error| LoadError::Tokenizer(error.to_string()))?;
    if !is_same(&own, tokenizer) {
        tracing::warn!("the draft model has another vocabulary than this model: it is not used");
        return Ok(None);
    }
    families::family_of(&file)?;
    let spec = families::spec(&file, options.context_tokens_max)?;
    let context = spec.context;
    let bytes = cache_bytes(options);
    memory::check(&file, bytes as u64)?;
    let pool = Pool::new(spec.cache_shape(options.kv_precision), bytes);
    let decoder = Decoder::load(&file, spec, own.vocabulary(), &LoadProgress::new())?;
    let weights = file.tensors().iter().map(memory::resident_bytes).sum();
    Ok(Some(DraftModel::new(decoder, pool, context, weights)))
}

/// Whether every token of both means the same.
fn is_same(one: &Tokenizer, other: &Tokenizer) -> bool {
    let same = |token: u32| {
        one.token_bytes(token) == other.token_bytes(token)
            && one.is_control(token) == other.is_control(token)
            && one.ends_answer(token) == other.ends_answer(token)
    };
    one.vocabulary() == other.vocabulary() && (0..one.vocabulary() as u32).all(same)
}
