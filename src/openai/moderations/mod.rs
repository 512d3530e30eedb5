//! `/v1/moderations`: texts held against the guard's policy, answered in OpenAI's words and in our own.

mod answer;
pub(crate) mod api;
mod request;

#[cfg(test)]
pub(crate) use answer::markdown;
