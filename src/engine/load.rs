//! From a file to a running engine.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::compute::{Compute, bytes_on_device};
use super::constraint::Constraints;
use super::decoder::Decoder;
use super::draft::{self, OpenedDraft};
use super::embedding;
use super::error::LoadError;
use super::families;
use super::gguf::{File, TensorInfo, TensorType};
use super::home::{self, Home, Needs};
use super::kv::{BLOCK_TOKENS, Pool};
use super::memory;
use super::output::{CONTROLS, MARK, THINK, TextStream, Vocabulary};
use super::scheduler::{DraftModel, GUESSES_MAX, Inbox, Scheduler, SchedulerLimits};
use super::stats::EngineStats;
use super::template::Template;
use super::tokenizer::{StreamDecoder, Tokenizer};
use super::{Embedder, Engine, EngineOptions, Inner, LoadProgress, Loaded, ModelInfo, Weights};

/// The shortest context that is of any use.
const CONTEXT_MIN: usize = 64;
/// More cache than this many full contexts for everybody serves nobody.
const CONTEXTS_A_STREAM: usize = 4;

/// Loads a model and starts its thread.
pub(super) fn load(
    weights: Weights,
    options: &EngineOptions,
    progress: &LoadProgress,
) -> Result<Engine, LoadError> {
    load_file(&open(weights)?, options, progress)
}

/// Loads a model of whatever kind.
pub(super) fn load_any(
    weights: Weights,
    options: &EngineOptions,
    progress: &LoadProgress,
) -> Result<Loaded, LoadError> {
    let file = open(weights)?;
    if embedding::is_embedding(&file)? {
        return Embedder::from_file(&file, options, progress).map(Loaded::Embed);
    }
    load_file(&file, options, progress).map(Loaded::Generate)
}

pub(super) fn open(weights: Weights) -> Result<File, LoadError> {
    Ok(match weights {
        Weights::File(path) => File::open(&path)?,
        Weights::Opened(files) => File::from_files(files)?,
        Weights::Embedded(bytes) => File::from_static(bytes)?,
    })
}

/// Loads a model that was opened.
pub(super) fn load_file(
    file: &File,
    options: &EngineOptions,
    progress: &LoadProgress,
) -> Result<Engine, LoadError> {
    let architecture = families::family_of(file)?;
    let tokenizer =
        Tokenizer::from_gguf(file).map_err(|error| LoadError::Tokenizer(error.to_string()))?;
    let tokenizer = Arc::new(tokenizer);
    let template = Template::from_gguf(file, &tokenizer);
    let spec = families::spec(file, options.context_tokens_max)?;
    let shape = spec.cache_shape(options.kv_precision);
    let wanted = options.context_tokens_max.map_or(spec.context, |most| spec.context.min(most));
    let draft = draft::open(options, &tokenizer)?;
    let of_draft = draft.as_ref().map_or(0, |draft| draft.cache_bytes);
    let cache_least = CONTEXT_MIN.div_ceil(BLOCK_TOKENS) * shape.block_bytes();
    let needs = Needs {
        cache_least,
        cache_useful: useful_blocks(options, wanted).saturating_mul(shape.block_bytes()),
        logits: logits_bytes(options, tokenizer.vocabulary()),
        beside: draft.as_ref().map_or(0, OpenedDraft::memory_bytes),
    };
    let budget = options.kv_budget_bytes - of_draft;
    let without_draft = EngineOptions { kv_budget_bytes: budget, ..options.clone() };
    let settle = |home: &Home| {
        let Home { compute, cache_bytes } = home;
        let vocabulary = tokenizer.vocabulary();
        let decoder = Decoder::load(file, spec.clone(), vocabulary, compute.clone(), progress)?;
        let pool = Pool::on(compute, shape, *cache_bytes)
            .map_err(|error| compute.cannot_hold(*cache_bytes, &error))?;
        Ok((decoder, pool, compute.clone(), *cache_bytes))
    };
    let (decoder, pool, compute, cache_bytes) =
        home::settle(file, &without_draft, needs, progress, settle)?;
    let draft = draft.map(|draft| draft.load(options, progress)).transpose()?;
    let context = wanted.min(pool.total_blocks() * BLOCK_TOKENS);
    if context < CONTEXT_MIN.min(wanted) || context < 2 {
        return Err(LoadError::CacheBudget { budget: cache_bytes, needed: cache_least });
    }
    if let Err(error) = &template {
        tracing::warn!(cause = %error, "the chat template of a model file cannot be used");
    }
    let brings_template = template.as_ref().is_ok_and(Template::is_own);
    let info = describe(file, architecture, context, &tokenizer, brings_template)?;
    let stats = EngineStats {
        kv_total_bytes: pool.bytes() + draft.as_ref().map_or(0, DraftModel::cache_bytes),
        model_bytes: file.tensors().iter().map(bytes_of(&compute)).sum::<u64>()
            + draft.as_ref().map_or(0, DraftModel::weights_bytes),
        ..EngineStats::default()
    };
    let inbox = Arc::new(Inbox::new(options.queue_max, stats.clone()));
    let limits = limits(options, context);
    let vocabulary = Arc::new(Known(Arc::clone(&tokenizer)));
    let scheduler = Scheduler::new(decoder, pool, vocabulary, limits, Arc::clone(&inbox), stats);
    start(scheduler.with_draft(draft), Arc::clone(&inbox))?;
    let inner = Inner {
        info,
        tokenizer,
        template,
        constraints: Constraints::default(),
        inbox,
        next_id: AtomicU64::new(1),
        shutdown_limit: options.shutdown_limit,
        choices_max: options.streams_max.max(1),
        request_limit: options.request_limit,
    };
    Ok(Engine { inner: Arc::new(inner) })
}

/// What a tensor takes where it is computed with.
fn bytes_of(compute: &Compute) -> fn(&TensorInfo) -> u64 {
    match compute {
        Compute::Host => memory::resident_bytes,
        Compute::Device(_) => bytes_on_device,
    }
}

/// Blocks of a cache that somebody could fill.
fn useful_blocks(options: &EngineOptions, context: usize) -> usize {
    let tokens =
        context.saturating_mul(options.streams_max.max(1)).saturating_mul(CONTEXTS_A_STREAM);
    tokens / BLOCK_TOKENS + options.streams_max
}

/// Every row of a step may want its logits, and they are copied once.
fn logits_bytes(options: &EngineOptions, vocabulary: usize) -> usize {
    let decode = options.streams_max.saturating_mul(1 + GUESSES_MAX);
    let rows = options.prefill_chunk_tokens.max(decode);
    rows.saturating_mul(vocabulary).saturating_mul(2 * size_of::<f32>())
}

fn limits(options: &EngineOptions, context: usize) -> SchedulerLimits {
    SchedulerLimits {
        streams_max: options.streams_max.max(1),
        prefill_chunk_tokens: options.prefill_chunk_tokens.max(1),
        context,
        speculation: options.speculation,
        queue_limit: options.queue_limit,
    }
}

fn start(scheduler: Scheduler, inbox: Arc<Inbox>) -> Result<(), LoadError> {
    let thread = std::thread::Builder::new().name("engine".to_owned());
    let work = move || {
        let _ended = Ended(inbox);
        scheduler.run();
    };
    thread.spawn(work).map(drop).map_err(|error| LoadError::Thread(error.to_string()))
}

pub(super) fn describe(
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
    let mut types: Vec<(TensorType, usize)> = Vec::new();
    for tensor in file.tensors() {
        match types.iter_mut().find(|(known, _)| *known == tensor.kind) {
            Some((_, bytes)) => *bytes += tensor.bytes,
            None => types.push((tensor.kind, tensor.bytes)),
        }
    }
    let most = types.into_iter().max_by_key(|(_, bytes)| *bytes);
    Ok(ModelInfo {
        name,
        architecture: architecture.to_owned(),
        parameters: file.tensors().iter().map(|tensor| tensor.elements() as u64).sum(),
        quantization: most.map_or_else(String::new, |(kind, _)| kind.name().to_owned()),
        context_tokens: context,
        vocabulary: tokenizer.vocabulary(),
        file_bytes: file.file_bytes(),
        has_chat_template,
    })
}

/// Says that the engine thread has ended, however it did: nobody is to wait for it.
struct Ended(Arc<Inbox>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.mark_ended();
    }
}

/// The tokenizer, as output and sampling see it.
pub(super) struct Known(pub(super) Arc<Tokenizer>);

impl Vocabulary for Known {
    fn size(&self) -> usize {
        self.0.vocabulary()
    }

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
    marks: bool,
}

/// Whether a prompt ends with the beginning of a thought.
pub(super) fn ends_in_thought(tokenizer: &Tokenizer, prompt: &[u32]) -> bool {
    let last = &prompt[prompt.len().saturating_sub(8)..];
    let spelled = |&token: &u32| match tokenizer.token_name(token) {
        Some(name) if tokenizer.is_control(token) => name.to_owned(),
        _ => String::from_utf8_lossy(tokenizer.token_bytes(token)).into_owned(),
    };
    let text: String = last.iter().map(spelled).collect();
    text.trim_end().ends_with(THINK[0])
}

impl AnswerText {
    pub(super) fn new(tokenizer: Arc<Tokenizer>, marks: bool) -> Self {
        Self { tokenizer, stream: StreamDecoder::new(), marks }
    }
}

impl TextStream for AnswerText {
    fn push(&mut self, token: u32) -> String {
        if self.marks && self.tokenizer.is_control(token) {
            let name = self.tokenizer.token_name(token).unwrap_or_default();
            if CONTROLS.contains(&name) {
                return format!("{}{MARK}{name}{MARK}", self.stream.finish());
            }
        }
        let text = self.stream.push(&self.tokenizer, token);
        // The mark is ours alone.
        if self.marks && text.contains(MARK) { text.replace(MARK, "\u{fffd}") } else { text }
    }

    fn finish(&mut self) -> String {
        self.stream.finish()
    }
}
