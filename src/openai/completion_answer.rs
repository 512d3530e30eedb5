//! Answers of `/v1/completions`: whole, or in chunks of the same form.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::{Frame, UsageView};
use super::chat_answer::finite;
use crate::engine::TokenLogprob;
use crate::gate::Notice;

/// An answer or a chunk of one.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Completion")]
pub(super) struct TextCompletion<'a> {
    #[serde(flatten)]
    pub(super) frame: &'a Frame,
    pub(super) choices: Vec<TextChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<UsageView>>,
    /// What the guard did; absent where it did nothing. An extension.
    #[serde(skip_serializing_if = "<[Notice]>::is_empty")]
    pub(super) strongroom_notices: &'a [Notice],
}

#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "CompletionChoice")]
pub(super) struct TextChoice<'a> {
    pub(super) text: &'a str,
    pub(super) index: usize,
    pub(super) logprobs: Option<TextLogprobs>,
    #[schemars(extend("enum" = ["stop", "length", "tool_calls", "content_filter", "cancelled", null]))]
    pub(super) finish_reason: Option<&'static str>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "CompletionLogprobs")]
pub(super) struct TextLogprobs {
    tokens: Vec<String>,
    /// Of the first token of a prompt there is none: nothing stands before it.
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<Map<String, Value>>>,
    text_offset: Vec<usize>,
}

/// How far the tokens of an answer have spelled its text.
#[derive(Clone, Debug, Default)]
pub(super) struct Spelled {
    /// Characters that are complete.
    chars: usize,
    /// The beginning of one that is not.
    begun: Vec<u8>,
}

impl Spelled {
    /// Takes the bytes of the next token; gives at which character of the text it begins, which may
    /// be one that an earlier token has begun.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let goes_on = bytes.first().is_none_or(|first| first & 0xc0 == 0x80);
        if !self.begun.is_empty() && !goes_on {
            // It never became a character: the text has U+FFFD for it.
            self.begun.clear();
            self.chars += 1;
        }
        let start = self.chars;
        let mut whole = std::mem::take(&mut self.begun);
        whole.extend_from_slice(bytes);
        let mut rest = &whole[..];
        while let Err(error) = std::str::from_utf8(rest) {
            let (sound, broken) = rest.split_at(error.valid_up_to());
            self.chars += chars(sound);
            let Some(length) = error.error_len() else {
                self.begun = broken.to_vec();
                return start;
            };
            self.chars += 1;
            rest = &broken[length..];
        }
        self.chars += chars(rest);
        start
    }
}

fn chars(sound: &[u8]) -> usize {
    String::from_utf8_lossy(sound).chars().count()
}

/// Log-probabilities in the older form.
pub(super) fn logprobs(tokens: &[TokenLogprob], spelled: &mut Spelled) -> TextLogprobs {
    let mut view = TextLogprobs {
        tokens: Vec::with_capacity(tokens.len()),
        token_logprobs: Vec::with_capacity(tokens.len()),
        top_logprobs: Vec::with_capacity(tokens.len()),
        text_offset: Vec::with_capacity(tokens.len()),
    };
    for token in tokens {
        view.text_offset.push(spelled.take(&token.chosen.bytes));
        view.tokens.push(shown(&token.chosen.bytes));
        if token.chosen.logprob.is_nan() {
            view.token_logprobs.push(None);
            view.top_logprobs.push(None);
            continue;
        }
        let logprob = finite(token.chosen.logprob);
        let mut top = Map::new();
        for one in &token.top {
            // Several tokens may have one text: the likeliest, which comes first, stands for it.
            top.entry(shown(&one.bytes)).or_insert_with(|| finite(one.logprob).into());
        }
        // The chosen one is always among them, as published.
        top.insert(shown(&token.chosen.bytes), logprob.into());
        view.token_logprobs.push(Some(logprob));
        view.top_logprobs.push(Some(top));
    }
    view
}

/// A token as text; one that is no text by itself by its bytes, as OpenAI shows it: no two such
/// tokens look alike.
fn shown(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut text = "bytes:".to_owned();
    for byte in bytes {
        text.push_str("\\x");
        text.push_str(&hex::encode([*byte]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Candidate;

    fn candidate(token: u32, bytes: &[u8], logprob: f32) -> Candidate {
        Candidate { token, bytes: bytes.to_vec(), logprob }
    }

    fn tokens(all: &[&[u8]]) -> Vec<TokenLogprob> {
        let token = |bytes: &&[u8]| candidate(0, bytes, -0.5);
        all.iter()
            .map(|one| TokenLogprob { chosen: token(one), top: Vec::new(), text_bytes: 0 })
            .collect()
    }

    /// Where each token begins, however the answer is cut into chunks.
    fn offsets(all: &[&[u8]]) -> Vec<usize> {
        let whole = logprobs(&tokens(all), &mut Spelled::default()).text_offset;
        let mut spelled = Spelled::default();
        let each =
            tokens(all).into_iter().flat_map(|one| logprobs(&[one], &mut spelled).text_offset);
        assert_eq!(whole, each.collect::<Vec<_>>());
        whole
    }

    #[test]
    fn offsets_are_places_in_the_text_also_behind_split_characters() {
        assert_eq!(offsets(&[b"ab ", b"c", b"d"]), [0, 3, 4]);
        // A grinning face of three tokens, and a word behind it.
        assert_eq!(offsets(&[b"a", b"\xf0\x9f", b"\x98", b"\x80", b" b"]), [0, 1, 1, 1, 2]);
        assert_eq!(offsets(&["ü".as_bytes(), b"\xc3", b"\xbcx", b"y"]), [0, 1, 1, 3]);
        // What never becomes a character is one that says so.
        assert_eq!(offsets(&[b"\xff", b"\xf0\x9f", b"a\xf0\x9f", b"b"]), [0, 1, 2, 4]);
        assert_eq!(offsets(&[b"", b"a", b"", b"b"]), [0, 0, 1, 1]);
    }

    #[test]
    fn tokens_that_are_parts_of_characters_are_told_apart() {
        let part = |last: u8, logprob| candidate(last.into(), &[0xf0, 0x9f, last], logprob);
        let chosen = part(0x98, -0.25);
        let top = vec![chosen.clone(), part(0x8c, -2.0), candidate(1, b"a", -3.0)];
        let view =
            logprobs(&[TokenLogprob { chosen, top, text_bytes: 0 }], &mut Spelled::default());
        assert_eq!(view.tokens, ["bytes:\\xf0\\x9f\\x98"]);
        let expected = serde_json::json!({
            "bytes:\\xf0\\x9f\\x98": -0.25, "bytes:\\xf0\\x9f\\x8c": -2.0, "a": -3.0
        });
        assert_eq!(Value::from(view.top_logprobs[0].clone().expect("some")), expected);
    }

    #[test]
    fn the_first_token_of_a_prompt_has_no_logarithm() {
        let all = tokens(&[b"ab", b"c"]);
        let first = TokenLogprob { chosen: candidate(0, b"ab", f32::NAN), ..all[0].clone() };
        let view = logprobs(&[first, all[1].clone()], &mut Spelled::default());
        let view = serde_json::to_value(view).expect("plain");
        let expected = serde_json::json!({"tokens": ["ab", "c"], "token_logprobs": [null, -0.5],
            "top_logprobs": [null, {"c": -0.5}], "text_offset": [0, 2]});
        assert_eq!(view, expected);
    }

    #[test]
    fn the_chosen_token_is_always_among_the_likeliest() {
        let top =
            vec![candidate(1, b"a", -0.25), candidate(2, b"b", -1.0), candidate(3, b"a", -4.0)];
        let one = TokenLogprob { chosen: candidate(9, b"z", -8.0), top, text_bytes: 0 };
        let view = logprobs(&[one], &mut Spelled::default());
        let expected = serde_json::json!({"a": -0.25, "b": -1.0, "z": -8.0});
        assert_eq!(Value::from(view.top_logprobs[0].clone().expect("some")), expected);
    }
}
