//! What comes to the gate, and what leaves it: plain data.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use tokio::sync::{Notify, mpsc};

use super::error::GateError;
use super::loaded::ModelKind;
use crate::access::permission::Permission;
use crate::engine::{Conversation, Grammar, PlaceInLine, Sampling, TokenLogprob, ToolRules};
use crate::ids::RequestId;

/// Why somebody asks; decides which permission is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A program, through the API.
    Api,
    /// A person, in the web app.
    Chat,
    /// An evaluation.
    Evaluation,
    /// A program that wants vectors of texts.
    Embeddings,
    /// A program that wants texts judged against a query.
    Rerank,
    /// A program that wants to see texts as tokens, or tokens as texts.
    Tokens,
    /// A program that wants to know what the guard finds in texts.
    Moderation,
}

impl Purpose {
    /// The permission that the caller needs.
    pub(crate) const fn permission(self) -> Permission {
        match self {
            Self::Api | Self::Embeddings | Self::Rerank | Self::Tokens | Self::Moderation => {
                Permission::UseApi
            }
            Self::Chat => Permission::Chat,
            Self::Evaluation => Permission::RunEvals,
        }
    }

    /// The name, as audit and metrics write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Chat => "chat",
            Self::Evaluation => "evaluation",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
            Self::Tokens => "tokens",
            Self::Moderation => "moderation",
        }
    }

    /// Whether it takes models of this kind.
    pub(crate) fn takes(self, kind: ModelKind) -> bool {
        self.needs().is_none_or(|needed| needed == kind)
    }

    /// The kind of model that it takes; none: any.
    const fn needs(self) -> Option<ModelKind> {
        match self {
            Self::Api | Self::Chat | Self::Evaluation => Some(ModelKind::Chat),
            Self::Embeddings => Some(ModelKind::Embedding),
            Self::Rerank => Some(ModelKind::Reranker),
            Self::Tokens | Self::Moderation => None,
        }
    }
}

/// Prompts of one exchange: as many as a list of the log has room for, which has a digest of each.
pub(crate) const PROMPTS_MAX: usize = 32;

/// What the model is to go on from.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A conversation, by the model's chat template.
    Conversation(Conversation),
    /// Plain text, as it is.
    Text(String),
    /// Tokens; they are read as the text that they stand for, so that none of them is a control.
    Tokens(Vec<u32>),
    /// Several texts, or lists of tokens: each is a prompt of its own and answered by itself. All of
    /// them are one exchange, with one place, one reservation and one record.
    Several(Vec<Self>),
}

impl Input {
    /// The parameter of the API that has it.
    pub(super) const fn parameter(&self) -> &'static str {
        match self {
            Self::Conversation(_) => "messages",
            Self::Text(_) | Self::Tokens(_) | Self::Several(_) => "prompt",
        }
    }

    /// Each of several; itself where it is one.
    pub(crate) fn each(&self) -> &[Self] {
        match self {
            Self::Several(all) => all,
            one => std::slice::from_ref(one),
        }
    }

    /// The same, to be changed.
    pub(super) fn each_mut(&mut self) -> &mut [Self] {
        match self {
            Self::Several(all) => all,
            one => std::slice::from_mut(one),
        }
    }

    /// How long its texts are.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Conversation(conversation) => conversation.bytes(),
            Self::Text(text) => text.len(),
            Self::Tokens(tokens) => tokens.len(),
            Self::Several(all) => all.iter().map(Self::bytes).sum(),
        }
    }
}

/// A grammar that an answer is held to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HeldTo {
    /// The grammar.
    pub(crate) grammar: Grammar,
    /// The parameter that asks for it, for saying what is wrong with it.
    pub(crate) parameter: &'static str,
}

/// One generation that somebody asks for.
#[derive(Clone, Debug)]
pub(crate) struct ExchangeRequest {
    /// Why.
    pub(crate) purpose: Purpose,
    /// The model's name or alias; none means the default one.
    pub(crate) model: Option<String>,
    /// What to go on from.
    pub(crate) input: Input,
    /// The longest answer; none means the server's own bound. None of a prompt that is only echoed: 0.
    pub(crate) max_tokens: Option<usize>,
    /// How many answers to each prompt; each may be as long as that.
    pub(crate) choices: usize,
    /// Whether each answer begins with the text of its prompt, as the guard let it through.
    pub(crate) echoes: bool,
    /// How tokens are chosen.
    pub(crate) sampling: Sampling,
    /// What the answer is held to.
    pub(crate) held_to: Option<HeldTo>,
    /// How the tools of the conversation may be called; none: they may not.
    pub(crate) tools: Option<ToolRules>,
    /// Whether the answer is taken apart into what the model thinks, says and calls.
    pub(crate) takes_apart: bool,
    /// Whether the oldest messages are left out of a conversation that is longer than the context.
    pub(crate) drops_oldest: bool,
    /// Texts that end the answer.
    pub(crate) stop: Vec<String>,
    /// Log-probabilities of the chosen token and of so many others.
    pub(crate) logprobs: Option<u8>,
}

impl ExchangeRequest {
    /// How many answers there are to all prompts together.
    pub(crate) fn answers(&self) -> usize {
        self.input.each().len() * self.choices
    }

    /// How long its texts are.
    pub(super) fn bytes(&self) -> usize {
        self.input.bytes() + self.held_to.as_ref().map_or(0, |held| held.grammar.bytes())
    }
}

/// What the guard did, in a form that may be shown and kept: no text.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
pub(crate) struct Notice {
    /// What was found.
    pub(crate) category: String,
    /// What was done about it: redact, flag, stop.
    pub(crate) action: String,
    /// On the way in or out.
    #[serde(default)]
    pub(crate) direction: NoticeDirection,
    /// How often.
    pub(crate) count: u32,
}

impl Notice {
    /// That so many messages were left out for their age.
    pub(crate) fn trimmed(count: usize) -> Self {
        Self {
            category: "context".into(),
            action: "trimmed".into(),
            direction: NoticeDirection::Input,
            count: u32::try_from(count).unwrap_or(u32::MAX),
        }
    }
}

/// Where the guard did something.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NoticeDirection {
    /// In the prompt, before the model saw it.
    Input,
    /// In the answer, before the person saw it.
    #[default]
    Output,
}

/// Why an answer ended. Ordered by what matters to whoever reads of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// The model ended it.
    Stop,
    /// A stop text came; its place among those of the request.
    StopText(usize),
    /// The model calls functions and waits for their results.
    ToolCalls,
    /// The bound was reached.
    Length,
    /// The guard ended it.
    ContentFilter,
    /// The reader went away, or somebody ended it.
    Cancelled,
}

impl Ending {
    /// The name, in OpenAI's words where there is one.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stop | Self::StopText(_) => "stop",
            Self::ToolCalls => "tool_calls",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What an exchange took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExchangeUsage {
    /// Tokens of the prompt.
    pub(crate) prompt_tokens: u64,
    /// Tokens of the prompt that were in the cache.
    pub(crate) cached_tokens: u64,
    /// Tokens of the answer.
    pub(crate) completion_tokens: u64,
    /// From the first token to the last.
    pub(crate) decode: Duration,
}

impl ExchangeUsage {
    /// Tokens of prompt and answer.
    pub(crate) fn total(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

/// What happens in an exchange, in order; `Finished` or `Failed` is the last.
#[derive(Clone, Debug)]
pub(crate) enum ExchangeEvent {
    /// The prompt has its place and is being read.
    Started,
    /// A piece of an answer that the guard has let through.
    Text {
        /// Of which answer; the first is 0. Those to the second of several prompts follow those to
        /// the first.
        choice: usize,
        /// The piece.
        text: String,
        /// Its tokens, where they were asked for. Of the first of a prompt that is echoed, the
        /// log-probability is not a number.
        logprobs: Vec<TokenLogprob>,
    },
    /// A piece of what the model thinks before its answer.
    Reasoning {
        /// Of which answer.
        choice: usize,
        /// The piece.
        text: String,
    },
    /// A call of a function begins.
    Call {
        /// In which answer.
        choice: usize,
        /// Its place among the calls of the answer.
        index: u32,
        /// Tells it from others.
        id: String,
        /// The function.
        name: String,
    },
    /// A piece of the arguments of a call: JSON.
    Arguments {
        /// Of which answer.
        choice: usize,
        /// The place of the call.
        index: u32,
        /// The piece.
        text: String,
    },
    /// The guard did something.
    Notice(Notice),
    /// One answer has ended; others may go on.
    Ended {
        /// Which.
        choice: usize,
        /// Why.
        ending: Ending,
    },
    /// All answers are complete; all is settled and on record.
    Finished {
        /// Why the last ended; where they ended differently, what matters most to a reader.
        ending: Ending,
        /// What it took.
        usage: ExchangeUsage,
    },
    /// The answer could not be completed; all is settled and on record.
    Failed(GateError),
}

impl ExchangeEvent {
    /// Which answer it tells of; none: all of them.
    pub(crate) fn choice(&self) -> Option<usize> {
        match self {
            Self::Text { choice, .. }
            | Self::Reasoning { choice, .. }
            | Self::Call { choice, .. }
            | Self::Arguments { choice, .. }
            | Self::Ended { choice, .. } => Some(*choice),
            Self::Started | Self::Notice(_) | Self::Finished { .. } | Self::Failed(_) => None,
        }
    }
}

/// The reader's end of a running exchange. Dropping it ends the exchange within one step.
#[derive(Debug)]
pub(crate) struct ExchangeHandle {
    /// The request at hand.
    pub(crate) id: RequestId,
    /// The model's own name, whatever alias was asked for.
    pub(crate) model: String,
    /// Tokens of the prompt.
    pub(crate) prompt_tokens: u64,
    /// Where it stands among the requests that wait for the model; of several prompts, the last.
    pub(crate) line: PlaceInLine,
    /// Messages of a chat that were left out, oldest first, so that the rest fits the context.
    pub(crate) dropped: usize,
    /// What the guard did to the prompt.
    pub(crate) notices: Vec<Notice>,
    pub(super) events: mpsc::Receiver<ExchangeEvent>,
    pub(super) stop: Arc<Notify>,
}

impl ExchangeHandle {
    /// Ends the exchange within one step; the events go on to the last, which tells what it took.
    pub(crate) fn stop(&self) {
        self.stop.notify_one();
    }

    /// The next event; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<ExchangeEvent> {
        self.events.recv().await
    }
}
