//! The beginning of a call, which a model is free to write or not: until then nothing is bound.

use llguidance::Matcher;

use crate::engine::output::{Format, Shape, THINK};

/// How calls without a mark of their own begin.
const BARE: &[u8] = b"{\"name\"";

/// Waits for the beginning of a call.
#[derive(Clone)]
pub(super) struct Trigger {
    mark: Vec<u8>,
    /// The mark as control token, where it is one in this vocabulary.
    control: Option<u32>,
    place: Place,
    /// Whether nothing follows the call.
    pub(super) is_once: bool,
    /// The last bytes that were said.
    tail: Vec<u8>,
    thought: Thought,
    /// The grammar of calls at its beginning.
    calls: Matcher,
    /// Whether a call is being written.
    pub(super) is_pulled: bool,
}

/// Where a call can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Anywhere,
    /// At the beginning of the answer alone.
    Start,
    /// Nowhere any more: something else was said.
    Past,
}

impl Trigger {
    pub(super) fn new(
        format: &Format,
        control: Option<u32>,
        is_once: bool,
        calls: Matcher,
    ) -> Self {
        let (place, mark) = match format.shape {
            Shape::Bare => (Place::Start, BARE.to_vec()),
            _ => (Place::Anywhere, format.open.as_bytes().to_vec()),
        };
        Self {
            mark,
            control,
            place,
            is_once,
            tail: Vec::new(),
            thought: Thought::default(),
            calls,
            is_pulled: false,
        }
    }

    /// Notes whether the answer begins within a thought.
    pub(super) fn begin(&mut self, is_thinking: bool) {
        self.thought.is_open = is_thinking;
    }

    /// The grammar of calls, at its beginning.
    pub(super) fn calls(&self) -> Matcher {
        self.calls.deep_clone()
    }

    /// Takes a token that was said; where a call has begun, the tokens of the call so far.
    pub(super) fn pull(&mut self, token: u32) -> Option<Vec<u32>> {
        let tokens = self.calls.tok_env().ok()?;
        let trie = tokens.tok_trie();
        let bytes = trie.token(token);
        if self.thought.hear(bytes) {
            self.tail.clear();
            return None;
        }
        if self.control.is_some() {
            return (self.control == Some(token)).then(|| vec![token]);
        }
        if self.place != Place::Past {
            self.tail.extend_from_slice(bytes);
        }
        let at = match self.place {
            Place::Anywhere => self.anywhere()?,
            Place::Start => self.at_start()?,
            Place::Past => return None,
        };
        let begun = self.tail.split_off(at);
        self.tail.clear();
        Some(trie.greedy_tokenize(&begun))
    }

    /// Where the mark is, if nothing but white space stands before it. Once something else was said,
    /// no call begins any more.
    fn at_start(&mut self) -> Option<usize> {
        let blanks = self.tail.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.tail.drain(..blanks);
        let common = self.tail.len().min(self.mark.len());
        if self.tail[..common] != self.mark[..common] {
            self.place = Place::Past;
            self.tail.clear();
        }
        (self.place == Place::Start && common == self.mark.len()).then_some(0)
    }

    fn anywhere(&mut self) -> Option<usize> {
        let at = find(&self.tail, &self.mark);
        if at.is_none() {
            keep_last(&mut self.tail, self.mark.len() - 1);
        }
        at
    }
}

/// Whether the model is thinking, told by the marks that it writes.
#[derive(Clone, Default)]
struct Thought {
    is_open: bool,
    tail: Vec<u8>,
}

impl Thought {
    /// Takes what was said; says whether any of it was thought.
    fn hear(&mut self, bytes: &[u8]) -> bool {
        let was_open = self.is_open;
        self.tail.extend_from_slice(bytes);
        loop {
            let mark = THINK[usize::from(self.is_open)].as_bytes();
            let Some(at) = find(&self.tail, mark) else {
                keep_last(&mut self.tail, mark.len() - 1);
                return was_open || self.is_open;
            };
            self.tail.drain(..at + mark.len());
            self.is_open = !self.is_open;
        }
    }
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).position(|bytes| bytes == mark)
}

fn keep_last(text: &mut Vec<u8>, count: usize) {
    text.drain(..text.len().saturating_sub(count));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_are_told_by_their_marks_however_they_are_cut() {
        let mut thought = Thought::default();
        for (said, was) in [
            ("Hi <thi", false),
            ("nk>", true),
            ("a <tool_call> ", true),
            ("</thin", true),
            ("k>", true),
            ("b", false),
            ("<think>c</think>d", false),
            ("<think>", true),
        ] {
            assert_eq!(thought.hear(said.as_bytes()), was, "{said}");
        }
        let mut thought = Thought { is_open: true, ..Thought::default() };
        assert!(thought.hear(b"x") && thought.hear(b"</think>") && !thought.hear(b"y"));
    }
}
