//! `/v1/moderations`: texts held against the guard's policy, answered in OpenAI's words and in our own.

mod answer;
pub(crate) mod api;
pub(super) mod request;

pub(super) use answer::Moderation;

#[cfg(test)]
pub(crate) use answer::markdown;
