//! Conversations of the web app: what people and models say, sealed under the person's own key,
//! and the answers that are being written while nobody may be watching.

mod answer;
pub(crate) mod api;
mod conversations;
mod error;
mod live;
mod reading;
mod sealing;
mod search;
mod store;
#[cfg(test)]
mod tests;
mod told;
mod turn;
mod waiting;

pub(crate) use conversations::{Chat, ChatParts};
