//! Answers of `/v1/completions`: whole, or in chunks of the same form.

use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::{Frame, UsageView};
use super::chat_answer::finite;
use crate::engine::TokenLogprob;

/// An answer or a chunk of one.
#[derive(Debug, Serialize)]
pub(super) struct TextCompletion<'a> {
    #[serde(flatten)]
    pub(super) frame: &'a Frame,
    pub(super) choices: Vec<TextChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<UsageView>>,
}

#[derive(Debug, Serialize)]
pub(super) struct TextChoice<'a> {
    pub(super) text: &'a str,
    pub(super) index: usize,
    pub(super) logprobs: Option<TextLogprobs>,
    pub(super) finish_reason: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct TextLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f32>,
    top_logprobs: Vec<Map<String, Value>>,
    text_offset: Vec<usize>,
}

/// Log-probabilities in the older form; offsets count characters from `offset` on.
pub(super) fn logprobs(tokens: &[TokenLogprob], mut offset: usize) -> TextLogprobs {
    let mut view = TextLogprobs {
        tokens: Vec::with_capacity(tokens.len()),
        token_logprobs: Vec::with_capacity(tokens.len()),
        top_logprobs: Vec::with_capacity(tokens.len()),
        text_offset: Vec::with_capacity(tokens.len()),
    };
    for token in tokens {
        let text = String::from_utf8_lossy(&token.chosen.bytes).into_owned();
        let top = token.top.iter().map(|one| {
            (String::from_utf8_lossy(&one.bytes).into_owned(), Value::from(finite(one.logprob)))
        });
        view.text_offset.push(offset);
        offset += text.chars().count();
        view.tokens.push(text);
        view.token_logprobs.push(finite(token.chosen.logprob));
        view.top_logprobs.push(top.collect());
    }
    view
}
