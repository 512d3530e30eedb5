//! Inference: text and tokens in, tokens out. Knows no user, no HTTP, no SQL.
//!
//! One thread owns the model and its cache (`scheduler`); `Engine` is a handle to it. A request
//! becomes rows in the steps of that thread, next to the rows of everybody else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

mod error;
mod generation;
pub mod gguf;
mod kernels;
mod request;
mod stats;
pub mod template;
pub mod tokenizer;

pub use error::{EngineError, LoadError};
pub use generation::Generation;
pub use request::{
    Candidate, Domain, FinishReason, GenerationEvent, GenerationRequest, Sampling, Score,
    ScoreItem, TokenLogprob, Usage,
};
pub use stats::{EngineStats, Histogram};

/// Where the weights come from.
#[derive(Clone, Debug)]
pub enum Weights {
    /// A GGUF file.
    File(PathBuf),
    /// A GGUF file inside the program.
    Embedded(&'static [u8]),
}

/// In which precision the cache keeps keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvPrecision {
    /// Half the bytes; what everybody uses.
    #[default]
    F16,
    /// Exact, for comparisons.
    F32,
}

/// What the engine may use.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Threads for the decoder; 0 takes what the machine has.
    pub threads: usize,
    /// Bytes for keys and values; fixed at the start and never exceeded.
    pub kv_budget_bytes: usize,
    /// In which precision they are kept.
    pub kv_precision: KvPrecision,
    /// Requests worked on at once.
    pub streams_max: usize,
    /// Requests that may wait.
    pub queue_max: usize,
    /// Prompt tokens read in one step, by all requests together.
    pub prefill_chunk_tokens: usize,
    /// Cuts the context below what the model was made for.
    pub context_tokens_max: Option<usize>,
    /// How long running requests may go on after `shutdown`.
    pub shutdown_limit: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            threads: 0,
            kv_budget_bytes: 1 << 30,
            kv_precision: KvPrecision::F16,
            streams_max: 16,
            queue_max: 256,
            prefill_chunk_tokens: 256,
            context_tokens_max: None,
            shutdown_limit: Duration::from_secs(20),
        }
    }
}

/// What is known about a loaded model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// The name in the file, if it has one.
    pub name: Option<String>,
    /// The family, as GGUF calls it.
    pub architecture: String,
    /// How many weights it has.
    pub parameters: u64,
    /// The quantization most of the weights have, such as `Q4_K`.
    pub quantization: String,
    /// The longest prompt and answer together.
    pub context_tokens: usize,
    /// How many tokens it knows.
    pub vocabulary: usize,
    /// The size of the file.
    pub file_bytes: u64,
    /// Whether it brings its own chat template.
    pub has_chat_template: bool,
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The frame of the conversation.
    System,
    /// A person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// The name of the speaker or the tool.
    pub name: Option<String>,
}

/// How a conversation becomes a prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromptOptions;

/// Why a conversation cannot become a prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chat template failed: {0}")]
pub struct PromptError(pub String);

/// A loaded model, ready for work; a handle that can be cloned. When the last handle is gone, the
/// engine thread ends.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    info: ModelInfo,
}

impl Engine {
    /// Loads a model and starts its thread. Takes as long as reading the file; blocks.
    pub fn load(_weights: Weights, _options: EngineOptions) -> Result<Self, LoadError> {
        Err(LoadError::Unsupported("an engine that is being built".into()))
    }

    /// What is known about the model.
    pub fn info(&self) -> &ModelInfo {
        &self.inner.info
    }

    /// Turns a conversation into a prompt, by the model's chat template. Text inside of messages
    /// never becomes a control token.
    pub fn prompt(
        &self,
        _messages: &[Message],
        _options: &PromptOptions,
    ) -> Result<Vec<u32>, PromptError> {
        Err(PromptError("being built".into()))
    }

    /// Turns plain text into tokens; control tokens in it stay text.
    pub fn tokenize(&self, _text: &str) -> Vec<u32> {
        Vec::new()
    }

    /// Turns tokens into text.
    pub fn detokenize(&self, _tokens: &[u32]) -> String {
        String::new()
    }

    /// Queues a generation. Returns at once.
    pub fn generate(&self, _request: GenerationRequest) -> Result<Generation, EngineError> {
        Err(EngineError::Closed)
    }

    /// How likely the model finds each continuation. Items with a common prefix share its work.
    pub async fn score(
        &self,
        _items: Vec<ScoreItem>,
        _domain: Domain,
    ) -> Result<Vec<Score>, EngineError> {
        Err(EngineError::Closed)
    }

    /// Forgets what the cache holds of a domain that has no running request.
    pub fn forget(&self, _domain: Domain) {}

    /// What the engine does right now and has done.
    pub fn stats(&self) -> EngineStats {
        EngineStats::default()
    }

    /// Takes no more requests; running ones may go on for `shutdown_limit`. Returns at once.
    pub fn shutdown(&self) {}

    /// Waits until the engine thread has ended after `shutdown`; blocks.
    pub fn wait_closed(&self) {}
}
