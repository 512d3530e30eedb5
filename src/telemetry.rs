//! Logs: set up once, never a text of a person in them.
