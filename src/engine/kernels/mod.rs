//! The one place of the engine where `unsafe` may stand: each use is short, stated and tested.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "aarch64")]
mod arm;
mod blocks;
mod bring;
mod bytes;
mod cores;
mod float;
mod halves;
mod mix;
pub(crate) mod packed;
mod pool;
mod probe;
#[cfg(feature = "bench")]
mod races;
mod reductions;
mod room;
mod target;
mod trim;

pub(crate) use blocks::{Block, Iq4Nl, Iq4Xs, Mxfp4};
pub(crate) use bring::{Ahead, bring_behind};
pub(crate) use bytes::{SHARED, ToBytes, Widen};
pub(crate) use float::{Float, FloatProduct};
pub(crate) use halves::widen;
pub(crate) use mix::{Apart, Mix};
pub(crate) use pool::for_each;
pub use pool::{TooLate, set_threads, threads};
pub use probe::{multiply_rate, read_rate};
#[cfg(feature = "bench")]
pub use races::{Race, races};
pub(crate) use reductions::{ExpSum, Highest, Sum, SumOfSquares};
pub(crate) use room::{Rooms, ask_for_large_pages};
pub(crate) use target::*;
pub use target::{InstructionSet, InstructionsError, set_instructions};
pub use trim::give_back_memory;
