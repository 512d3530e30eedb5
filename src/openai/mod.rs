//! OpenAI wire formats to gate requests and back; Anthropic's in `anthropic/`.

mod addresses;
mod answer;
pub(crate) mod anthropic;
pub(crate) mod api;
mod chat_answer;
mod chat_request;
mod common;
mod completion_answer;
mod completion_request;
mod events;
mod fields;
mod held_to;
pub(crate) mod idempotency;
mod kept;
pub(crate) mod moderations;
pub(crate) mod openapi;
pub(crate) mod organization;
mod parameters;
pub(crate) mod responses;
mod stream;
mod template_arguments;
#[cfg(test)]
mod tests;
mod text_answer;
mod text_parameters;
mod text_request;
mod token_answer;
mod token_request;
mod tools;

#[cfg(test)]
pub(crate) use addresses::markdown as address_markdown;
#[cfg(test)]
pub(crate) use anthropic::markdown as anthropic_markdown;
#[cfg(test)]
pub(crate) use moderations::markdown as moderations_markdown;
#[cfg(test)]
pub(crate) use parameters::markdown;
#[cfg(test)]
pub(crate) use text_parameters::markdown as text_markdown;
