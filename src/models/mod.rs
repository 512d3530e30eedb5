//! The library of models: which there are, which answer, who may use them.

pub(crate) mod api;
mod library;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use library::{Library, LibraryOptions};

/// The model that is built in; `models/guide` says how it was made.
pub(crate) const GUIDE_BYTES: &[u8] = include_bytes!("../../models/guide/guide.gguf");
