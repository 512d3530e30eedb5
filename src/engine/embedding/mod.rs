//! Texts to vectors, and pairs of texts to judgements: encoders of the BERT kind, and decoders whose
//! file says how their rows become one vector.
//!
//! One thread owns the model (`worker`); `Embedder` is a handle to it. Texts of several people share
//! a step, and what a text gets is the same bits in every company.

mod encoder;
mod network;
mod queue;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::error::{EngineError, LoadError};
use super::families::{self, Pooling};
use super::gguf::File;
use super::kv::{BLOCK_TOKENS, Pool};
use super::party::{Party, Weight};
use super::request::Domain;
use super::stats::EngineStats;
use super::tokenizer::{Frame, Special, Tokenizer};
use super::{EngineOptions, LoadProgress, ModelInfo, load, memory};
use network::{Network, Shape};
use queue::{Job, Queue};
use worker::{Ended, Worker};

/// Rows of a step, where the context is shorter.
const STEP_TOKENS: usize = 2_048;
/// The shortest vector that is cut from a longer one.
const DIMENSIONS_MIN: usize = 32;

/// A text in tokens, framed as the model expects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedInput {
    tokens: Vec<u32>,
    /// Where the second text of a pair begins; past the end where there is none.
    second: usize,
}

impl EmbedInput {
    /// The tokens, those around the text among them.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}

/// Texts of one request.
#[derive(Clone, Debug)]
pub struct EmbedRequest {
    /// The texts; at least one.
    pub inputs: Vec<EmbedInput>,
    /// Whose they are: people share the engine evenly.
    pub domain: Domain,
    /// How much of the engine they get beside others.
    pub weight: Weight,
    /// How long the request may take from submission to its end; `None` sets no limit.
    pub time_limit: Option<Duration>,
}

/// A running request. Dropping it ends the work within one step.
#[derive(Debug)]
pub struct Embedding {
    reply: oneshot::Receiver<Result<Vec<Vec<f32>>, EngineError>>,
}

impl Embedding {
    /// Waits for what the texts give, in their order: vectors of length 1, or of a reranker one
    /// number each, the logit of "the second text answers the first".
    pub async fn wait(self) -> Result<Vec<Vec<f32>>, EngineError> {
        self.reply.await.unwrap_or(Err(EngineError::Closed))
    }

    /// The same; blocks the thread. For tests.
    pub fn wait_blocking(self) -> Result<Vec<Vec<f32>>, EngineError> {
        self.reply.blocking_recv().unwrap_or(Err(EngineError::Closed))
    }
}

/// A loaded model that makes vectors or judgements; a handle that can be cloned. When the last
/// handle is gone, its thread ends.
#[derive(Clone)]
pub struct Embedder {
    inner: Arc<Inner>,
}

struct Inner {
    info: ModelInfo,
    tokenizer: Tokenizer,
    framing: Framing,
    dimensions: Dimensions,
    queue: Arc<Queue>,
    request_limit: Option<Duration>,
    shutdown_limit: Duration,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close(Duration::ZERO);
    }
}

/// What a model gives for a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimensions {
    /// Vectors of so many numbers.
    Fixed(usize),
    /// Vectors of so many numbers, whose beginnings are vectors too, from 32 numbers on (Kusupati et
    /// al., 2022).
    Nested(usize),
    /// A judgement of a pair of texts.
    Rank,
}

/// What stands around a text.
#[derive(Debug)]
struct Framing {
    first: Vec<u32>,
    last: Vec<u32>,
    between: Vec<u32>,
}

/// Whether the file is one of a model that makes vectors or judgements.
pub(super) fn is_embedding(file: &File) -> Result<bool, LoadError> {
    Ok(families::encoder_spec(file)?.is_some() || families::pooling(file)?.is_some())
}

impl Embedder {
    pub(super) fn from_file(
        file: &File,
        options: &EngineOptions,
        progress: &LoadProgress,
    ) -> Result<Self, LoadError> {
        let unsuited = |error: &dyn std::fmt::Display| LoadError::Tokenizer(error.to_string());
        let shape = Shape::read(file, options.context_tokens_max)?;
        let (family, width, longest) = shape.describe(file)?;
        let pooling = families::pooling(file)?.ok_or_else(|| LoadError::Number {
            key: format!("{family}.pooling_type"),
            problem: "it is missing, so how rows become one vector is not known".into(),
        })?;
        let tokenizer = Tokenizer::from_gguf(file).map_err(|error| unsuited(&error))?;
        let framing = Framing::of(&tokenizer, &shape)
            .ok_or_else(|| unsuited(&"it has no tokens to put around a text"))?;
        let longest = options.context_tokens_max.map_or(longest, |most| longest.min(most));
        let cache = shape.cache(options.kv_precision);
        let wanted = longest.max(STEP_TOKENS).div_ceil(BLOCK_TOKENS) * cache.block_bytes();
        let bytes = wanted.min(options.kv_budget_bytes);
        let working = shape.working_bytes(longest.max(STEP_TOKENS));
        memory::check(file, bytes.saturating_add(working) as u64, progress)?;
        let vocabulary = tokenizer.vocabulary();
        let network = Network::load(file, shape, pooling, vocabulary, progress)?;
        let pool = Pool::new(cache, bytes);
        let context = longest.min(pool.total_blocks() * BLOCK_TOKENS);
        if context <= framing.tokens() {
            let (budget, needed) = (options.kv_budget_bytes, cache.block_bytes());
            return Err(LoadError::CacheBudget { budget, needed });
        }
        let dimensions = match (pooling, family.as_str()) {
            (Pooling::Rank, _) => Dimensions::Rank,
            // Trained so (Zhang et al., 2025); no field of the format says it.
            (_, "qwen3") => Dimensions::Nested(width),
            _ => Dimensions::Fixed(width),
        };
        let stats = EngineStats {
            kv_total_bytes: pool.bytes(),
            model_bytes: file.tensors().iter().map(memory::resident_bytes).sum(),
            ..EngineStats::default()
        };
        let info = load::describe(file, &family, context, &tokenizer, false)?;
        let queue = Arc::new(Queue::new(options.queue_max, stats));
        let chunk = options.prefill_chunk_tokens.max(1);
        let worker = Worker::new(network, pool, cache, chunk, Arc::clone(&queue));
        let worker = worker.with_queue_limit(options.queue_limit);
        let ended = Ended(Arc::clone(&queue));
        std::thread::Builder::new()
            .name("embedder".to_owned())
            .spawn(move || {
                let _ended = ended;
                worker.run();
            })
            .map_err(|error| LoadError::Thread(error.to_string()))?;
        let inner = Inner {
            info,
            tokenizer,
            framing,
            dimensions,
            queue,
            request_limit: options.request_limit,
            shutdown_limit: options.shutdown_limit,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What is known about the model.
    pub fn info(&self) -> &ModelInfo {
        &self.inner.info
    }

    /// What it gives for a text.
    pub fn dimensions(&self) -> Dimensions {
        self.inner.dimensions
    }

    /// A text for a vector. One that is too long is cut where `cut` says so, else refused.
    pub fn text(&self, text: &str, cut: Cut) -> Result<EmbedInput, EngineError> {
        let Inner { framing, info, .. } = &*self.inner;
        let room = info.context_tokens - framing.tokens();
        let tokens = cut.apply(self.encode(text), room, framing.tokens())?;
        let tokens = self.framed(&tokens);
        let second = tokens.len();
        if tokens.is_empty() { Err(EngineError::Empty) } else { Ok(EmbedInput { tokens, second }) }
    }

    /// A pair for a judgement: a text in tokens, which many pairs can have in common, and another text.
    /// Where it is too long the second is cut, or it is refused.
    pub fn pair(&self, first: &[u32], second: &str, cut: Cut) -> Result<EmbedInput, EngineError> {
        let Inner { framing, info, .. } = &*self.inner;
        let around = framing.first.len() + first.len() + framing.between.len() + framing.last.len();
        // A first text that leaves no room cannot be helped by cutting the other one.
        let room = info.context_tokens.saturating_sub(around);
        if room == 0 {
            let tokens_max = info.context_tokens;
            return Err(EngineError::PromptTooLong { tokens: around + 1, tokens_max });
        }
        let answer = cut.apply(self.encode(second), room, around)?;
        let mut tokens = [&framing.first[..], first, &framing.between].concat();
        let second = tokens.len();
        tokens.extend(answer);
        tokens.extend(&framing.last);
        Ok(EmbedInput { tokens, second })
    }

    /// The tokens of a text with those that stand around it.
    pub(super) fn framed(&self, tokens: &[u32]) -> Vec<u32> {
        let Framing { first, last, .. } = &self.inner.framing;
        [&first[..], tokens, last].concat()
    }

    pub(super) fn tokenizer(&self) -> &Tokenizer {
        &self.inner.tokenizer
    }

    /// A text in tokens, with none around them.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.inner.tokenizer.encode(text, Special::Plain)
    }

    /// Turns tokens into text.
    pub fn detokenize(&self, tokens: &[u32]) -> String {
        self.inner.tokenizer.decode(tokens)
    }

    /// Queues texts. Returns at once.
    pub fn embed(&self, request: EmbedRequest) -> Result<Embedding, EngineError> {
        if request.inputs.is_empty() {
            return Err(EngineError::Empty);
        }
        let (sender, reply) = oneshot::channel();
        let EmbedRequest { inputs, domain, weight, time_limit } = request;
        let party = Party { domain, weight };
        let submitted = Instant::now();
        let limit = time_limit.into_iter().chain(self.inner.request_limit).min();
        let deadline = limit.and_then(|limit| submitted.checked_add(limit));
        self.inner.queue.submit(Job::new(inputs, party, deadline, submitted, sender))?;
        Ok(Embedding { reply })
    }

    /// What it does right now and has done.
    pub fn stats(&self) -> EngineStats {
        self.inner.queue.stats()
    }

    /// Takes no more requests; running ones may go on for `shutdown_limit`. Returns at once.
    pub fn shutdown(&self) {
        self.inner.queue.close(self.inner.shutdown_limit);
    }

    /// Waits until its thread has ended after `shutdown`; blocks.
    pub fn wait_closed(&self) {
        self.inner.queue.wait_ended();
    }
}

/// What is done with a text that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is refused.
    Never,
    /// Its end is left out.
    End,
}

impl Cut {
    fn apply(
        self,
        mut tokens: Vec<u32>,
        room: usize,
        around: usize,
    ) -> Result<Vec<u32>, EngineError> {
        if tokens.len() > room && self == Self::Never {
            let (tokens, tokens_max) = (tokens.len() + around, room + around);
            return Err(EngineError::PromptTooLong { tokens, tokens_max });
        }
        tokens.truncate(room);
        Ok(tokens)
    }
}

impl Dimensions {
    /// Cuts a vector to so many numbers, where the model's can be cut, and makes it of length 1
    /// again.
    pub fn cut(self, vector: Vec<f32>, to: usize) -> Vec<f32> {
        match self {
            Self::Nested(_) if to < vector.len() => network::normalised(vector[..to].to_vec()),
            _ => vector,
        }
    }

    /// Whether vectors of so many numbers can be had.
    pub fn allow(self, count: usize) -> bool {
        match self {
            Self::Fixed(width) => count == width,
            Self::Nested(width) => (DIMENSIONS_MIN.min(width)..=width).contains(&count),
            Self::Rank => false,
        }
    }
}

impl Framing {
    fn of(tokenizer: &Tokenizer, shape: &Shape) -> Option<Self> {
        if let Shape::Encoder(_) = shape {
            let Frame { first, last, between } = tokenizer.frame()?;
            return Some(Self { first: vec![first], last: vec![last], between });
        }
        let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
        let eos = tokenizer.eos().filter(|_| tokenizer.adds_eos());
        let (first, last) = (bos.into_iter().collect(), eos.into_iter().collect());
        Some(Self { first, last, between: Vec::new() })
    }

    /// How many stand around one text.
    fn tokens(&self) -> usize {
        self.first.len() + self.last.len()
    }
}

#[cfg(test)]
mod tests;
