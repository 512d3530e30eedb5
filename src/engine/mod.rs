//! Inference: text and tokens in, tokens out. Knows no user, no HTTP, no SQL.
//!
//! One thread owns the model and its cache (`scheduler`); `Engine` is a handle to it. A request
//! becomes rows in the steps of that thread, next to the rows of everybody else.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

mod attention;
mod compute;
mod constraint;
mod cost;
mod decoder;
mod draft;
mod embedding;
mod error;
mod families;
pub mod fuzz;
mod generation;
pub mod gguf;
mod home;
mod kernels;
mod kv;
mod layers;
mod load;
mod memory;
mod message;
mod options;
mod output;
mod party;
mod phase;
mod places;
mod progress;
mod request;
mod sampling;
mod scheduler;
mod stats;
pub mod template;
pub mod tokenizer;
mod tokens;

pub use compute::{DeviceChoice, check_device};
pub use constraint::{Constraint, Grammar, GrammarError, ToolChoice, ToolRules};
pub use cost::Cost;
pub use embedding::{Cut, Dimensions, EmbedInput, EmbedRequest, Embedder, Embedding};
pub use error::{EngineError, LoadError};
pub use generation::Generation;
pub use kernels::{
    InstructionSet, InstructionsError, TooLate, give_back_memory, multiply_rate, read_rate,
    set_instructions, set_threads, threads,
};
#[cfg(feature = "bench")]
pub use kernels::{Race, races};
pub use memory::{available_bytes, own_bytes, peak_bytes};
pub use message::{Content, Conversation, Extent, Message, Part, Role, ToolCall};
pub use options::{EngineOptions, KvPrecision};
pub use output::{AnswerParser, Said, Spoken};
pub use party::{SharedPrefix, Weight};
pub use progress::LoadProgress;
pub use request::{
    Candidate, Domain, Dry, FinishReason, GenerationEvent, GenerationRequest, PlaceInLine,
    Sampling, Score, ScoreItem, TokenCount, TokenLogprob, Usage,
};
pub use scheduler::Speculation;
use scheduler::{EVENTS_MAX, Inbox, NewGeneration, Sequence};
pub use stats::{EngineStats, Histogram};
use template::Template;
pub use template::{PromptError, PromptOptions};
use tokenizer::{Special, Tokenizer};
pub use tokens::{Piece, Reading};

/// Where the weights come from.
#[derive(Clone, Debug)]
pub enum Weights {
    /// A GGUF file, or any part of a model in several.
    File(PathBuf),
    /// The same, opened.
    Opened(gguf::ModelFiles),
    /// A GGUF file inside the program.
    Embedded(&'static [u8]),
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

/// A loaded model, ready for work; a handle that can be cloned. When the last handle is gone, the
/// engine thread ends.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// A loaded model, of one kind or the other.
#[derive(Clone)]
pub enum Loaded {
    /// One that answers in words.
    Generate(Engine),
    /// One that makes vectors of texts, or judges pairs of them.
    Embed(Embedder),
}

impl Loaded {
    /// Loads a model and starts its thread. Takes as long as reading the file; blocks.
    pub fn load(
        weights: Weights,
        options: EngineOptions,
        progress: &LoadProgress,
    ) -> Result<Self, LoadError> {
        load::load_any(weights, &options, progress)
    }
}

struct Inner {
    info: ModelInfo,
    tokenizer: Arc<Tokenizer>,
    template: Result<Template, PromptError>,
    constraints: constraint::Constraints,
    inbox: Arc<Inbox>,
    next_id: AtomicU64,
    shutdown_limit: Duration,
    choices_max: usize,
    request_limit: Option<Duration>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.inbox.close(Duration::ZERO);
    }
}

/// Judgements that are under way at once.
const SCORES_AT_ONCE: usize = 32;
/// How long to wait before a full queue is tried again.
const RETRY: Duration = Duration::from_millis(10);

impl Engine {
    /// Loads a model and starts its thread. Takes as long as reading the file; blocks.
    pub fn load(
        weights: Weights,
        options: EngineOptions,
        progress: &LoadProgress,
    ) -> Result<Self, LoadError> {
        load::load(weights, &options, progress)
    }

    /// What is known about the model.
    pub fn info(&self) -> &ModelInfo {
        &self.inner.info
    }

    /// The tokens that end an answer.
    pub fn end_tokens(&self) -> &[u32] {
        self.inner.tokenizer.end_tokens()
    }

    /// Turns a conversation into a prompt, by the model's chat template. Text inside of messages
    /// never becomes a control token.
    pub fn prompt(
        &self,
        conversation: &Conversation,
        options: &PromptOptions,
    ) -> Result<Vec<u32>, PromptError> {
        match &self.inner.template {
            Ok(template) if !template.knows_tools() && conversation.has_tools() => {
                let told = template::told(conversation);
                template::prompt_tokens(&self.inner.tokenizer, template, &told, options)
            }
            Ok(template) => {
                template::prompt_tokens(&self.inner.tokenizer, template, conversation, options)
            }
            Err(error) => Err(error.clone()),
        }
    }

    /// Turns plain text into tokens; control tokens in it stay text.
    pub fn tokenize(&self, text: &str) -> Vec<u32> {
        let tokenizer = &self.inner.tokenizer;
        let mut tokens = tokenizer.encode(text, Special::Plain);
        if tokenizer.adds_bos()
            && let Some(bos) = tokenizer.bos()
        {
            tokens.insert(0, bos);
        }
        tokens
    }

    /// Turns tokens into text.
    pub fn detokenize(&self, tokens: &[u32]) -> String {
        self.inner.tokenizer.decode(tokens)
    }

    /// Compiles a grammar that an answer is to be held to. Blocks: milliseconds as a rule, and for the
    /// first grammar of a model up to a second.
    pub fn constrain(&self, grammar: &Grammar) -> Result<Constraint, GrammarError> {
        self.inner.constraints.compile(&self.inner.tokenizer, grammar)
    }

    /// Compiles what holds calls of these functions to their schemas, and an answer that calls none of
    /// them to a form. Blocks, as `constrain` does. Nothing where the model's format gives no hold.
    pub fn constrain_calls(
        &self,
        tools: &[serde_json::Value],
        rules: &ToolRules,
        form: Option<&Grammar>,
    ) -> Result<Option<Constraint>, GrammarError> {
        let inner = &self.inner;
        inner.constraints.calls(&inner.tokenizer, &self.format(), tools, rules, form)
    }

    /// What takes the answer to a prompt apart; `GenerationRequest::parser` has to have one too. Calls
    /// of these functions are looked for; `is_forced`: the answer is calls from its beginning.
    pub fn parser(&self, prompt: &[u32], functions: Vec<String>, is_forced: bool) -> AnswerParser {
        let tokenizer = &self.inner.tokenizer;
        let source = self.inner.template.as_ref().map_or("", Template::source);
        let thinks = !is_forced && source.contains(output::THINK[1]);
        let is_control = |name: &&str| {
            tokenizer.token_named(name).is_some_and(|token| tokenizer.is_control(token))
        };
        AnswerParser::new(output::Expected {
            format: self.format(),
            functions,
            thinks,
            starts_thinking: thinks && load::ends_in_thought(tokenizer, prompt),
            controls: output::CONTROLS.iter().copied().filter(is_control).collect(),
        })
    }

    fn format(&self) -> output::Format {
        output::Format::of(self.inner.template.as_ref().map_or("", Template::source))
    }

    /// Queues a generation. Returns at once.
    pub fn generate(&self, request: GenerationRequest) -> Result<Generation, EngineError> {
        self.generate_choices(request, 1)?.pop().ok_or(EngineError::Internal)
    }

    /// Queues several answers to one prompt, which is read once. With a seed, each repeats: the
    /// first is the one that the seed gives alone, the others have seeds that come of it.
    pub fn generate_choices(
        &self,
        request: GenerationRequest,
        choices: usize,
    ) -> Result<Vec<Generation>, EngineError> {
        let inner = &self.inner;
        self.check(&request.prompt, inner.info.context_tokens - 1)?;
        let out = |parameter, expected| Err(EngineError::OutOfRange { parameter, expected });
        if request.max_tokens == 0 && !request.judges_prompt {
            return out("max_tokens", "at least 1");
        }
        if request.logprobs.is_some_and(|top| top > sampling::TOP_LOGPROBS_MAX) {
            return out("top_logprobs", "0 to 20");
        }
        if !(1..=inner.choices_max).contains(&choices) {
            return out("n", "1 up to the number of requests that the server works on at once");
        }
        let fresh = getrandom::u64().map_err(|_| EngineError::Internal)?;
        let seed = request.sampling.seed.unwrap_or(fresh);
        let (mut all, mut generations) = (Vec::new(), Vec::new());
        for choice in 0..choices as u64 {
            let (new, generation) = self.choice(&request, sampling::choice_seed(seed, choice))?;
            all.push(new);
            generations.push(generation);
        }
        let mut sequence = Sequence::generate_all(all).ok_or(EngineError::Internal)?;
        sequence.line = request.line;
        inner.inbox.submit(sequence)?;
        Ok(generations)
    }

    /// One answer to a checked request, and its reader's end.
    fn choice(
        &self,
        request: &GenerationRequest,
        seed: u64,
    ) -> Result<(NewGeneration, Generation), EngineError> {
        let inner = &self.inner;
        let id = inner.next_id.fetch_add(1, Ordering::Relaxed);
        let GenerationRequest { prompt, sampling, .. } = request;
        let vocabulary = load::Known(Arc::clone(&inner.tokenizer));
        let sampler = sampling::Sampler::new(sampling.clone(), prompt, &vocabulary, seed)?;
        let marks = request.parser.is_some();
        let text = Box::new(load::AnswerText::new(Arc::clone(&inner.tokenizer), marks));
        let output = output::Output::new(text, request.stop.clone(), request.parser.clone())?;
        let (events, receiver) = tokio::sync::mpsc::channel(EVENTS_MAX);
        let mut constraint = request.constraint.clone();
        if let Some(constraint) = &mut constraint {
            constraint.begin(load::ends_in_thought(&inner.tokenizer, prompt));
        }
        let new = NewGeneration {
            id,
            owners: party::Owners { own: request.domain, shared: request.shared },
            weight: request.weight,
            prompt: prompt.clone(),
            sampler,
            constraint,
            output,
            events,
            max_tokens: request.max_tokens.min(inner.info.context_tokens - prompt.len()),
            logprobs: request.logprobs,
            judges_prompt: request.judges_prompt,
            time_limit: request.time_limit.into_iter().chain(inner.request_limit).min(),
        };
        let wake = Arc::clone(&inner.inbox) as Arc<dyn generation::Wake>;
        Ok((new, Generation::new(id, receiver, wake)))
    }

    fn check(&self, prompt: &[u32], tokens_max: usize) -> Result<(), EngineError> {
        if prompt.is_empty() {
            return Err(EngineError::Empty);
        }
        if prompt.len() > tokens_max {
            return Err(EngineError::PromptTooLong { tokens: prompt.len(), tokens_max });
        }
        let vocabulary = self.inner.info.vocabulary;
        match prompt.iter().find(|&&token| token as usize >= vocabulary) {
            Some(&token) => Err(EngineError::UnknownToken { token }),
            None => Ok(()),
        }
    }

    /// How many requests of one domain may wait at once where nobody else does.
    pub fn line(&self) -> usize {
        self.inner.inbox.places()
    }

    /// How likely the model finds each continuation. Items with a common prefix share its work.
    pub async fn score(
        &self,
        items: Vec<ScoreItem>,
        domain: Domain,
    ) -> Result<Vec<Score>, EngineError> {
        let mut scores = Vec::with_capacity(items.len());
        for some in items.chunks(SCORES_AT_ONCE) {
            let mut replies = Vec::with_capacity(some.len());
            for item in some {
                replies.push(self.submit_score(item, domain).await?);
            }
            for reply in replies {
                scores.push(reply.await.unwrap_or(Err(EngineError::Closed))?);
            }
        }
        Ok(scores)
    }

    async fn submit_score(
        &self,
        item: &ScoreItem,
        domain: Domain,
    ) -> Result<tokio::sync::oneshot::Receiver<Result<Score, EngineError>>, EngineError> {
        if item.prefix.is_empty() || item.continuation.is_empty() {
            return Err(EngineError::Empty);
        }
        let tokens = [&item.prefix[..], &item.continuation].concat();
        self.check(&tokens, self.inner.info.context_tokens)?;
        loop {
            let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let sequence = Sequence::score(id, domain, tokens.clone(), item.prefix.len(), sender);
            match self.inner.inbox.submit(sequence) {
                Ok(()) => return Ok(receiver),
                // Judgements are patient: people's questions come first.
                Err(EngineError::Busy) => tokio::time::sleep(RETRY).await,
                Err(other) => return Err(other),
            }
        }
    }

    /// Forgets what the cache holds of a domain that has no running request.
    pub fn forget(&self, domain: Domain) {
        self.inner.inbox.forget(domain);
    }

    /// What the engine does right now and has done.
    pub fn stats(&self) -> EngineStats {
        self.inner.inbox.stats()
    }

    /// Takes no more requests; running ones may go on for `shutdown_limit`. Returns at once.
    pub fn shutdown(&self) {
        self.inner.inbox.close(self.inner.shutdown_limit);
    }

    /// Waits until the engine thread has ended after `shutdown`; blocks.
    pub fn wait_closed(&self) {
        self.inner.inbox.wait_ended();
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod load_tests;
#[cfg(test)]
mod tests;
