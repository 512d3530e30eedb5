//! Anthropic's Messages API: the same road by another wire format.

mod answer;
pub(crate) mod api;
mod blocks;
mod content;
mod messages;
pub(super) mod models;
mod parameters;
mod request;
#[cfg(test)]
mod request_tests;
pub(super) mod shapes;
mod stream;
#[cfg(test)]
mod tests;
mod tools;

#[cfg(test)]
pub(crate) use parameters::markdown;
pub(super) use parameters::{Asked, rows};
#[cfg(test)]
pub(super) use request::check;
