//! The parts of a decoder layer. Each takes and gives candle tensors of rows, [tokens, width].

mod block_matrix;
mod elementwise;
mod linear;
mod packed_matrix;
mod parallel;
mod rope;

pub(crate) use elementwise::{
    Activation, Norm, NormKind, activate, activate_alone, add_into, scale_by,
};
pub(crate) use linear::{Linear, project};
pub(crate) use parallel::for_each_part;
pub(crate) use rope::{Heads, Rope, RopeAngles, RopeKind, Stretch, YarnBorders};
