//! From chosen tokens to the events that a reader sees: whole characters, nothing of a stop text, and
//! each token's log-probability beside the text that it became.

mod call_reader;
mod format;
mod parser;
mod stops;

use std::collections::VecDeque;

use super::error::EngineError;
use super::request::{GenerationEvent, TokenLogprob};
#[cfg(test)]
pub(crate) use format::FORMATS;
pub(crate) use format::{CONTROLS, Format, MARK, Shape, THINK, TOLD};
pub(crate) use parser::Expected;
pub use parser::{AnswerParser, Said};
use stops::{Found, StopFinder};

/// The most stop texts of a request.
pub(crate) const STOPS_MAX: usize = 16;
/// The longest stop text, in bytes.
pub(crate) const STOP_BYTES_MAX: usize = 512;

/// What the engine needs to know of a vocabulary while it generates.
pub(crate) trait Vocabulary: Send + Sync {
    /// How many tokens there are.
    fn size(&self) -> usize;
    /// Whether the token ends an answer.
    fn is_end(&self, token: u32) -> bool;
    /// The bytes of a token; not always whole characters.
    fn bytes(&self, token: u32) -> Vec<u8>;
}

/// Turns tokens into text as they come.
pub(crate) trait TextStream: Send {
    /// The characters that are complete with this token.
    fn push(&mut self, token: u32) -> String;
    /// What is left at the end.
    fn finish(&mut self) -> String;
}

/// The text of one answer.
pub(crate) struct Output {
    text: Box<dyn TextStream>,
    stops: StopFinder,
    /// Log-probabilities that wait for their text, each with where that ends.
    logprobs: VecDeque<(usize, TokenLogprob)>,
    received: usize,
    sent: usize,
}

/// What came of a token.
pub(crate) struct Piece {
    /// To be sent, if anything.
    pub(crate) event: Option<GenerationEvent>,
    /// Which stop text was found, if one was.
    pub(crate) stopped: Option<usize>,
}

impl Output {
    /// Checks the stop texts.
    pub(crate) fn new(text: Box<dyn TextStream>, stops: Vec<String>) -> Result<Self, EngineError> {
        if stops.len() > STOPS_MAX
            || stops.iter().any(|stop| stop.is_empty() || stop.len() > STOP_BYTES_MAX)
        {
            return Err(EngineError::OutOfRange {
                parameter: "stop",
                expected: "at most 16 texts of 1 to 512 bytes",
            });
        }
        Ok(Self {
            text,
            stops: StopFinder::new(stops),
            logprobs: VecDeque::new(),
            received: 0,
            sent: 0,
        })
    }

    /// Takes the next token of the answer.
    pub(crate) fn push(&mut self, token: u32, logprob: Option<TokenLogprob>) -> Piece {
        let text = self.text.push(token);
        self.received += text.len();
        if let Some(logprob) = logprob {
            self.logprobs.push_back((self.received, logprob));
        }
        let Found { text, stopped } = self.stops.push(&text);
        Piece { event: self.event(text), stopped }
    }

    /// What was held back, at the end of an answer without a stop text.
    pub(crate) fn finish(&mut self) -> Piece {
        let rest = self.text.finish();
        self.received += rest.len();
        let Found { mut text, stopped } = self.stops.push(&rest);
        if stopped.is_none() {
            text.push_str(&self.stops.finish());
        }
        let event = if stopped.is_none() && text.is_empty() && !self.logprobs.is_empty() {
            // Tokens without a text of their own at the end of an answer.
            let logprobs = self.logprobs.drain(..).map(|(_, logprob)| logprob).collect();
            Some(GenerationEvent::Text { text, logprobs })
        } else {
            self.event(text)
        };
        Piece { event, stopped }
    }

    fn event(&mut self, text: String) -> Option<GenerationEvent> {
        if text.is_empty() {
            return None;
        }
        self.sent += text.len();
        let ready = self.logprobs.iter().take_while(|(end, _)| *end <= self.sent).count();
        let logprobs = self.logprobs.drain(..ready).map(|(_, logprob)| logprob).collect();
        Some(GenerationEvent::Text { text, logprobs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::request::Candidate;

    /// Each token is a letter.
    struct Letters;

    impl TextStream for Letters {
        fn push(&mut self, token: u32) -> String {
            char::from_u32(token).filter(|c| *c != '\0').map(String::from).unwrap_or_default()
        }
        fn finish(&mut self) -> String {
            String::new()
        }
    }

    fn run(text: &str, stops: &[&str]) -> (String, Vec<u32>, bool) {
        let mut output =
            Output::new(Box::new(Letters), stops.iter().map(|&stop| stop.into()).collect())
                .unwrap();
        let (mut got, mut tokens, mut stopped) = (String::new(), Vec::new(), false);
        let mut take = |event: Option<GenerationEvent>| {
            if let Some(GenerationEvent::Text { text, logprobs }) = event {
                got.push_str(&text);
                tokens.extend(logprobs.iter().map(|logprob| logprob.chosen.token));
            }
        };
        for letter in text.chars() {
            let chosen = Candidate { token: letter as u32, bytes: vec![], logprob: 0.0 };
            let piece = output.push(letter as u32, Some(TokenLogprob { chosen, top: vec![] }));
            take(piece.event);
            if piece.stopped.is_some() {
                stopped = true;
                break;
            }
        }
        if !stopped {
            take(output.finish().event);
        }
        (got, tokens, stopped)
    }

    #[test]
    fn logprobs_come_with_their_text_and_not_after_a_stop() {
        let (text, tokens, stopped) = run("abcSTOPdef", &["STOP"]);
        assert_eq!((text.as_str(), stopped), ("abc", true));
        assert_eq!(tokens, vec!['a' as u32, 'b' as u32, 'c' as u32]);
    }

    #[test]
    fn tokens_without_a_text_at_the_end_keep_their_logprobs() {
        let (text, tokens, _) = run("ab\u{0}", &[]);
        assert_eq!((text.as_str(), tokens.len()), ("ab", 3));
    }

    #[test]
    fn without_a_stop_everything_comes() {
        let (text, tokens, stopped) = run("abcSTO", &["STOP", "xyz"]);
        assert_eq!((text.as_str(), tokens.len(), stopped), ("abcSTO", 6, false));
    }

    #[test]
    fn bad_stop_texts_are_refused() {
        for stops in [vec![String::new()], vec!["x".repeat(513)], vec!["x".to_owned(); 17]] {
            assert!(Output::new(Box::new(Letters), stops).is_err());
        }
    }
}
