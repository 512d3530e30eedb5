//! OpenAI wire formats to gate requests and back.

mod chat_request;
mod common;
mod completion_request;
mod fields;
mod parameters;
