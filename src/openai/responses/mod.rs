//! `/v1/responses`: OpenAI's newer form of a conversation, with items in the place of messages, on the
//! road that every chat takes; and those that are kept for their person.

mod answer;
pub(crate) mod api;
mod error;
mod input;
mod items;
mod listing;
mod parameters;
mod request;
pub(super) mod shapes;
mod state;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod tools;

#[cfg(test)]
pub(crate) use parameters::markdown;
pub(super) use parameters::{rows, rows_of_counts};
#[cfg(test)]
pub(super) use request::{check, check_count};
pub(crate) use state::{Responses, ResponsesParts};
