//! What a limit is asked and what it answers.

use std::time::Duration;

use super::counters::Which;
use crate::ids::{KeyId, UserId};

/// Whose request it is.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The person or service account.
    pub user: UserId,
    /// The key, where one was used.
    pub key: Option<KeyId>,
    /// The names of the roles held.
    pub roles: Vec<String>,
}

/// How many tokens a request may take, prompt and answer together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Less than this is of no use.
    pub least: u64,
    /// Less than this is taken only where the limits never give more.
    pub enough: u64,
    /// More than this is not needed.
    pub most: u64,
}

impl Wanted {
    /// So many, no more and no fewer.
    pub const fn exactly(tokens: u64) -> Self {
        Self { least: tokens, enough: tokens, most: tokens }
    }
}

/// Why a request has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of {limit} ({name}) is reached", name = which.name())]
pub struct Refusal {
    /// The limit that stands in the way.
    pub which: Which,
    /// What it is set to.
    pub limit: u64,
    /// What is left of it.
    pub remaining: u64,
    /// When the same request fits; `None` where it never will.
    pub retry_after: Option<Duration>,
}

/// One limit as response headers show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter {
    /// What is used.
    pub used: u64,
    /// The limit, where there is one.
    pub limit: Option<u64>,
    /// When all of it is there again.
    pub reset: Duration,
}

impl Meter {
    /// What is left, where there is a limit.
    pub fn remaining(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(self.used))
    }
}

/// Where a subject stands against the limits of a minute: the tightest of person, key and model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests a minute.
    pub requests: Meter,
    /// Tokens a minute.
    pub tokens: Meter,
}

/// What a person has used, as their own page shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of this day (UTC), those of running requests reserved.
    pub tokens_day: Meter,
    /// Tokens of the last minute.
    pub tokens_minute: Meter,
    /// Requests of this day.
    pub requests_day: u64,
}
