//! From a file to a running engine.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::decoder::Decoder;
use super::error::LoadError;
use super::families;
use super::gguf::File;
use super::kv::{BLOCK_TOKENS, Pool};
use super::output::{TextStream, Vocabulary};
use super::scheduler::{Inbox, Scheduler, SchedulerLimits};
use super::stats::EngineStats;
use super::template::Template;
use super::tokenizer::{StreamDecoder, Tokenizer};
use super::{Engine, EngineOptions, Inner, ModelInfo, Weights};

/// The shortest context that is of any use.
const CONTEXT_MIN: usize = 64;
/// More cache than this many full contexts for everybody serves nobody.
const CONTEXTS_A_STREAM: usize = 4;

/// Loads a model and starts its thread.
pub(super) fn load(weights: Weights, options: &EngineOptions) -> Result<Engine, LoadError> {
    let file = match &weights {
        Weights::File(path) => File::open(path)?,
        Weights::Embedded(bytes) => File::from_static(bytes)?,
    };
    let architecture = families::family_of(&file)?;
    check_memory(&file, options)?;
    let tokenizer =
        Tokenizer::from_gguf(&file).map_err(|error| LoadError::Tokenizer(error.to_string()))?;
    let tokenizer = Arc::new(tokenizer);
    let template = Template::from_gguf(&file, &tokenizer);
    let decoder = Decoder::load(&file, tokenizer.vocabulary())?;
    let spec = decoder.spec();
    let shape = decoder.cache_shape(options.kv_precision);
    let wanted = options.context_tokens_max.map_or(spec.context, |most| spec.context.min(most));
    let useful =
        wanted.saturating_mul(options.streams_max.max(1)).saturating_mul(CONTEXTS_A_STREAM);
    let useful = (useful / BLOCK_TOKENS + options.streams_max).saturating_mul(shape.block_bytes());
    let pool = Pool::new(shape, options.kv_budget_bytes.min(useful));
    let context = wanted.min(pool.total_blocks() * BLOCK_TOKENS);
    if context < CONTEXT_MIN.min(wanted) || context < 2 {
        let needed = CONTEXT_MIN.div_ceil(BLOCK_TOKENS) * shape.block_bytes();
        return Err(LoadError::CacheBudget { budget: options.kv_budget_bytes, needed });
    }
    let info = describe(&file, architecture, context, &tokenizer, template.is_ok())?;
    let stats = EngineStats {
        kv_total_bytes: pool.storage().bytes(),
        model_bytes: decoder.bytes() as u64,
        ..EngineStats::default()
    };
    let inbox = Arc::new(Inbox::new(options.queue_max, stats.clone()));
    let limits = SchedulerLimits {
        streams_max: options.streams_max.max(1),
        prefill_chunk_tokens: options.prefill_chunk_tokens.max(1),
        context,
    };
    let vocabulary = Arc::new(Known(Arc::clone(&tokenizer)));
    let scheduler = Scheduler::new(decoder, pool, vocabulary, limits, Arc::clone(&inbox), stats);
    std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || scheduler.run())
        .map_err(|error| LoadError::Thread(error.to_string()))?;
    let inner = Inner {
        info,
        tokenizer,
        template,
        inbox,
        next_id: AtomicU64::new(1),
        shutdown_limit: options.shutdown_limit,
    };
    Ok(Engine { inner: Arc::new(inner) })
}

fn describe(
    file: &File,
    architecture: &str,
    context: usize,
    tokenizer: &Tokenizer,
    has_chat_template: bool,
) -> Result<ModelInfo, LoadError> {
    let name = file
        .string("general.name")?
        .map(|name| name.chars().filter(|c| !c.is_control()).take(120).collect::<String>());
    // What most of the bytes are.
    let mut types: Vec<(String, usize)> = Vec::new();
    for tensor in file.tensors() {
        let kind = format!("{:?}", tensor.dtype);
        match types.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, bytes)) => *bytes += tensor.bytes,
            None => types.push((kind, tensor.bytes)),
        }
    }
    let quantization = types.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(kind, _)| kind);
    Ok(ModelInfo {
        name,
        architecture: architecture.to_owned(),
        parameters: file.tensors().iter().map(|tensor| tensor.elements() as u64).sum(),
        quantization: quantization.unwrap_or_default(),
        context_tokens: context,
        vocabulary: tokenizer.vocabulary(),
        file_bytes: file.file_bytes(),
        has_chat_template,
    })
}

/// Refuses a model that the machine has no memory for, before any is taken.
fn check_memory(file: &File, options: &EngineOptions) -> Result<(), LoadError> {
    let Some(available) = available_bytes() else { return Ok(()) };
    let weights: u64 = file.tensors().iter().map(|tensor| tensor.bytes as u64).sum();
    // The weights and the packed copies that candle makes of them; the cache grows as it is used.
    let needed = weights.saturating_mul(2).saturating_add(options.kv_budget_bytes as u64 / 4);
    if needed <= available {
        return Ok(());
    }
    let mib = |bytes: u64| bytes >> 20;
    Err(LoadError::Memory { needed_mib: mib(needed), available_mib: mib(available) })
}

/// What Linux says can be taken without swapping.
fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The tokenizer, as output and sampling see it.
struct Known(Arc<Tokenizer>);

impl Vocabulary for Known {
    fn is_end(&self, token: u32) -> bool {
        self.0.ends_answer(token)
    }

    fn bytes(&self, token: u32) -> Vec<u8> {
        self.0.token_bytes(token).to_vec()
    }
}

/// The text of one answer.
pub(super) struct AnswerText {
    tokenizer: Arc<Tokenizer>,
    stream: StreamDecoder,
}

impl AnswerText {
    pub(super) fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer, stream: StreamDecoder::new() }
    }
}

impl TextStream for AnswerText {
    fn push(&mut self, token: u32) -> String {
        self.stream.push(&self.tokenizer, token)
    }

    fn finish(&mut self) -> String {
        self.stream.finish()
    }
}
