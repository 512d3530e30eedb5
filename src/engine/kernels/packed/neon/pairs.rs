//! Two rows at a time: products of matrices of two by eight bytes with such of eight by two.
//!
//! A vector of results has two rows of activations by two of weights: of the first row with both, then
//! of the second. All sums stay in this order until the tile is done. A last row that has no other
//! beside it is taken twice.
#![expect(unsafe_code, reason = "vectors are read from memory and written to it")]

use std::arch::aarch64::{
    float32x4_t, int8x8_t, int8x16_t, int32x4_t, vcombine_f32, vcombine_s8, vcombine_s32,
    vcvtq_f32_s32, vdup_n_f32, vdup_n_s32, vdupq_n_f32, vdupq_n_s8, vdupq_n_s32, vfmaq_f32,
    vfmsq_f32, vget_high_f32, vget_low_f32, vld1_s8, vmulq_f32, vreinterpretq_s8_s32,
    vreinterpretq_s32_s8, vst1q_f32, vzip1q_s32, vzip2q_s32,
};

use super::super::activations::Piece;
use super::super::dispatch::{bring_for, for_layout};
use super::super::format::{Layout, layout};
use super::super::lines::{Lanes, Line};
use super::super::tile::Tile;
use super::unpack::unpack;
use super::{QUARTER, STRETCH, minima, minimum, scale, scales, start};
use crate::engine::kernels::arm::I8mm;

/// Multiplies a tile with as many rows as `out` has, at most eight.
#[target_feature(enable = "neon")]
pub(in super::super) fn multiply_pairs(
    i8mm: I8mm,
    tile: Tile<'_>,
    pieces: &[Piece],
    out: &mut [Lanes],
) {
    for_layout!(tile.layout, by_rows(i8mm, tile, pieces, out));
}

#[target_feature(enable = "neon")]
fn by_rows<const LAYOUT: usize>(i8mm: I8mm, tile: Tile<'_>, pieces: &[Piece], out: &mut [Lanes]) {
    match out.len() {
        0..=2 => rows::<LAYOUT, 1>(i8mm, tile, pieces, out),
        3..=4 => rows::<LAYOUT, 2>(i8mm, tile, pieces, out),
        5..=6 => rows::<LAYOUT, 3>(i8mm, tile, pieces, out),
        _ => rows::<LAYOUT, 4>(i8mm, tile, pieces, out),
    }
}

/// A group of two rows of activations.
#[derive(Clone, Copy)]
struct Pair {
    /// Eight columns of both in each.
    codes: [int8x16_t; 4],
    scale: float32x4_t,
    /// Where the sums of the parts begin, or, where there is one part, that of all.
    starts: [int32x4_t; 2],
    /// What multiplies the minima in the same way.
    unders: [float32x4_t; 2],
}

impl Pair {
    #[target_feature(enable = "neon")]
    #[inline]
    fn nothing() -> Self {
        let nothing = vdupq_n_f32(0.0);
        Self {
            codes: [vdupq_n_s8(0); 4],
            scale: nothing,
            starts: [vdupq_n_s32(0); 2],
            unders: [nothing; 2],
        }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn of<const LAYOUT: usize>(first: &Piece, second: &Piece) -> Self {
        let layout = const { layout(LAYOUT) };
        let codes = |at: usize| vcombine_s8(eight(first, at), eight(second, at));
        let beginning = |first: i32, second: i32| {
            vcombine_s32(vdup_n_s32(start(layout, first)), vdup_n_s32(start(layout, second)))
        };
        let (starts, unders) = if layout.code().parts() == 1 {
            let (start, under) =
                (beginning(first.less, second.less), both(first.under, second.under));
            ([start; 2], [under; 2])
        } else {
            let part = |at: usize| beginning(first.half_less[at], second.half_less[at]);
            let under = |at: usize| both(first.half_under[at], second.half_under[at]);
            ([part(0), part(1)], [under(0), under(1)])
        };
        Self {
            codes: [codes(0), codes(1), codes(2), codes(3)],
            scale: both(first.scale, second.scale),
            starts,
            unders,
        }
    }
}

/// A number for each of two rows of activations.
#[target_feature(enable = "neon")]
#[inline]
fn both(first: f32, second: f32) -> float32x4_t {
    vcombine_f32(vdup_n_f32(first), vdup_n_f32(second))
}

/// Eight codes of a group at a place, in eights.
#[target_feature(enable = "neon")]
#[inline]
fn eight(piece: &Piece, place: usize) -> int8x8_t {
    let eight = &piece.codes.as_chunks::<2>().0[place];
    // SAFETY: an array of eight bytes is read.
    unsafe { vld1_s8(eight.as_ptr().cast()) }
}

/// Of the first two of four rows of weights, and of the other two.
type Sides<T> = [T; 2];

/// `PAIRS` are half of the rows, rounded up.
#[target_feature(enable = "neon")]
fn rows<const LAYOUT: usize, const PAIRS: usize>(
    i8mm: I8mm,
    tile: Tile<'_>,
    pieces: &[Piece],
    out: &mut [Lanes],
) {
    let layout = const { layout(LAYOUT) };
    let count = out.len();
    let mut sums = [[[vdupq_n_f32(0.0); 2]; PAIRS]; 4];
    let mut groups = [[Pair::nothing(); PAIRS]; STRETCH];
    let stretches = tile
        .lines
        .chunks(STRETCH * layout.code().lines())
        .zip(tile.heads.chunks(STRETCH / layout.groups() * layout.heads().bytes()))
        .zip(pieces.chunks(STRETCH * count));
    for ((lines, heads), pieces) in stretches {
        bring_for(count, lines);
        bring_for(count, heads);
        for (group, pieces) in groups.iter_mut().zip(pieces.chunks_exact(count)) {
            for (pair, pieces) in group.iter_mut().zip(pieces.chunks(2)) {
                if let (Some(first), Some(second)) = (pieces.first(), pieces.last()) {
                    *pair = Pair::of::<LAYOUT>(first, second);
                }
            }
        }
        for (quarter, sums) in sums.iter_mut().enumerate() {
            *sums = if layout.groups() == 1 {
                small::<LAYOUT, PAIRS>(i8mm, (lines, heads, quarter), &groups, *sums)
            } else {
                large::<LAYOUT, PAIRS>(i8mm, (lines, heads, quarter), &groups, *sums)
            };
        }
    }
    for (quarter, sums) in sums.iter().enumerate() {
        for (out, [first, second]) in out.chunks_mut(2).zip(sums) {
            let rows = [
                vcombine_f32(vget_low_f32(*first), vget_low_f32(*second)),
                vcombine_f32(vget_high_f32(*first), vget_high_f32(*second)),
            ];
            for (out, row) in out.iter_mut().zip(rows) {
                let out = &mut out.0.as_chunks_mut::<QUARTER>().0[quarter];
                // SAFETY: an array of four numbers is written.
                unsafe { vst1q_f32(out.as_mut_ptr(), row) };
            }
        }
    }
}

/// Adds the products of some blocks of one group.
#[target_feature(enable = "neon")]
#[inline]
fn small<const LAYOUT: usize, const PAIRS: usize>(
    i8mm: I8mm,
    (lines, heads, quarter): (&[Line], &[u8], usize),
    groups: &[[Pair; PAIRS]; STRETCH],
    mut sums: [Sides<float32x4_t>; PAIRS],
) -> [Sides<float32x4_t>; PAIRS] {
    let layout = const { layout(LAYOUT) };
    let blocks =
        lines.chunks_exact(layout.code().lines()).zip(heads.chunks_exact(layout.heads().bytes()));
    for ((lines, heads), pairs) in blocks.zip(groups) {
        let weights = by_eights(unpack::<LAYOUT>(lines, quarter));
        let scale = sides(scale::<LAYOUT>(heads, quarter));
        for (pair, sums) in pairs.iter().zip(&mut sums) {
            let dots = dots(i8mm, &weights, &pair.codes, pair.starts[0]);
            for side in 0..2 {
                let product = vmulq_f32(vcvtq_f32_s32(dots[side]), pair.scale);
                sums[side] = vfmaq_f32(sums[side], product, scale[side]);
            }
        }
        if layout.code().has_minima() {
            let base = sides(minimum(heads, quarter));
            for (pair, sums) in pairs.iter().zip(&mut sums) {
                for side in 0..2 {
                    sums[side] = vfmsq_f32(sums[side], base[side], pair.unders[0]);
                }
            }
        }
    }
    sums
}

/// Adds the products of a block of eight groups.
#[target_feature(enable = "neon")]
#[inline]
fn large<const LAYOUT: usize, const PAIRS: usize>(
    i8mm: I8mm,
    (lines, heads, quarter): (&[Line], &[u8], usize),
    groups: &[[Pair; PAIRS]; STRETCH],
    mut sums: [Sides<float32x4_t>; PAIRS],
) -> [Sides<float32x4_t>; PAIRS] {
    let layout = const { layout(LAYOUT) };
    let mut inner = [[vdupq_n_f32(0.0); 2]; PAIRS];
    let lines = lines.chunks_exact(layout.code().lines()).zip(groups);
    for (group, (lines, pairs)) in lines.enumerate() {
        let weights = by_eights(unpack::<LAYOUT>(lines, quarter));
        let [scales, more] = scales::<LAYOUT>(heads, group, quarter);
        let scales = [sides(scales), sides(more)];
        for (pair, inner) in pairs.iter().zip(&mut inner) {
            let products = products::<LAYOUT>(i8mm, &weights, pair, scales);
            for side in 0..2 {
                inner[side] = vfmaq_f32(inner[side], products[side], pair.scale);
            }
        }
    }
    add_products(&inner, sides(scale::<LAYOUT>(heads, quarter)), &mut sums);
    if layout.code().has_minima() {
        let mut under = [[vdupq_n_f32(0.0); 2]; PAIRS];
        for (group, pairs) in groups.iter().enumerate() {
            let [first, second] = minima::<LAYOUT>(heads, group, quarter);
            let minima = [sides(first), sides(second)];
            for (pair, under) in pairs.iter().zip(&mut under) {
                let parts = minima.iter().zip(pair.unders).take(layout.code().parts());
                for (minima, of_pair) in parts {
                    for side in 0..2 {
                        under[side] = vfmaq_f32(under[side], minima[side], of_pair);
                    }
                }
            }
        }
        add_products(&under, sides(minimum(heads, quarter)), &mut sums);
    }
    sums
}

/// `sums += numbers * scale`
#[target_feature(enable = "neon")]
#[inline]
fn add_products<const PAIRS: usize>(
    numbers: &[Sides<float32x4_t>; PAIRS],
    scale: Sides<float32x4_t>,
    sums: &mut [Sides<float32x4_t>; PAIRS],
) {
    for (numbers, sums) in numbers.iter().zip(sums) {
        for side in 0..2 {
            sums[side] = vfmaq_f32(sums[side], numbers[side], scale[side]);
        }
    }
}

/// The products of a group, with the scales of its parts alone.
#[target_feature(enable = "neon")]
#[inline]
fn products<const LAYOUT: usize>(
    i8mm: I8mm,
    weights: &[Sides<int8x16_t>; 4],
    pair: &Pair,
    [scales, more]: [Sides<float32x4_t>; 2],
) -> Sides<float32x4_t> {
    let layout = const { layout(LAYOUT) };
    if layout.code().parts() == 1 {
        let dots = dots(i8mm, weights, &pair.codes, pair.starts[0]);
        let product = |side: usize| vmulq_f32(vcvtq_f32_s32(dots[side]), scales[side]);
        return [product(0), product(1)];
    }
    let ([a, b], [w, x]) = (weights.as_chunks::<2>().0, pair.codes.as_chunks::<2>().0) else {
        return scales;
    };
    let [first, second] = [dots(i8mm, a, w, pair.starts[0]), dots(i8mm, b, x, pair.starts[1])];
    let product = |side: usize| {
        let product = vmulq_f32(vcvtq_f32_s32(first[side]), scales[side]);
        vfmaq_f32(product, vcvtq_f32_s32(second[side]), more[side])
    };
    [product(0), product(1)]
}

#[target_feature(enable = "neon")]
#[inline]
fn dots<const EIGHTS: usize>(
    i8mm: I8mm,
    weights: &[Sides<int8x16_t>; EIGHTS],
    codes: &[int8x16_t; EIGHTS],
    start: int32x4_t,
) -> Sides<int32x4_t> {
    let [mut first, mut second] = [start; 2];
    for ([upper, lower], codes) in weights.iter().zip(codes) {
        first = i8mm.two_by_two(first, *codes, *upper);
        second = i8mm.two_by_two(second, *codes, *lower);
    }
    [first, second]
}

/// Four columns of four rows in each to eight columns of two.
#[target_feature(enable = "neon")]
#[inline]
fn by_eights(quads: [int8x16_t; 8]) -> [Sides<int8x16_t>; 4] {
    let sides = |at: usize| {
        let (left, right) = (vreinterpretq_s32_s8(quads[at]), vreinterpretq_s32_s8(quads[at + 1]));
        [
            vreinterpretq_s8_s32(vzip1q_s32(left, right)),
            vreinterpretq_s8_s32(vzip2q_s32(left, right)),
        ]
    };
    [sides(0), sides(2), sides(4), sides(6)]
}

/// A number of each of four rows of weights as they lie in the results.
#[target_feature(enable = "neon")]
#[inline]
fn sides(numbers: float32x4_t) -> Sides<float32x4_t> {
    let (low, high) = (vget_low_f32(numbers), vget_high_f32(numbers));
    [vcombine_f32(low, low), vcombine_f32(high, high)]
}
