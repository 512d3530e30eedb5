//! Inference: text and tokens in, tokens out. Knows no user, no HTTP, no SQL.
