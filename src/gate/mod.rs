//! The one road that every generation takes.
