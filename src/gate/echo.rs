//! A prompt that is sent back before its answer, with how likely the model found it.

use crate::engine::{Candidate, TokenLogprob};

/// The prompt, as an answer begins with it.
pub(super) struct Echo {
    /// As the guard let it through.
    pub(super) text: String,
    /// The first token and its bytes, where nothing that the model expects stands before it.
    pub(super) first: Option<(u32, Vec<u8>)>,
    /// How many tokens stand before the text.
    pub(super) framed: usize,
    /// Whether its tokens are shown.
    pub(super) shows_logprobs: bool,
}

impl Echo {
    /// Whether it is said only once the model has read it.
    pub(super) fn waits(&self) -> bool {
        self.shows_logprobs
    }

    /// What is said, from the tokens of the prompt but the first.
    pub(super) fn said(self, judged: Vec<TokenLogprob>) -> (String, Vec<TokenLogprob>) {
        if !self.shows_logprobs {
            return (self.text, Vec::new());
        }
        let alone = |(token, bytes)| TokenLogprob {
            chosen: Candidate { token, bytes, logprob: f32::NAN },
            top: Vec::new(),
            text_bytes: 0,
        };
        let first = self.first.map(alone);
        let own = judged.into_iter().skip(self.framed.saturating_sub(1));
        let mut all: Vec<TokenLogprob> = first.into_iter().chain(own).collect();
        let length: usize = all.iter().map(|one| one.chosen.bytes.len()).sum();
        // Some vocabularies put a space before every text.
        if let Some(one) = all.first_mut().filter(|_| length == self.text.len() + 1)
            && one.chosen.bytes.first() == Some(&b' ')
        {
            one.chosen.bytes.remove(0);
        }
        (self.text, all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(bytes: &[u8]) -> TokenLogprob {
        let chosen = Candidate { token: 7, bytes: bytes.to_vec(), logprob: -1.0 };
        TokenLogprob { chosen, top: Vec::new(), text_bytes: 0 }
    }

    fn said(framed: usize, first: &[u8], judged: &[&[u8]], text: &str) -> Vec<(String, bool)> {
        let first = (framed == 0).then(|| (7, first.to_vec()));
        let echo = Echo { text: text.to_owned(), first, framed, shows_logprobs: true };
        let (said, tokens) = echo.said(judged.iter().map(|bytes| token(bytes)).collect());
        assert_eq!(said, text);
        let shown = |one: &TokenLogprob| {
            let text = String::from_utf8(one.chosen.bytes.clone()).expect("text");
            (text, one.chosen.logprob.is_nan())
        };
        tokens.iter().map(shown).collect()
    }

    #[test]
    fn every_token_of_the_text_is_shown_and_nothing_around_it() {
        let of = |all: &[(&str, bool)]| -> Vec<(String, bool)> {
            all.iter().map(|(text, is_alone)| ((*text).to_owned(), *is_alone)).collect()
        };
        // Without a token before it, the first was judged by nothing.
        assert_eq!(
            said(0, b"a", &[b"b", b"c"], "abc"),
            of(&[("a", true), ("b", false), ("c", false)])
        );
        // The one that stands before every text is not of it.
        assert_eq!(said(1, b"", &[b"a", b"b"], "ab"), of(&[("a", false), ("b", false)]));
        assert_eq!(said(2, b"", &[b"<x>", b"a"], "a"), of(&[("a", false)]));
        // Nor is the space that some vocabularies begin with.
        assert_eq!(said(1, b"", &[b" a", b" b"], "a b"), of(&[("a", false), (" b", false)]));
        assert_eq!(said(1, b"", &[b" a", b" b"], " a b"), of(&[(" a", false), (" b", false)]));
    }

    #[test]
    fn where_no_tokens_are_shown_there_are_none() {
        let echo = Echo { text: "a".into(), first: None, framed: 1, shows_logprobs: false };
        assert!(!echo.waits());
        assert_eq!(echo.said(vec![token(b"a")]), ("a".to_owned(), Vec::new()));
    }
}
