//! Who is calling, and may they: the permission table, the caller, and the extractors that make a
//! permission part of a handler's signature.

pub(crate) mod caller;
pub(crate) mod permission;

pub(crate) use caller::{Caller, KeyContext, Via};
