//! OpenAI wire formats to gate requests and back.
