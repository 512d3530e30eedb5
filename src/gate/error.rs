//! Why a generation did not happen, or did not end well: things that the caller can act on.

use tokio::task::JoinError;

use super::loaded::ModelKind;
use crate::engine::{EngineError, PromptError};
use crate::limits::Refusal;

/// Why the gate did not let a generation through, or could not bring it to its end.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum GateError {
    /// The caller's roles or the key's scopes do not allow it.
    #[error("not permitted")]
    NotPermitted,
    /// There is no such model, or it is not open to the caller.
    #[error("no such model")]
    ModelNotFound,
    /// The model is being read, or could not be.
    #[error("the model is not ready: {0}")]
    ModelNotReady(String),
    /// The model does not answer, and waiting changes nothing: somebody has to do something.
    #[error("the model is not served: {0}")]
    NotServed(String),
    /// There is no memory for the model now; with the numbers.
    #[error("no memory for the model: {0}")]
    NoMemory(String),
    /// The model was unloaded while it answered.
    #[error("the model was unloaded")]
    Unloaded,
    /// A limit is reached.
    #[error(transparent)]
    Limited(#[from] Refusal),
    /// The prompt leaves no room for an answer.
    #[error("the prompt has {tokens} tokens of {context}")]
    PromptTooLong {
        /// The parameter that has it, where that is known.
        parameter: Option<&'static str>,
        /// Its tokens; at least so many where the text was too long to be counted.
        tokens: usize,
        /// The model's context.
        context: usize,
    },
    /// The model is for something else.
    #[error("the model is for something else")]
    WrongKind(ModelKind),
    /// One of several texts is longer than the model takes.
    #[error("text {place} has {tokens} tokens of {tokens_max}")]
    TextTooLong {
        /// The parameter that has the text.
        parameter: &'static str,
        /// Its place among the texts, from 0.
        place: usize,
        /// Its tokens.
        tokens: usize,
        /// The most that the model takes.
        tokens_max: usize,
    },
    /// There is nothing to go on from.
    #[error("the prompt is empty")]
    EmptyPrompt {
        /// The parameter that has it, where that is known.
        parameter: Option<&'static str>,
    },
    /// A token is not in the vocabulary.
    #[error("a token of the prompt is not in the vocabulary")]
    UnknownToken,
    /// A parameter is out of range.
    #[error("{parameter}: {expected}")]
    OutOfRange {
        /// Its name.
        parameter: &'static str,
        /// What is accepted.
        expected: &'static str,
    },
    /// The answer cannot be held to what was asked for.
    #[error("the grammar cannot be used")]
    Grammar {
        /// The parameter that asked for it.
        parameter: &'static str,
        /// What is wrong with it; may quote it, so it is for the sender alone.
        reason: String,
    },
    /// The model's template cannot take this conversation.
    #[error("the chat template refused the conversation")]
    Template,
    /// The guard refused the prompt.
    #[error("refused by the guard")]
    Refused {
        /// What was found; no text.
        categories: Vec<String>,
    },
    /// The record could not be written, so nothing was done.
    #[error("the record cannot be written")]
    NotRecorded,
    /// The queue is full.
    #[error("the queue is full")]
    Busy,
    /// The request waited too long for its turn.
    #[error("the request waited too long for its turn")]
    Waited,
    /// The request took longer than it may.
    #[error("the time limit was reached")]
    TimeLimit,
    /// The server takes no more work.
    #[error("shutting down")]
    ShuttingDown,
    /// What allowed the caller in was withdrawn.
    #[error("access was withdrawn")]
    Revoked,
    /// The engine failed.
    #[error("the engine failed: {0}")]
    Engine(EngineError),
}

impl GateError {
    /// The name, as audit and metrics write it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::NotPermitted => "not_permitted",
            Self::ModelNotFound => "model_not_found",
            Self::ModelNotReady(_) => "model_not_ready",
            Self::NotServed(_) => "not_served",
            Self::NoMemory(_) => "no_memory",
            Self::Unloaded => "unloaded",
            Self::Limited(refusal) => refusal.which.name(),
            Self::PromptTooLong { .. } => "prompt_too_long",
            Self::WrongKind(_) => "wrong_kind",
            Self::TextTooLong { .. } => "text_too_long",
            Self::EmptyPrompt { .. } => "empty_prompt",
            Self::UnknownToken => "unknown_token",
            Self::OutOfRange { .. } => "out_of_range",
            Self::Grammar { .. } => "grammar",
            Self::Template => "template",
            Self::Refused { .. } => "content_policy",
            Self::NotRecorded => "not_recorded",
            Self::Busy => "busy",
            Self::Waited => "queue_limit",
            Self::TimeLimit => "time_limit",
            Self::ShuttingDown => "shutting_down",
            Self::Revoked => "revoked",
            Self::Engine(_) => "engine",
        }
    }
}

impl GateError {
    /// Whether it is what was said that does not pass: the same again would not either.
    pub(crate) fn is_of_what_was_said(&self) -> bool {
        match self {
            Self::Limited(refusal) => refusal.retry_after.is_none(),
            Self::PromptTooLong { .. }
            | Self::TextTooLong { .. }
            | Self::EmptyPrompt { .. }
            | Self::UnknownToken
            | Self::OutOfRange { .. }
            | Self::Grammar { .. }
            | Self::Template
            | Self::Refused { .. } => true,
            Self::NotPermitted
            | Self::ModelNotFound
            | Self::ModelNotReady(_)
            | Self::NotServed(_)
            | Self::NoMemory(_)
            | Self::Unloaded
            | Self::WrongKind(_)
            | Self::NotRecorded
            | Self::Busy
            | Self::Waited
            | Self::TimeLimit
            | Self::ShuttingDown
            | Self::Revoked
            | Self::Engine(_) => false,
        }
    }
}

impl From<JoinError> for GateError {
    fn from(error: JoinError) -> Self {
        // Work is cancelled where the runtime ends; where it panicked, the fault is ours.
        if error.is_cancelled() { Self::ShuttingDown } else { Self::Engine(EngineError::Internal) }
    }
}

impl From<PromptError> for GateError {
    fn from(error: PromptError) -> Self {
        match error {
            PromptError::Refused(_) => Self::Template,
            PromptError::Empty => Self::EmptyPrompt { parameter: Some("messages") },
            // Not the caller's doing: the file brought it.
            PromptError::Limit(_) | PromptError::Template(_) => {
                Self::NotServed("Its chat template cannot be used.".to_owned())
            }
        }
    }
}

impl From<EngineError> for GateError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Busy => Self::Busy,
            EngineError::PromptTooLong { tokens, tokens_max } => {
                let context = tokens_max.saturating_add(1);
                Self::PromptTooLong { parameter: None, tokens, context }
            }
            EngineError::Empty => Self::EmptyPrompt { parameter: None },
            EngineError::UnknownToken { .. } => Self::UnknownToken,
            EngineError::OutOfRange { parameter, expected } => {
                Self::OutOfRange { parameter, expected }
            }
            // Where the whole server ends, requests are ended before the engine is.
            EngineError::Closed => Self::Unloaded,
            EngineError::QueueTimeLimit => Self::Waited,
            EngineError::TimeLimit => Self::TimeLimit,
            EngineError::Constraint
            | EngineError::NotANumber
            | EngineError::Internal
            | EngineError::Unhealthy => Self::Engine(error),
        }
    }
}
