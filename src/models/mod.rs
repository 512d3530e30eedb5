//! The library of models: which there are, which answer, who may use them.

pub(crate) mod api;
mod library;
mod store;

pub(crate) use library::{Library, LibraryOptions, ModelsError};
