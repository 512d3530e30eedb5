//! A response as clients read it, whole or on its way.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::items::Item;
use crate::clock::Timestamp;
use crate::gate::{Ending, ExchangeUsage, Notice};
use crate::ids::ResponseId;
use crate::web::ApiError;

/// What the answer repeats of the request.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ResponseEcho")]
pub(super) struct Echo {
    pub(super) background: bool,
    pub(super) instructions: Option<String>,
    pub(super) max_output_tokens: Option<usize>,
    pub(super) max_tool_calls: Option<u32>,
    pub(super) metadata: Map<String, Value>,
    pub(super) parallel_tool_calls: bool,
    pub(super) previous_response_id: Option<String>,
    pub(super) reasoning: Value,
    pub(super) service_tier: &'static str,
    pub(super) store: bool,
    pub(super) temperature: f64,
    pub(super) text: Value,
    pub(super) tool_choice: Value,
    pub(super) tools: Vec<Value>,
    pub(super) top_logprobs: u8,
    pub(super) top_p: f64,
    pub(super) truncation: &'static str,
}

/// What is known of a response before its first word.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) id: ResponseId,
    pub(super) created: Timestamp,
    pub(super) model: String,
    pub(super) echo: Echo,
}

/// Where a response stands.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// It is being written.
    InProgress,
    /// It ended, for better or worse.
    Ended(End),
    /// It could not be completed.
    Failed(ApiError),
}

/// How a response ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) ending: Ending,
    pub(super) usage: ExchangeUsage,
    /// Tokens of thoughts among those of the answer.
    pub(super) reasoning_tokens: u64,
    pub(super) at: Timestamp,
}

/// A response.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Response<'a> {
    id: String,
    object: &'static str,
    created_at: i64,
    completed_at: Option<i64>,
    #[schemars(extend("enum" = ["in_progress", "completed", "incomplete", "failed"]))]
    status: &'static str,
    error: Option<Failure>,
    incomplete_details: Option<Incomplete>,
    model: &'a str,
    output: &'a [Item],
    usage: Option<Usage>,
    #[serde(flatten)]
    echo: &'a Echo,
    /// What the guard did; absent where it did nothing. An extension.
    #[serde(skip_serializing_if = "<[Notice]>::is_empty")]
    strongroom_notices: &'a [Notice],
}

/// Why a response is not whole, in OpenAI's words.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "IncompleteDetails")]
struct Incomplete {
    reason: &'static str,
}

/// What went wrong: OpenAI's code, and beside it this server's own.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ResponseFailure")]
struct Failure {
    code: &'static str,
    message: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Tokens, in the words of responses.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ResponseUsage")]
struct Usage {
    input_tokens: u64,
    input_tokens_details: InputDetails,
    output_tokens: u64,
    output_tokens_details: OutputDetails,
    total_tokens: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "InputTokenDetails")]
struct InputDetails {
    cached_tokens: u64,
    /// The cache is in memory, and nothing is charged for it.
    cache_write_tokens: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OutputTokenDetails")]
struct OutputDetails {
    reasoning_tokens: u64,
}

impl From<End> for Usage {
    fn from(end: End) -> Self {
        let End { usage, reasoning_tokens, .. } = end;
        Self {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: InputDetails {
                cached_tokens: usage.cached_tokens,
                cache_write_tokens: 0,
            },
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputDetails { reasoning_tokens },
            total_tokens: usage.total(),
        }
    }
}

impl Standing {
    /// The word for it.
    pub(super) fn status(&self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Failed(_) => "failed",
            Self::Ended(end) => match end.ending {
                Ending::Stop | Ending::StopText(_) | Ending::ToolCalls => "completed",
                Ending::Length | Ending::ContentFilter => "incomplete",
                Ending::Cancelled => "failed",
            },
        }
    }

    fn ending(&self) -> Option<Ending> {
        match self {
            Self::Ended(end) => Some(end.ending),
            Self::InProgress | Self::Failed(_) => None,
        }
    }

    fn incomplete(&self) -> Option<Incomplete> {
        let reason = match self.ending()? {
            Ending::Length => "max_output_tokens",
            Ending::ContentFilter => "content_filter",
            Ending::Stop | Ending::StopText(_) | Ending::ToolCalls | Ending::Cancelled => {
                return None;
            }
        };
        Some(Incomplete { reason })
    }

    fn failure(&self) -> Option<Failure> {
        let (message, kind) = match self {
            Self::Failed(error) => (error.to_string(), error.code().name()),
            Self::Ended(End { ending: Ending::Cancelled, .. }) => {
                ("The answer was ended before it was whole.".to_owned(), "cancelled")
            }
            Self::Ended(_) | Self::InProgress => return None,
        };
        Some(Failure { code: "server_error", message, kind: kind.to_owned() })
    }
}

impl<'a> Response<'a> {
    pub(super) fn new(
        head: &'a Head,
        standing: &Standing,
        output: &'a [Item],
        notices: &'a [Notice],
    ) -> Self {
        let ended = match standing {
            Standing::Ended(end) => Some(*end),
            Standing::InProgress | Standing::Failed(_) => None,
        };
        let status = standing.status();
        Self {
            id: head.id.to_string(),
            object: "response",
            created_at: head.created.seconds(),
            completed_at: ended.filter(|_| status == "completed").map(|end| end.at.seconds()),
            status,
            error: standing.failure(),
            incomplete_details: standing.incomplete(),
            model: &head.model,
            output,
            usage: ended.map(Usage::from),
            echo: &head.echo,
            strongroom_notices: notices,
        }
    }
}
