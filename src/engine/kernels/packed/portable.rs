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
                let part = product::<FUSED>(&whole, piece, [scales, minima], code.offset());
                for (out, part) in out.0.iter_mut().zip(part.0) {
                    *out = multiply_add::<FUSED>(part, piece.scale, *out);
                }
            }
        }
    }
}

/// The products of a group without the row's scale, in the order of the other kernels.
#[inline(always)]
fn product<const FUSED: bool>(
    whole: &[[[u8; 4]; LANES]; GROUP / 4],
    piece: &Piece,
    [scales, minima]: [&[Lanes]; 2],
    offset: u8,
) -> Lanes {
    let less: &[i32] = if scales.len() == 1 { &[piece.less] } else { &piece.half_less };
    let quads = GROUP / 4 / scales.len();
    let mut sum = Lanes::ZERO;
    for (part, (scale, less)) in scales.iter().zip(less).enumerate() {
        let quads = part * quads..(part + 1) * quads;
        let quads = whole[quads.clone()].iter().zip(&piece.codes[quads]);
        let dots = dots(quads, less * i32::from(offset));
        for ((sum, dot), scale) in sum.0.iter_mut().zip(dots).zip(scale.0) {
            // The first is a product alone.
            *sum = match part {
                0 => dot as f32 * scale,
                _ => multiply_add::<FUSED>(dot as f32, scale, *sum),
            };
        }
    }
    for (minimum, less) in minima.iter().zip(less) {
        for (sum, minimum) in sum.0.iter_mut().zip(minimum.0) {
            *sum = multiply_add::<FUSED>(*less as f32, minimum, *sum);
        }
    }
    sum
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
