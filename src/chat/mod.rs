//! Conversations of the web app: sealed storage, search, streaming answers.
