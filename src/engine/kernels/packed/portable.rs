//! The kernel in plain Rust: the twin of the others, and what runs where there are none.
#![expect(clippy::inline_always, reason = "see `Kernel`")]

use super::activations::Piece;
use super::format::GROUP;
use super::lines::{LANES, Lanes, codes};
use super::tile::Tile;
use crate::engine::kernels::{Kernel, multiply_add};

/// Multiplies a tile with the rows of a panel.
pub(super) struct Portable<'a> {
    pub(super) tile: Tile<'a>,
    /// [groups, rows]
    pub(super) pieces: &'a [Piece],
    /// [rows], overwritten.
    pub(super) out: &'a mut [Lanes],
}

impl Kernel for Portable<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { tile, pieces, out } = self;
        out.fill(Lanes::ZERO);
        let (code, parts) = (tile.code, tile.code.parts());
        let groups = tile.lines.chunks_exact(code.lines()).zip(pieces.chunks_exact(out.len()));
        for (group, (lines, pieces)) in groups.enumerate() {
            let mut whole = [[[0; 4]; LANES]; GROUP / 4];
            for (quad, whole) in whole.iter_mut().enumerate() {
                for (lane, whole) in whole.iter_mut().enumerate() {
                    *whole = codes(code, lines, quad, lane);
                }
            }
            let scales = &tile.scales[group * parts..][..parts];
            let minima = tile.minima.get(group * parts..(group + 1) * parts).unwrap_or_default();
            for (piece, out) in pieces.iter().zip(&mut *out) {
                let mut sum = Lanes::ZERO;
                for part in 0..parts {
                    let less = if parts == 1 { piece.less } else { piece.half_less[part] };
                    let quads = part * (8 / parts)..(part + 1) * (8 / parts);
                    let whole = whole[quads.clone()].iter().zip(&piece.codes[quads]);
                    let dot = dots(whole, less * i32::from(code.offset()));
                    for lane in 0..LANES {
                        let (dot, scale) = (dot[lane] as f32, scales[part].0[lane]);
                        // The first is a product, as it is in the other kernels.
                        sum.0[lane] = match part {
                            0 => dot * scale,
                            _ => multiply_add::<FUSED>(dot, scale, sum.0[lane]),
                        };
                    }
                }
                for (part, minimum) in minima.iter().enumerate() {
                    let less = if parts == 1 { piece.less } else { piece.half_less[part] };
                    for lane in 0..LANES {
                        sum.0[lane] =
                            multiply_add::<FUSED>(less as f32, minimum.0[lane], sum.0[lane]);
                    }
                }
                for lane in 0..LANES {
                    out.0[lane] = multiply_add::<FUSED>(sum.0[lane], piece.scale, out.0[lane]);
                }
            }
        }
    }
}

/// The products of some quads of columns for each row of weights, added to a number.
#[inline(always)]
fn dots<'a>(
    quads: impl Iterator<Item = (&'a [[u8; 4]; LANES], &'a [u8; 4])>,
    start: i32,
) -> [i32; LANES] {
    let mut dots = [start; LANES];
    for (whole, codes) in quads {
        let codes = codes.map(|code| i32::from(code.cast_signed()));
        for (dot, whole) in dots.iter_mut().zip(whole) {
            for (weight, code) in whole.iter().zip(codes) {
                *dot += i32::from(*weight) * code;
            }
        }
    }
    dots
}
