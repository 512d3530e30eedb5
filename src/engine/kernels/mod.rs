//! The one place of the engine where `unsafe` may stand: each use is short, stated and tested.

mod blocks;
mod bytes;
mod cores;
mod float;
mod halves;
mod large_pages;
pub(crate) mod packed;
mod pool;
mod probe;
mod target;
mod trim;

pub(crate) use blocks::{Block, Iq4Nl, Iq4Xs, Mxfp4};
pub(crate) use bytes::{SHARED, ToBytes, WidenAcross, WidenAlong};
pub(crate) use float::{Float, FloatProduct};
pub(crate) use halves::widen;
use large_pages::ask_for_large_pages;
pub(crate) use pool::for_each;
pub use pool::{TooLate, set_threads, threads};
pub use probe::{multiply_rate, read_rate};
pub(crate) use target::*;
pub use target::{InstructionSet, InstructionsError, set_instructions};
pub use trim::give_back_memory;
