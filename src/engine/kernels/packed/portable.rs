//! The kernel in plain Rust: the twin of the others, and what runs where there are none.
#![expect(clippy::inline_always, reason = "see `Kernel`")]

use super::activations::{PANEL, Piece};
use super::format::{Code, GROUP, Layout};
use super::heads;
use super::lines::{LANES, Lanes, Line, codes};
use super::tile::{Results, Tile, Tiles, tile_by_tile};
use crate::engine::kernels::{Kernel, multiply_add};

/// Multiplies tiles with the rows of a panel.
pub(super) struct Portable<'a, 'out> {
    pub(super) tiles: Tiles<'a>,
    /// [groups, rows]
    pub(super) pieces: &'a [Piece],
    /// [rows], overwritten.
    pub(super) out: &'a mut Results<'out>,
}

impl Kernel for Portable<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { tiles, pieces, out } = self;
        tile_by_tile(tiles, out, |tile, sums| multiply::<FUSED>(tile, pieces, sums));
    }
}

/// The products of a tile with each row.
#[inline(always)]
fn multiply<const FUSED: bool>(tile: Tile<'_>, pieces: &[Piece], out: &mut [Lanes]) {
    out.fill(Lanes::ZERO);
    let (layout, count) = (tile.layout, out.len());
    let blocks = tile
        .lines
        .chunks_exact(layout.groups() * layout.code().lines())
        .zip(tile.heads.chunks_exact(layout.heads().bytes()))
        .zip(pieces.chunks_exact(layout.groups() * count));
    for ((lines, heads), pieces) in blocks {
        let [scale, minimum] = heads::of_block(layout, heads);
        let mut sums = [[Lanes::ZERO; 2]; PANEL];
        let groups = lines.chunks_exact(layout.code().lines()).zip(pieces.chunks_exact(count));
        for (group, (lines, pieces)) in groups.enumerate() {
            let whole = unpacked(layout.code(), lines);
            let parts = layout.code().parts();
            let of_parts: [_; 2] = std::array::from_fn(|part| {
                heads::of_part(layout, heads, group * parts + part.min(parts - 1))
            });
            for (piece, sums) in pieces.iter().zip(&mut sums) {
                add::<FUSED>(layout, &whole, piece, &of_parts[..parts], sums);
            }
        }
        for ([sum, under], out) in sums.iter().zip(&mut *out) {
            add_product::<FUSED>(sum, &scale, out);
            if layout.code().has_minima() {
                add_product::<FUSED>(under, &minimum, out);
            }
        }
    }
}

#[inline(always)]
fn unpacked(code: Code, lines: &[Line]) -> [[[u8; 4]; LANES]; GROUP / 4] {
    let mut whole = [[[0; 4]; LANES]; GROUP / 4];
    for (quad, whole) in whole.iter_mut().enumerate() {
        for (lane, whole) in whole.iter_mut().enumerate() {
            *whole = codes(code, lines, quad, lane);
        }
    }
    whole
}

/// `out += a * b`
#[inline(always)]
fn add_product<const FUSED: bool>(a: &Lanes, b: &Lanes, out: &mut Lanes) {
    for ((out, a), b) in out.0.iter_mut().zip(a.0).zip(b.0) {
        *out = multiply_add::<FUSED>(a, b, *out);
    }
}

/// Adds the products of a group to the sums of a block, without its scales, in the order of the other
/// kernels.
#[inline(always)]
fn add<const FUSED: bool>(
    layout: Layout,
    whole: &[[[u8; 4]; LANES]; GROUP / 4],
    piece: &Piece,
    of_parts: &[[Lanes; 2]],
    [sum, under]: &mut [Lanes; 2],
) {
    let is_whole = of_parts.len() == 1;
    let less: &[i32] = if is_whole { &[piece.less] } else { &piece.half_less };
    let unders: &[f32] = if is_whole { &[piece.under] } else { &piece.half_under };
    let quads = GROUP / 4 / of_parts.len();
    let mut product = Lanes::ZERO;
    for (part, ([scale, minimum], (less, of_piece))) in
        of_parts.iter().zip(less.iter().zip(unders)).enumerate()
    {
        let quads = part * quads..(part + 1) * quads;
        let quads = whole[quads.clone()].iter().zip(&piece.codes[quads]);
        let dots = dots(quads, less * i32::from(layout.code().offset()));
        for ((product, dot), scale) in product.0.iter_mut().zip(dots).zip(scale.0) {
            // The first is a product alone.
            *product = match part {
                0 => dot as f32 * scale,
                _ => multiply_add::<FUSED>(dot as f32, scale, *product),
            };
        }
        add_product::<FUSED>(minimum, &Lanes([*of_piece; LANES]), under);
    }
    add_product::<FUSED>(&product, &Lanes([piece.scale; LANES]), sum);
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
