//! The library of models: which there are, which answer, who may use them.

mod aliases;
pub(crate) mod api;
mod error;
mod identity;
mod kept;
mod library;
mod loads;
mod plan;
mod reading;
mod report;
mod scanning;
mod sources;
mod store;
#[cfg(test)]
mod tests;
mod unloads;

pub(crate) use error::ModelsError;
pub(crate) use identity::FileIdentity;
pub(crate) use library::{Library, LibraryOptions, LibraryParts, Rules};

/// The model that is built in; `models/guide` says how it was made.
pub(crate) const GUIDE_BYTES: &[u8] = include_bytes!("../../models/guide/guide.gguf");
