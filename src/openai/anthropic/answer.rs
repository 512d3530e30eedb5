//! A message as Anthropic's clients read it: content, reason, usage.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::blocks::{Blocks, Kind, Step};
use super::request::Manner;
use crate::gate::{Ending, ExchangeEvent, ExchangeUsage, Notice};
use crate::ids::RequestId;

/// What stands where a signature is expected: clients give back thoughts that have one. Nothing is
/// signed.
pub(super) const SIGNATURE: &str = "unsigned";

/// Writes the answer to one request.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub(super) request: RequestId,
    pub(super) model: String,
    pub(super) manner: Manner,
    /// The most tokens that prompt and answer may have together, where that is known.
    pub(super) context: Option<usize>,
}

/// A message, whole or about to begin.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Message")]
pub(super) struct MessageView<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    #[schemars(extend("items" = {"$ref": "#/components/schemas/MessageBlock"}))]
    content: Vec<Value>,
    #[serde(flatten)]
    stop: StopView<'a>,
    usage: UsageView,
    /// What the guard did; absent where it did nothing. An extension.
    #[serde(skip_serializing_if = "<[Notice]>::is_empty")]
    strongroom_notices: &'a [Notice],
}

/// Why an answer ended; nothing where it has not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "MessageStop")]
pub(super) struct StopView<'a> {
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_details: Option<Value>,
}

/// Tokens, in Anthropic's words: those that were in the cache are not among the input.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(rename = "MessageUsage")]
pub(super) struct UsageView {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
}

impl From<ExchangeUsage> for UsageView {
    fn from(usage: ExchangeUsage) -> Self {
        Self {
            input_tokens: usage.prompt_tokens.saturating_sub(usage.cached_tokens),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: usage.cached_tokens,
            output_tokens: usage.completion_tokens,
        }
    }
}

impl Writer {
    /// A message with this content.
    pub(super) fn message<'a>(
        &'a self,
        content: Vec<Value>,
        stop: StopView<'a>,
        usage: ExchangeUsage,
        notices: &'a [Notice],
    ) -> MessageView<'a> {
        MessageView {
            id: format!("msg_{}", hex::encode(self.request.as_bytes())),
            kind: "message",
            role: "assistant",
            model: &self.model,
            content,
            stop,
            usage: usage.into(),
            strongroom_notices: notices,
        }
    }

    /// Why the answer ended, as this API has it.
    pub(super) fn stop(&self, ending: Ending, usage: ExchangeUsage) -> StopView<'_> {
        let (mut sequence, mut details) = (None, None);
        let reason = match ending {
            Ending::Stop | Ending::Cancelled => "end_turn",
            Ending::StopText(place) => {
                sequence = self.manner.stops.get(place).map(String::as_str);
                "stop_sequence"
            }
            Ending::ToolCalls => "tool_use",
            Ending::Length if self.context.is_some_and(|most| usage.total() >= most as u64) => {
                "model_context_window_exceeded"
            }
            Ending::Length => "max_tokens",
            Ending::ContentFilter => {
                let explanation = "The guard ended this answer.";
                details = Some(
                    json!({ "type": "refusal", "category": null, "explanation": explanation }),
                );
                "refusal"
            }
        };
        StopView { stop_reason: Some(reason), stop_sequence: sequence, stop_details: details }
    }
}

/// A block that is about to begin.
pub(super) fn opened(kind: &Kind) -> Value {
    match kind {
        Kind::Thinking => json!({ "type": "thinking", "thinking": "", "signature": "" }),
        Kind::Text => json!({ "type": "text", "text": "", "citations": null }),
        Kind::ToolUse { id, name } => {
            json!({ "type": "tool_use", "id": id, "name": name, "input": {} })
        }
    }
}

/// All that was said in an answer, block by block.
#[derive(Debug, Default)]
pub(super) struct Said {
    blocks: Blocks,
    written: Vec<(Kind, String)>,
    pub(super) ending: Option<Ending>,
}

impl Said {
    /// Takes what happens in the answer.
    pub(super) fn take(&mut self, event: ExchangeEvent) {
        if let ExchangeEvent::Ended { ending, .. } = event {
            self.ending = Some(ending);
        }
        for step in self.blocks.take(event) {
            match step {
                Step::Open(kind) => self.written.push((kind, String::new())),
                Step::Piece(piece) => {
                    if let Some((_, text)) = self.written.last_mut() {
                        text.push_str(&piece);
                    }
                }
                Step::Close => {}
            }
        }
    }

    /// The blocks, whole.
    pub(super) fn content(self, manner: &Manner) -> Vec<Value> {
        let whole = |(kind, text): (Kind, String)| {
            let mut block = opened(&kind);
            match kind {
                Kind::Thinking => {
                    block["thinking"] = if manner.hides_thinking { "".into() } else { text.into() };
                    block["signature"] = SIGNATURE.into();
                }
                Kind::Text => block["text"] = text.into(),
                Kind::ToolUse { .. } => block["input"] = Value::Object(input(text)),
            }
            block
        };
        self.written.into_iter().map(whole).collect()
    }
}

/// The arguments of a call. Where they are no object, as those of an answer that was cut off, they come
/// as the text that they are, by the name that Anthropic's guide gives it.
fn input(text: String) -> Map<String, Value> {
    match serde_json::from_str(&text) {
        Ok(Value::Object(input)) => input,
        _ if text.trim().is_empty() => Map::new(),
        _ => Map::from_iter([("INVALID_JSON".to_owned(), text.into())]),
    }
}
