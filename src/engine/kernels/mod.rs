//! The one place of the engine where `unsafe` may stand: each use is short, stated and tested.

mod float;
pub(crate) mod map;
mod target;
mod threads;

pub(crate) use float::{Float, FloatProduct};
pub(crate) use target::*;
pub use threads::{TooLate, set_threads};
