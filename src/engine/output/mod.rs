//! From chosen tokens to the events that a reader sees: whole characters, nothing of a stop text, and
//! each token's log-probability beside the text that it became.

mod call_reader;
mod format;
mod parser;
mod parts;
mod spoken;
mod stops;

use std::collections::VecDeque;

use super::error::EngineError;
use super::request::{GenerationEvent, TokenLogprob};
#[cfg(test)]
pub(crate) use format::FORMATS;
pub(crate) use format::{CONTROLS, Format, MARK, Shape, THINK, TOLD};
pub use parser::AnswerParser;
pub(crate) use parser::Expected;
pub use spoken::{Said, Spoken};
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
    stops: Stops,
    /// Log-probabilities that wait for their text, each with where that ends.
    logprobs: VecDeque<(usize, TokenLogprob)>,
    received: usize,
    sent: usize,
}

/// Where stop texts are looked for.
enum Stops {
    /// In the text as it is.
    Text(StopFinder),
    /// In what is said, of an answer that its reader takes apart. The text goes out as it came, for
    /// the reader's parser to end at the same place, and not before it is known of what was said
    /// last whether a stop text begins there.
    Content { parser: Box<AnswerParser>, held: String },
}

impl Stops {
    fn push(&mut self, piece: &str) -> Found {
        match self {
            Self::Text(finder) => finder.push(piece),
            Self::Content { parser, held } => {
                held.push_str(piece);
                parser.push(piece);
                let text = if parser.holds_back() { String::new() } else { std::mem::take(held) };
                Found { text, stopped: parser.stopped() }
            }
        }
    }

    fn finish(&mut self) -> String {
        match self {
            Self::Text(finder) => finder.finish(),
            Self::Content { held, .. } => std::mem::take(held),
        }
    }
}

/// What came of a token.
pub(crate) struct Piece {
    /// To be sent, if anything.
    pub(crate) event: Option<GenerationEvent>,
    /// Which stop text was found, if one was.
    pub(crate) stopped: Option<usize>,
}

impl Output {
    /// Checks the stop texts. They are looked for in what is content to the parser; in all of the
    /// text where there is none.
    pub(crate) fn new(
        text: Box<dyn TextStream>,
        stops: Vec<String>,
        parser: Option<AnswerParser>,
    ) -> Result<Self, EngineError> {
        if stops.len() > STOPS_MAX
            || stops.iter().any(|stop| stop.is_empty() || stop.len() > STOP_BYTES_MAX)
        {
            return Err(EngineError::OutOfRange {
                parameter: "stop",
                expected: "at most 16 texts of 1 to 512 bytes",
            });
        }
        let stops = match parser {
            Some(parser) if !stops.is_empty() => {
                let parser = Box::new(parser.stopping_at(stops));
                Stops::Content { parser, held: String::new() }
            }
            _ => Stops::Text(StopFinder::new(stops)),
        };
        Ok(Self { text, stops, logprobs: VecDeque::new(), received: 0, sent: 0 })
    }

    /// Takes the next token of the answer.
    pub(crate) fn push(&mut self, token: u32, logprob: Option<TokenLogprob>) -> Piece {
        let text = self.text.push(token);
        self.received += text.len();
        if let Some(logprob) = logprob {
            let logprob = TokenLogprob { text_bytes: text.len(), ..logprob };
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
        run_with(text, stops, None)
    }

    fn run_with(
        text: &str,
        stops: &[&str],
        parser: Option<AnswerParser>,
    ) -> (String, Vec<u32>, bool) {
        let stops = stops.iter().map(|&stop| stop.into()).collect();
        let mut output = Output::new(Box::new(Letters), stops, parser).unwrap();
        let (mut got, mut tokens, mut stopped) = (String::new(), Vec::new(), false);
        let mut take = |event: Option<GenerationEvent>| {
            if let Some(GenerationEvent::Text { text, logprobs }) = event {
                got.push_str(&text);
                let has_text =
                    |one: &TokenLogprob| one.text_bytes == usize::from(one.chosen.token > 0);
                assert!(logprobs.iter().all(has_text), "each token is a letter");
                tokens.extend(logprobs.iter().map(|logprob| logprob.chosen.token));
            }
        };
        for letter in text.chars() {
            let chosen = Candidate { token: letter as u32, bytes: vec![], logprob: 0.0 };
            let piece = output
                .push(letter as u32, Some(TokenLogprob { chosen, top: vec![], text_bytes: 0 }));
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
            assert!(Output::new(Box::new(Letters), stops, None).is_err());
        }
    }

    #[test]
    fn of_an_answer_that_is_taken_apart_only_its_content_is_searched() {
        let parser = || Some(AnswerParser::without_marks(vec!["add".into()]));
        let call = "<tool_call>{\"name\": \"add\", \"arguments\": {}}</tool_call>";
        for (text, stop, expected) in [
            ("<think>a STOP b</think>c STOP d", "STOP", "<think>a STOP b</think>c STOP"),
            ("<think>a\n\nb</think>\n\nc\n\nd", "\n\n", "<think>a\n\nb</think>\n\nc\n\nd"),
            ("<think>a</think>think twice", "think", "<think>a</think>think"),
            ("<think>a</think>the tool_call", "tool_call", "<think>a</think>the tool_call"),
        ] {
            let (got, _, stopped) = run_with(text, &[stop], parser());
            assert_eq!((got.as_str(), stopped), (expected, true), "{text} {stop}");
        }
        for stop in ["}", "name", "<tool_call>", "tool", "think", "\n"] {
            let text = format!("<think>a\n</think>\n{call}\n{call}");
            let (got, _, stopped) = run_with(&text, &[stop], parser());
            assert_eq!((got, stopped), (text.clone(), false), "{stop}");
        }
    }

    #[test]
    fn what_may_be_a_stop_text_waits_with_its_tokens_until_that_is_known() {
        let parser = AnswerParser::without_marks(Vec::new());
        let mut output = Output::new(Box::new(Letters), vec!["abc".into()], Some(parser)).unwrap();
        let mut sent = Vec::new();
        for letter in "xabxabc".chars() {
            let chosen = Candidate { token: letter as u32, bytes: vec![], logprob: 0.0 };
            let piece = output
                .push(letter as u32, Some(TokenLogprob { chosen, top: vec![], text_bytes: 0 }));
            sent.push(match piece.event {
                Some(GenerationEvent::Text { text, logprobs }) => {
                    assert_eq!(text.len(), logprobs.len());
                    text
                }
                _ => String::new(),
            });
            assert_eq!(piece.stopped, (sent.len() == 7).then_some(0));
        }
        assert_eq!(sent, ["x", "", "", "abx", "", "", "abc"]);
    }
}
