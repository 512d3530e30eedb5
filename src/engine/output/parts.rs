//! The parts of an answer on their way out. Stop texts are looked for here, behind the marks and in
//! what is said to the reader alone: none is found in a thought, in a call or in a mark.

use super::stops::{Found, StopFinder};

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Said to the reader.
    Content(String),
    /// Thought before.
    Reasoning(String),
    /// A call of this function begins.
    Call(String),
    /// A piece of the arguments of the call that began last: JSON.
    Arguments(String),
}

/// Parts that nobody has taken yet.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    out: Vec<Said>,
    stops: StopFinder,
    is_stopped: bool,
}

impl Parts {
    /// The stop texts are not empty.
    pub(super) fn new(stops: Vec<String>) -> Self {
        Self { out: Vec::new(), stops: StopFinder::new(stops), is_stopped: false }
    }

    /// Whether a stop text was found: nothing follows it.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Whether something is held back that may be the beginning of a stop text.
    pub(super) fn holds_back(&self) -> bool {
        self.stops.holds_back()
    }

    /// Takes the next part.
    pub(super) fn put(&mut self, part: Said) {
        if self.is_stopped {
            return;
        }
        let Said::Content(text) = part else {
            // No stop text goes on behind a thought or a call.
            self.finish();
            self.out.push(part);
            return;
        };
        let Found { text, stopped } = self.stops.push(&text);
        self.is_stopped = stopped;
        self.say(text);
    }

    /// What was held back is content after all.
    pub(super) fn finish(&mut self) {
        let held = self.stops.finish();
        self.say(held);
    }

    fn say(&mut self, text: String) {
        if !text.is_empty() {
            self.out.push(Said::Content(text));
        }
    }

    /// What has come so far.
    pub(super) fn take(&mut self) -> Vec<Said> {
        joined(std::mem::take(&mut self.out))
    }
}

/// Neighbouring pieces of one kind as one.
pub(super) fn joined(parts: Vec<Said>) -> Vec<Said> {
    let mut out: Vec<Said> = Vec::new();
    for part in parts {
        match (out.last_mut(), part) {
            (Some(Said::Content(before)), Said::Content(text))
            | (Some(Said::Reasoning(before)), Said::Reasoning(text))
            | (Some(Said::Arguments(before)), Said::Arguments(text)) => before.push_str(&text),
            (_, part) => out.push(part),
        }
    }
    out
}
