//! Log-probabilities on their way: they are shown with their text, and not where the guard changed it.

use std::collections::VecDeque;

use crate::engine::TokenLogprob;

/// Log-probabilities whose text the guard still holds back.
#[derive(Default)]
pub(super) struct Held {
    pushed: usize,
    released: usize,
    queue: VecDeque<(usize, Vec<TokenLogprob>)>,
    /// Of a text that is not decided yet.
    waiting: Vec<TokenLogprob>,
    /// Whether texts are taken apart: then tokens of marks are shown with nothing.
    takes_apart: bool,
    is_withheld: bool,
}

impl Held {
    /// `takes_apart`: only what is said is shown, not what stands around it. `is_withheld`: the prompt
    /// was changed, and none is shown.
    pub(super) fn new(takes_apart: bool, is_withheld: bool) -> Self {
        Self { takes_apart, is_withheld, ..Self::default() }
    }

    /// Takes log-probabilities whose text is being taken apart.
    pub(super) fn wait(&mut self, logprobs: Vec<TokenLogprob>) {
        if !self.is_withheld {
            self.waiting.extend(logprobs);
        }
    }

    /// Takes a text. Log-probabilities go with content; those of thoughts and calls go nowhere.
    pub(super) fn push(&mut self, text: &str, is_content: bool) {
        self.pushed += text.len();
        let logprobs = self.tokens_of(text);
        if is_content && !logprobs.is_empty() {
            self.queue.push_back((self.pushed, logprobs));
        }
    }

    /// Takes the log-probabilities of the tokens that this text is made of, white space around it
    /// included, and drops those before them and those that are part mark: of marks the guard sees
    /// nothing.
    fn tokens_of(&mut self, text: &str) -> Vec<TokenLogprob> {
        if !self.takes_apart {
            return std::mem::take(&mut self.waiting);
        }
        let bytes: Vec<u8> =
            self.waiting.iter().flat_map(|one| one.chosen.bytes.iter().copied()).collect();
        let mut places = bytes.windows(text.len().max(1));
        let Some(start) = places.position(|place| place == text.as_bytes()) else {
            self.waiting.clear();
            return Vec::new();
        };
        let (said, mut at) = (start..start + text.len(), 0);
        let all = std::mem::take(&mut self.waiting).into_iter().map(|one| {
            let own = at..at + one.chosen.bytes.len();
            at = own.end;
            (own, one)
        });
        let mut taken = Vec::new();
        for (own, one) in all {
            if own.start >= said.end {
                self.waiting.push(one);
                continue;
            }
            let is_all_said = bytes[own.clone()].iter().enumerate().all(|(place, byte)| {
                said.contains(&(own.start + place)) || byte.is_ascii_whitespace()
            });
            if own.end > said.start && is_all_said {
                taken.push(one);
            }
        }
        taken
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
        let waiting = std::mem::take(&mut self.waiting);
        let queued = self.queue.drain(..).flat_map(|(_, logprobs)| logprobs);
        // Behind a text that was taken apart stand marks alone.
        queued.chain(waiting.into_iter().filter(|_| !self.takes_apart)).collect()
    }

    /// Shows none from here on.
    pub(super) fn withhold(&mut self) {
        self.is_withheld = true;
        self.waiting.clear();
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Candidate;

    fn tokens(texts: &[&str]) -> Vec<TokenLogprob> {
        let token =
            |text: &&str| Candidate { token: 0, bytes: text.as_bytes().to_vec(), logprob: -1.0 };
        texts.iter().map(|text| TokenLogprob { chosen: token(text), top: Vec::new() }).collect()
    }

    fn shown(held: &mut Held, bytes: usize) -> Vec<String> {
        let text = |one: TokenLogprob| String::from_utf8(one.chosen.bytes).expect("text");
        held.release(bytes).into_iter().map(text).collect()
    }

    #[test]
    fn tokens_of_marks_and_of_what_the_guard_does_not_see_are_not_shown() {
        let mut held = Held::new(true, false);
        held.wait(tokens(&["</think>", "\n\n", " Hel", "lo\n", "<tool", "_call>"]));
        held.push("Hello", true);
        assert_eq!(shown(&mut held, 5), [" Hel", "lo\n"]);
        assert!(held.rest().is_empty());
        let mut held = Held::new(true, false);
        held.wait(tokens(&["thought", "</think> a", "b"]));
        held.push("thought", false);
        held.push("ab", true);
        // One token is half a mark.
        assert_eq!(shown(&mut held, 9), ["b"]);
        let mut held = Held::new(true, false);
        held.wait(tokens(&["x"]));
        held.push("y", true);
        assert!(shown(&mut held, 1).is_empty() && held.rest().is_empty());
    }

    #[test]
    fn of_a_text_as_it_came_every_token_is_shown() {
        let mut held = Held::new(false, false);
        held.wait(tokens(&["", "a"]));
        held.push("a", true);
        held.wait(tokens(&["</s>"]));
        assert_eq!(shown(&mut held, 1), ["", "a"]);
        assert_eq!(held.rest().len(), 1);
        let mut held = Held::new(false, true);
        held.wait(tokens(&["a"]));
        held.push("a", true);
        assert!(shown(&mut held, 1).is_empty());
    }
}
