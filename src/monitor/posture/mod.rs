//! Posture: what the server and its data directory are held against, by six practices. Facts are
//! gathered first (`facts`), then judged without looking at anything else (`judge`), so that the
//! command and the page say the same and every verdict can be tested.

mod digests;
mod facts;
mod judge;
mod place;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use digests::Digests;
pub(crate) use facts::{Facts, FairnessRun, Sources, last_at};
pub(crate) use judge::judge;
pub(crate) use place::{Depth, Process};

/// How an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Met,
    /// Something is to be done; nothing is broken.
    Due,
    /// Something is wrong.
    Failing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Item {
    /// Its name for programs.
    pub(crate) id: &'static str,
    /// Its name for people.
    pub(crate) title: &'static str,
    /// How it stands.
    pub(crate) state: State,
    /// What the verdict rests on.
    pub(crate) evidence: String,
    /// What to do; none where it is met.
    pub(crate) action: Option<String>,
}

impl Item {
    fn new(id: &'static str, title: &'static str, state: State, evidence: String) -> Self {
        Self { id, title, state, evidence, action: None }
    }

    /// Says what to do, where something is.
    fn mend(mut self, action: impl Into<String>) -> Self {
        if self.state != State::Met {
            self.action = Some(action.into());
        }
        self
    }
}

/// One of the six practices.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Practice {
    /// Its name for programs.
    pub(crate) id: &'static str,
    /// Its name for people.
    pub(crate) title: &'static str,
    /// What was looked at.
    pub(crate) items: Vec<Item>,
}

impl Practice {
    /// The worst of its items.
    pub(crate) fn state(&self) -> State {
        self.items.iter().map(|item| item.state).max().unwrap_or(State::Met)
    }

    /// How many of its items are met.
    pub(crate) fn met(&self) -> usize {
        self.items.iter().filter(|item| item.state == State::Met).count()
    }
}

/// Everything that was looked at.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Posture {
    /// The practices, in their order.
    pub(crate) practices: Vec<Practice>,
}

impl Posture {
    /// The worst of all items.
    pub(crate) fn state(&self) -> State {
        self.practices.iter().map(Practice::state).max().unwrap_or(State::Met)
    }
}
