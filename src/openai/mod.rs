//! OpenAI wire formats to gate requests and back.

mod answer;
pub(crate) mod api;
mod chat_answer;
mod chat_request;
mod common;
mod completion_answer;
mod completion_request;
mod fields;
mod held_to;
mod parameters;
mod stream;
mod template_arguments;
#[cfg(test)]
mod tests;
mod tools;

#[cfg(test)]
pub(crate) use parameters::markdown;
