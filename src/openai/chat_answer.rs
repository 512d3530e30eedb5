//! Answers of `/v1/chat/completions`: whole, or in chunks.

use schemars::JsonSchema;
use serde::Serialize;

use super::answer::{Frame, UsageView};
use crate::engine::{Candidate, TokenLogprob};
use crate::gate::Notice;

/// A whole answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ChatCompletion<'a> {
    #[serde(flatten)]
    pub(super) frame: &'a Frame,
    pub(super) choices: Vec<Choice<'a>>,
    pub(super) usage: UsageView,
    /// What the guard did; absent where it did nothing. An extension.
    #[serde(skip_serializing_if = "<[Notice]>::is_empty")]
    pub(super) strongroom_notices: &'a [Notice],
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ChatChoice")]
pub(super) struct Choice<'a> {
    pub(super) index: usize,
    pub(super) message: Said<'a>,
    pub(super) logprobs: Option<Logprobs>,
    #[schemars(extend("enum" = ["stop", "length", "tool_calls", "content_filter", "cancelled"]))]
    pub(super) finish_reason: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ChatAnswer")]
pub(super) struct Said<'a> {
    #[schemars(extend("const" = "assistant"))]
    pub(super) role: &'static str,
    /// Absent where the answer only calls functions.
    pub(super) content: Option<&'a str>,
    pub(super) refusal: Option<&'a str>,
    /// What the model thought first, where its family tells that apart. An extension that other
    /// servers have too, under one name or the other: clients look for either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "<[CallView]>::is_empty")]
    pub(super) tool_calls: &'a [CallView],
}

/// One chunk of a streamed answer.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ChatCompletionChunk")]
pub(super) struct Chunk<'a> {
    #[serde(flatten)]
    pub(super) frame: &'a Frame,
    pub(super) choices: Vec<ChunkChoice<'a>>,
    /// `null` in all chunks but the last, where the stream was asked to carry usage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<UsageView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strongroom_notices: Option<&'a [Notice]>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ChatChunkChoice")]
pub(super) struct ChunkChoice<'a> {
    pub(super) index: usize,
    pub(super) delta: Delta<'a>,
    pub(super) logprobs: Option<Logprobs>,
    #[schemars(extend("enum" = ["stop", "length", "tool_calls", "content_filter", "cancelled", null]))]
    pub(super) finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "ChatDelta")]
pub(super) struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_calls: Option<[CallView; 1]>,
}

/// A call of a function, or a piece of one.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "ToolCallPiece")]
pub(super) struct CallView {
    /// Its place among the calls, in streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    pub(super) function: FunctionView,
}

#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "FunctionPiece")]
pub(super) struct FunctionView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) arguments: String,
}

impl CallView {
    /// A call whose arguments are still to come.
    pub(super) fn begun(id: String, name: String) -> Self {
        let function = FunctionView { name: Some(name), arguments: String::new() };
        Self { index: None, id: Some(id), kind: Some("function"), function }
    }

    /// A piece of the arguments of a call.
    pub(super) fn piece(index: u32, arguments: String) -> Self {
        let function = FunctionView { name: None, arguments };
        Self { index: Some(index), function, ..Self::default() }
    }
}

/// Log-probabilities of the tokens of a text.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Logprobs {
    content: Vec<TokenView>,
    refusal: Option<()>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TokenLogprob")]
struct TokenView {
    #[serde(flatten)]
    chosen: CandidateView,
    top_logprobs: Vec<CandidateView>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Candidate")]
struct CandidateView {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

/// Log-probabilities in OpenAI's form.
pub(super) fn logprobs(tokens: &[TokenLogprob]) -> Logprobs {
    let content = tokens.iter().map(|token| TokenView {
        chosen: candidate(&token.chosen),
        top_logprobs: token.top.iter().map(candidate).collect(),
    });
    Logprobs { content: content.collect(), refusal: None }
}

/// Impossible tokens have no finite logarithm, and JSON has no infinity.
pub(super) fn finite(logprob: f32) -> f32 {
    logprob.max(-9_999.0)
}

fn candidate(candidate: &Candidate) -> CandidateView {
    CandidateView {
        token: String::from_utf8_lossy(&candidate.bytes).into_owned(),
        logprob: finite(candidate.logprob),
        bytes: candidate.bytes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_token_has_its_bytes_also_where_they_are_no_text() {
        let one = |bytes: &[u8], logprob| Candidate { token: 0, bytes: bytes.to_vec(), logprob };
        let top = vec![one(b"\xf0\x9f", -0.5), one(b"a", f32::NEG_INFINITY)];
        let view = logprobs(&[TokenLogprob { chosen: one(b"\xf0\x9f", -0.5), top, text_bytes: 0 }]);
        let expected = json!({"refusal": null, "content": [{
            "token": "\u{fffd}", "logprob": -0.5, "bytes": [240, 159],
            "top_logprobs": [
                {"token": "\u{fffd}", "logprob": -0.5, "bytes": [240, 159]},
                {"token": "a", "logprob": -9999.0, "bytes": [97]},
            ],
        }]});
        assert_eq!(serde_json::to_value(view).expect("plain"), expected);
    }
}
