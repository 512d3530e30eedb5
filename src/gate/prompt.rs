//! From what was asked to tokens, and whether they fit: once before the limits, so that they know
//! what to take, and again when the guard has changed a text.

use std::sync::Arc;

use super::catalog::Model;
use super::error::GateError;
use super::generate::Generate;
use super::request::{ExchangeRequest, Input, Purpose};
use crate::engine::{GenerationRequest, PromptError, PromptOptions, Sampling};
use crate::ids::UserId;

/// No token stands for more bytes than this, so that a text too long by far is refused uncounted.
const TOKEN_BYTES_MAX: usize = 64;
/// Tokens that a chat leaves for the answer, where the context is not small.
const CHAT_ROOM: usize = 256;
/// Texts longer than this are worked on away from the threads that wait for the network.
const INLINE_BYTES_MAX: usize = 16 * 1024;

/// A request whose tokens are known.
pub(super) struct Draft {
    engine: Arc<dyn Generate>,
    input: Input,
    pub(super) prompt: Vec<u32>,
    pub(super) max_tokens: usize,
    pub(super) choices: usize,
    sampling: Sampling,
    stop: Vec<String>,
    logprobs: Option<u8>,
    room_min: usize,
    today: Option<time::Date>,
}

/// Runs work on a text: here if the text is short, elsewhere if it is long.
pub(super) async fn by_length<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, GateError> {
    if bytes <= INLINE_BYTES_MAX {
        return Ok(work());
    }
    // It fails only where the work panicked or the runtime is ending.
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| GateError::Engine(crate::engine::EngineError::Internal))
}

impl Draft {
    /// Counts the tokens of a request and bounds its answer by what the context leaves.
    pub(super) async fn make(
        model: &Model,
        request: ExchangeRequest,
        default_max_tokens: usize,
        today: Option<time::Date>,
    ) -> Result<Self, GateError> {
        let engine = model
            .generator()
            .ok_or_else(|| GateError::ModelNotReady("It is being loaded.".to_owned()))?;
        let context = engine.info().context_tokens;
        let bytes = bytes(&request.input);
        if bytes / TOKEN_BYTES_MAX > context {
            return Err(GateError::PromptTooLong { tokens: bytes / TOKEN_BYTES_MAX, context });
        }
        let mut draft = Self {
            engine,
            input: request.input,
            prompt: Vec::new(),
            max_tokens: request.max_tokens.unwrap_or(default_max_tokens),
            choices: request.choices.max(1),
            sampling: request.sampling,
            stop: request.stop,
            logprobs: request.logprobs,
            room_min: room_min(request.purpose, context),
            today,
        };
        by_length(bytes, move || draft.count().map(|()| draft)).await?
    }

    /// Turns the input into tokens.
    fn count(&mut self) -> Result<(), GateError> {
        if let Input::Tokens(tokens) = &self.input {
            let vocabulary = self.engine.info().vocabulary;
            if tokens.iter().any(|token| *token as usize >= vocabulary) {
                return Err(GateError::UnknownToken);
            }
            // Read as text, no token of the caller's is a control of the template.
            self.input = Input::Text(self.engine.detokenize(tokens));
        }
        self.prompt = match &self.input {
            Input::Conversation(conversation) => {
                let options = PromptOptions { date: self.today, ..PromptOptions::default() };
                self.engine.prompt(conversation, &options).map_err(|error| match error {
                    PromptError::Refused(_) => GateError::Template,
                    PromptError::Empty => GateError::EmptyPrompt,
                    // Not the caller's doing: the file brought it.
                    PromptError::Limit(_) | PromptError::Template(_) => {
                        GateError::ModelNotReady("Its chat template cannot be used.".to_owned())
                    }
                })?
            }
            Input::Text(text) => self.engine.tokenize(text),
            Input::Tokens(_) => Vec::new(),
        };
        let context = self.engine.info().context_tokens;
        match self.prompt.len() {
            0 => Err(GateError::EmptyPrompt),
            tokens if tokens + self.room_min > context => {
                Err(GateError::PromptTooLong { tokens, context })
            }
            tokens => {
                self.max_tokens = self.max_tokens.min(context - tokens);
                Ok(())
            }
        }
    }

    /// What the request may take: its prompt, once, and the longest answers.
    pub(super) fn tokens(&self) -> u64 {
        (self.prompt.len() + self.max_tokens * self.choices) as u64
    }

    /// The texts, those of names and tools among them.
    pub(super) fn texts(&self) -> Vec<&str> {
        match &self.input {
            Input::Conversation(conversation) => conversation.texts(),
            Input::Text(text) => vec![text],
            Input::Tokens(_) => Vec::new(),
        }
    }

    /// How long the texts are.
    pub(super) fn bytes(&self) -> usize {
        bytes(&self.input)
    }

    /// Puts the guard's texts in the place of the caller's. The whole does not become larger than
    /// what was taken for it: where placeholders are longer, the answer's bound gives way.
    pub(super) fn replace(&mut self, texts: Vec<String>) -> Result<(), GateError> {
        let taken = self.prompt.len() + self.max_tokens * self.choices;
        match &mut self.input {
            Input::Conversation(conversation) => {
                let mut texts = texts.into_iter();
                *conversation = conversation.with_texts(&mut |_| texts.next().unwrap_or_default());
            }
            Input::Text(old) => *old = texts.into_iter().next().unwrap_or_default(),
            Input::Tokens(_) => {}
        }
        self.count()?;
        let room = taken.saturating_sub(self.prompt.len()) / self.choices;
        if room == 0 {
            let context = self.engine.info().context_tokens;
            return Err(GateError::PromptTooLong { tokens: self.prompt.len(), context });
        }
        self.max_tokens = self.max_tokens.min(room);
        Ok(())
    }

    /// What the engine is asked for.
    pub(super) fn into_request(self, user: UserId) -> GenerationRequest {
        GenerationRequest {
            prompt: self.prompt,
            max_tokens: self.max_tokens,
            sampling: self.sampling,
            stop: self.stop,
            domain: super::domain(user),
            logprobs: self.logprobs,
            time_limit: None,
        }
    }
}

/// The least that is left for an answer. A program is told when its prompt does not fit at all; in
/// a chat, an answer of a few words before the end of the context would help nobody.
fn room_min(purpose: Purpose, context: usize) -> usize {
    match purpose {
        Purpose::Chat => (context / 4).clamp(1, CHAT_ROOM),
        Purpose::Api | Purpose::Evaluation => 1,
    }
}

fn bytes(input: &Input) -> usize {
    match input {
        Input::Conversation(conversation) => conversation.bytes(),
        Input::Text(text) => text.len(),
        Input::Tokens(tokens) => tokens.len(),
    }
}
