//! Answers of `/v1/chat/completions`: whole, or in chunks.

use serde::Serialize;

use super::answer::{Frame, UsageView};
use crate::engine::{Candidate, TokenLogprob};
use crate::gate::Notice;

/// A whole answer.
#[derive(Debug, Serialize)]
pub(super) struct ChatCompletion<'a> {
    #[serde(flatten)]
    pub(super) frame: &'a Frame,
    pub(super) choices: Vec<Choice<'a>>,
    pub(super) usage: UsageView,
    /// What the guard did; absent where it did nothing. An extension.
    #[serde(skip_serializing_if = "<[Notice]>::is_empty")]
    pub(super) strongroom_notices: &'a [Notice],
}

#[derive(Debug, Serialize)]
pub(super) struct Choice<'a> {
    pub(super) index: usize,
    pub(super) message: Said<'a>,
    pub(super) logprobs: Option<Logprobs>,
    pub(super) finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct Said<'a> {
    pub(super) role: &'static str,
    pub(super) content: &'a str,
    pub(super) refusal: Option<&'a str>,
}

/// One chunk of a streamed answer.
#[derive(Debug, Serialize)]
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

#[derive(Debug, Serialize)]
pub(super) struct ChunkChoice<'a> {
    pub(super) index: usize,
    pub(super) delta: Delta<'a>,
    pub(super) logprobs: Option<Logprobs>,
    pub(super) finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<&'a str>,
}

/// Log-probabilities of the tokens of a text.
#[derive(Debug, Serialize)]
pub(super) struct Logprobs {
    content: Vec<TokenView>,
    refusal: Option<()>,
}

#[derive(Debug, Serialize)]
struct TokenView {
    #[serde(flatten)]
    chosen: CandidateView,
    top_logprobs: Vec<CandidateView>,
}

#[derive(Debug, Serialize)]
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
