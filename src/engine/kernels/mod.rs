//! The one place of the engine where `unsafe` may stand: each use is short, stated and tested.

pub(crate) mod map;
mod target;

pub(crate) use target::*;
