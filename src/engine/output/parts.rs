//! The parts of an answer on their way out. Stop texts are looked for here, behind the marks and in
//! what is said to the reader alone: none is found in a thought, in a call or in a mark.

use std::collections::VecDeque;
use std::ops::Range;

use super::spoken::{Said, Spoken, joined};
use super::stops::{Found, StopFinder};

/// Parts that nobody has taken yet.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    out: Vec<Spoken>,
    stops: StopFinder,
    /// Content that is not out yet: how many bytes, and where they stood.
    waiting: VecDeque<(usize, Range<usize>)>,
    /// Which stop text was found.
    stopped: Option<usize>,
}

impl Parts {
    /// The stop texts are not empty.
    pub(super) fn new(stops: Vec<String>) -> Self {
        let stops = StopFinder::new(stops);
        Self { out: Vec::new(), stops, waiting: VecDeque::new(), stopped: None }
    }

    /// Which stop text was found, by its place among them: nothing follows it.
    pub(super) fn stopped(&self) -> Option<usize> {
        self.stopped
    }

    /// Whether something is held back that may be the beginning of a stop text.
    pub(super) fn holds_back(&self) -> bool {
        self.stops.holds_back()
    }

    /// Takes the next part, and where it stood.
    pub(super) fn put(&mut self, said: Said, at: Range<usize>) {
        if self.stopped.is_some() {
            return;
        }
        let Said::Content(text) = said else {
            // No stop text goes on behind a thought or a call.
            self.finish();
            self.out.push(Spoken { said, at });
            return;
        };
        self.waiting.push_back((text.len(), at));
        let Found { text, stopped } = self.stops.push(&text);
        self.stopped = stopped;
        self.say(&text);
    }

    /// What was held back is content after all.
    pub(super) fn finish(&mut self) {
        let held = self.stops.finish();
        self.say(&held);
    }

    /// Lets the first of what waits out.
    fn say(&mut self, mut text: &str) {
        while let Some((bytes, at)) = self.waiting.front_mut().filter(|_| !text.is_empty()) {
            let taken = text.len().min(*bytes);
            let (said, rest) = text.split_at(taken);
            // A mark in the middle of a part is not in its text.
            let end = if taken == *bytes { at.end } else { at.end.min(at.start + taken) };
            self.out.push(Spoken { said: Said::Content(said.to_owned()), at: at.start..end });
            (*bytes, at.start, text) = (*bytes - taken, end, rest);
            if *bytes == 0 {
                self.waiting.pop_front();
            }
        }
    }

    /// What has come so far.
    pub(super) fn take(&mut self) -> Vec<Spoken> {
        joined(std::mem::take(&mut self.out))
    }
}
