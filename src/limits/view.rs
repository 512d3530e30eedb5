//! What a limit is asked and what it answers.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::counters::Which;
use crate::config::LimitSet;
use crate::ids::{GroupId, KeyId, UserId};

/// Whose request it is.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The person or service account.
    pub user: UserId,
    /// The key, where one was used.
    pub key: Option<SubjectKey>,
    /// The names of the roles held.
    pub roles: Vec<String>,
}

/// A key, and what it was made with.
#[derive(Clone, Copy, Debug)]
pub struct SubjectKey {
    /// The key.
    pub id: KeyId,
    /// Its own limits; they hold beside those of all keys.
    pub limits: LimitSet,
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The person's, by the settings for people or for their roles.
    Person,
    /// The key's.
    Key,
    /// That of a group that the person is in.
    Group(GroupId),
    /// What the person may use of the model.
    Model,
}

impl Whose {
    /// The name, as audit writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Key => "key",
            Self::Group(_) => "group",
            Self::Model => "model",
        }
    }
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
    /// Whose it is.
    pub whose: Whose,
    /// What it is set to.
    pub limit: u64,
    /// What is left of it.
    pub remaining: u64,
    /// When the same request fits; `None` where it never will.
    pub retry_after: Option<Duration>,
}

/// One limit, and what is used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Meter {
    pub used: u64,
    /// `null`: there is none.
    pub limit: Option<u64>,
    /// When all of it is there again.
    #[serde(skip)]
    pub reset: Duration,
}

impl Meter {
    /// What is left, where there is a limit.
    pub fn remaining(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(self.used))
    }
}

/// Where a subject stands against the limits of a minute: the tightest of person, key, groups and
/// model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests a minute.
    pub requests: Meter,
    /// Tokens a minute.
    pub tokens: Meter,
}

/// What somebody has used of their limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Usage {
    /// Of this day (UTC), those of running requests reserved.
    pub tokens_day: Meter,
    /// Of this month (UTC), the same.
    pub tokens_month: Meter,
    pub tokens_minute: Meter,
    pub requests_day: Meter,
    pub requests_month: Meter,
}

/// What the members of a group have used of its budget together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GroupUsage {
    pub id: GroupId,
    pub name: String,
    pub usage: Usage,
}
