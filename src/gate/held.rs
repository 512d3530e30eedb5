//! Log-probabilities on their way: they are shown with their text, and not where the guard changed it.

use std::collections::VecDeque;
use std::ops::Range;

use crate::engine::TokenLogprob;

/// Log-probabilities whose text the guard still holds back.
#[derive(Default)]
pub(super) struct Held {
    pushed: usize,
    released: usize,
    queue: VecDeque<(usize, Vec<TokenLogprob>)>,
    /// Of text that is not decided yet; each with where its own stands in the answer as it came.
    waiting: Vec<(Range<usize>, TokenLogprob)>,
    /// Where the text of the next one begins.
    tokens_end: usize,
    /// The answer as it came, from `raw_start` on; what of it is content is blanked out.
    raw: Vec<u8>,
    raw_start: usize,
    /// Whether texts are taken apart: then tokens of marks are shown with nothing.
    takes_apart: bool,
    is_withheld: bool,
}

impl Held {
    /// `takes_apart`: only what is said is shown, not what stands around it. `is_withheld`: none is
    /// wanted, or to be shown.
    pub(super) fn new(takes_apart: bool, is_withheld: bool) -> Self {
        Self { takes_apart, is_withheld, ..Self::default() }
    }

    /// Takes a text as it came, which is being taken apart, and the log-probabilities that came with it:
    /// those of its last tokens may come with the next.
    pub(super) fn wait(&mut self, text: &str, logprobs: Vec<TokenLogprob>) {
        if self.is_withheld {
            return;
        }
        if self.takes_apart {
            self.raw.extend_from_slice(text.as_bytes());
        }
        for one in logprobs {
            let own = self.tokens_end..self.tokens_end + one.text_bytes;
            self.tokens_end = own.end;
            if !own.is_empty() {
                // What came with no text is the beginning of this character.
                let begun = self.waiting.iter_mut().rev().take_while(|(of, _)| of.is_empty());
                begun.for_each(|(of, _)| *of = own.clone());
            }
            self.waiting.push((own, one));
        }
    }

    /// Takes a text that stood there. Log-probabilities go with content; those of thoughts and calls go
    /// nowhere.
    pub(super) fn push(&mut self, text: &str, at: Range<usize>, is_content: bool) {
        self.pushed += text.len();
        let logprobs = self.tokens_of(&at, is_content);
        if is_content && !logprobs.is_empty() {
            self.queue.push_back((self.pushed, logprobs));
        }
    }

    /// Takes the log-probabilities of the tokens that stood there, white space around them included,
    /// and drops those before them and those that are part mark: of marks the guard sees nothing.
    fn tokens_of(&mut self, said: &Range<usize>, is_content: bool) -> Vec<TokenLogprob> {
        let waiting = std::mem::take(&mut self.waiting);
        if !self.takes_apart {
            return waiting.into_iter().map(|(_, one)| one).collect();
        }
        let within = self.within(said);
        if is_content && let Some(own) = self.raw.get_mut(within) {
            own.fill(b' ');
        }
        let mut taken = Vec::new();
        for (own, one) in waiting {
            if own.is_empty() || own.start >= said.end {
                self.waiting.push((own, one));
            } else if is_content && own.end > said.start && self.is_blank(&own) {
                taken.push(one);
            }
        }
        // What no token can reach back to any more is let go of.
        let start = self.waiting.first().map_or(self.tokens_end, |(own, _)| own.start);
        let past = start.saturating_sub(self.raw_start).min(self.raw.len());
        self.raw.drain(..past);
        self.raw_start += past;
        taken
    }

    /// Whether all that stands there is content or white space.
    fn is_blank(&self, own: &Range<usize>) -> bool {
        let own = self.raw.get(self.within(own));
        own.is_some_and(|own| own.iter().all(u8::is_ascii_whitespace))
    }

    /// Where in what is kept of the answer a place of it is.
    fn within(&self, at: &Range<usize>) -> Range<usize> {
        at.start.saturating_sub(self.raw_start)..at.end.saturating_sub(self.raw_start)
    }

    /// The log-probabilities of all text that is out after so many more bytes.
    pub(super) fn release(&mut self, bytes: usize) -> Vec<TokenLogprob> {
        self.released += bytes;
        let mut out = Vec::new();
        while self.queue.front().is_some_and(|(end, _)| *end <= self.released) {
            out.extend(self.queue.pop_front().into_iter().flat_map(|(_, logprobs)| logprobs));
        }
        out
    }

    /// The log-probabilities of tokens without a text of their own, at the end.
    pub(super) fn rest(&mut self) -> Vec<TokenLogprob> {
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|(_, one)| one);
        let queued = self.queue.drain(..).flat_map(|(_, logprobs)| logprobs);
        // Behind a text that was taken apart stand marks alone.
        queued.chain(waiting.filter(|_| !self.takes_apart)).collect()
    }

    /// Shows none from here on.
    pub(super) fn withhold(&mut self) {
        self.is_withheld = true;
        self.waiting.clear();
        self.raw.clear();
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Candidate;

    /// Lets tokens of these texts come, and the text that they make.
    fn come(held: &mut Held, texts: &[&str]) {
        held.wait(
            &texts.concat(),
            texts.iter().map(|text| token(text.as_bytes(), text.len())).collect(),
        );
    }

    fn token(bytes: &[u8], text_bytes: usize) -> TokenLogprob {
        let chosen = Candidate { token: 0, bytes: bytes.to_vec(), logprob: -1.0 };
        TokenLogprob { chosen, top: Vec::new(), text_bytes }
    }

    fn shown(held: &mut Held, bytes: usize) -> Vec<String> {
        let text = |one: TokenLogprob| String::from_utf8(one.chosen.bytes).expect("text");
        held.release(bytes).into_iter().map(text).collect()
    }

    #[test]
    fn tokens_of_marks_and_of_what_the_guard_does_not_see_are_not_shown() {
        let mut held = Held::new(true, false);
        come(&mut held, &["</think>", "\n\n", " Hel", "lo\n", "<tool", "_call>"]);
        held.push("Hello", 11..16, true);
        assert_eq!(shown(&mut held, 5), [" Hel", "lo\n"]);
        assert!(held.rest().is_empty());
        let mut held = Held::new(true, false);
        come(&mut held, &["thought", "</think> a", "b"]);
        held.push("thought", 0..7, false);
        held.push("ab", 16..18, true);
        // One token is half a mark.
        assert_eq!(shown(&mut held, 9), ["b"]);
    }

    #[test]
    fn a_text_is_found_by_its_place_and_not_by_what_it_says() {
        let mut held = Held::new(true, false);
        come(&mut held, &["<think>", "x", "</", "think", ">", "think"]);
        held.push("x", 7..8, false);
        held.push("think", 16..21, true);
        assert_eq!(shown(&mut held, 6), ["think"]);
        assert!(held.waiting.is_empty() && held.raw.is_empty(), "the one behind the mark");
        let mut held = Held::new(true, false);
        come(&mut held, &["a", "b", "a"]);
        held.push("a", 2..3, true);
        assert!(held.waiting.is_empty());
        assert_eq!(shown(&mut held, 1), ["a"]);
    }

    #[test]
    fn a_token_whose_text_comes_in_two_is_shown_once_it_is_all_said() {
        let mut held = Held::new(true, false);
        // What could be the beginning of a stop text was held back, and the token with it.
        held.wait("a", Vec::new());
        held.push("a", 0..1, true);
        held.wait("Sb", vec![token(b"aS", 2), token(b"b", 1)]);
        held.push("Sb", 1..3, true);
        assert_eq!(shown(&mut held, 3), ["aS", "b"]);
        // Two tokens of one character; the first comes with no text.
        held.wait("\u{e9}", vec![token(b"\xc3", 0), token(b"\xa9", 2)]);
        held.push("\u{e9}", 3..5, true);
        assert_eq!(held.release(2).len(), 2);
    }

    #[test]
    fn of_a_text_as_it_came_every_token_is_shown() {
        let mut held = Held::new(false, false);
        come(&mut held, &["", "a"]);
        held.push("a", 0..1, true);
        come(&mut held, &["</s>"]);
        assert_eq!(shown(&mut held, 1), ["", "a"]);
        assert_eq!(held.rest().len(), 1);
        let mut held = Held::new(false, true);
        come(&mut held, &["a"]);
        held.push("a", 0..1, true);
        assert!(shown(&mut held, 1).is_empty());
    }
}
