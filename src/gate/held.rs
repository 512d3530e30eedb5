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
    is_withheld: bool,
}

impl Held {
    /// `is_withheld`: the prompt was changed, and none is shown.
    pub(super) fn new(is_withheld: bool) -> Self {
        Self { is_withheld, ..Self::default() }
    }

    /// Takes log-probabilities whose text is being taken apart.
    pub(super) fn wait(&mut self, logprobs: Vec<TokenLogprob>) {
        if !self.is_withheld {
            self.waiting.extend(logprobs);
        }
    }

    /// Takes a text. Log-probabilities go with content; those of thoughts and calls go nowhere.
    pub(super) fn push(&mut self, bytes: usize, is_content: bool) {
        self.pushed += bytes;
        let logprobs = std::mem::take(&mut self.waiting);
        if is_content && !logprobs.is_empty() {
            self.queue.push_back((self.pushed, logprobs));
        }
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
        let queued = self.queue.drain(..).flat_map(|(_, logprobs)| logprobs);
        queued.chain(std::mem::take(&mut self.waiting)).collect()
    }

    /// Shows none from here on.
    pub(super) fn withhold(&mut self) {
        self.is_withheld = true;
        self.waiting.clear();
        self.queue.clear();
    }
}
