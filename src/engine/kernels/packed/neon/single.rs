//! One row after the other: products of pairs of bytes, which every machine has, or of fours.
#![expect(unsafe_code, reason = "vectors are read from memory and written to it")]
#![expect(clippy::inline_always, reason = "see `Kernel`")]

use std::arch::aarch64::{
    float32x4_t, int8x16_t, int16x8_t, int32x4_t, vaddq_s32, vcvtq_f32_s32, vdupq_n_f32,
    vdupq_n_s16, vdupq_n_s32, vfmaq_f32, vfmaq_n_f32, vfmsq_n_f32, vget_low_s8, vld1q_s8,
    vmlal_high_s8, vmlal_s8, vmulq_f32, vmulq_n_f32, vpadalq_s16, vpaddq_s32, vreinterpretq_s8_s32,
    vst1q_f32,
};

use super::super::activations::Piece;
use super::super::dispatch::{bring_for_few, for_layout, for_rows};
use super::super::format::{Layout, layout};
use super::super::lines::{Lanes, Line};
use super::super::tile::Tile;
use super::unpack::unpack;
use super::{QUARTER, STRETCH, minima, minimum, scale, scales, start};
use crate::engine::kernels::arm::Dotprod;

/// Multiplies a tile with as many rows as `out` has, at most eight.
#[target_feature(enable = "neon")]
pub(in super::super) fn multiply(
    way: impl MultiplyBytes,
    tile: Tile<'_>,
    pieces: &[Piece],
    out: &mut [Lanes],
) {
    for_layout!(tile.layout, by_rows(way, tile, pieces, out));
}

#[target_feature(enable = "neon")]
fn by_rows<const LAYOUT: usize>(
    way: impl MultiplyBytes,
    tile: Tile<'_>,
    pieces: &[Piece],
    out: &mut [Lanes],
) {
    for_rows!(out.len(), rows::<LAYOUT>(way, tile, pieces, out));
}

/// A way to multiply bytes.
pub(in super::super) trait MultiplyBytes: Copy {
    /// Adds the products of some quads of columns. The codes are of the layout's width.
    fn dot<const LAYOUT: usize, const QUADS: usize>(
        self,
        weights: &[int8x16_t; QUADS],
        codes: &[[u8; 4]; QUADS],
        start: int32x4_t,
    ) -> int32x4_t;
}

/// By pairs, as every machine can.
#[derive(Clone, Copy)]
pub(in super::super) struct InPairs;

impl MultiplyBytes for InPairs {
    #[inline(always)]
    fn dot<const LAYOUT: usize, const QUADS: usize>(
        self,
        weights: &[int8x16_t; QUADS],
        codes: &[[u8; 4]; QUADS],
        start: int32x4_t,
    ) -> int32x4_t {
        // SAFETY: NEON is part of 64-bit ARM.
        unsafe { in_pairs::<LAYOUT, QUADS>(weights, codes, start) }
    }
}

impl MultiplyBytes for Dotprod {
    #[inline(always)]
    fn dot<const LAYOUT: usize, const QUADS: usize>(
        self,
        weights: &[int8x16_t; QUADS],
        codes: &[[u8; 4]; QUADS],
        start: int32x4_t,
    ) -> int32x4_t {
        // SAFETY: NEON is part of 64-bit ARM.
        unsafe { in_fours::<QUADS>(self, weights, codes, start) }
    }
}

/// Products are added in 16 bits as often as they fit: one of w bits by 127 is below 2^(w + 7), and
/// of those of eight bits, which are signed, at most 2^14.
#[target_feature(enable = "neon")]
#[inline]
fn in_pairs<const LAYOUT: usize, const QUADS: usize>(
    weights: &[int8x16_t; QUADS],
    codes: &[[u8; 4]; QUADS],
    start: int32x4_t,
) -> int32x4_t {
    let width = const { layout(LAYOUT).code().width() };
    let together = 256 >> if width == 8 { 7 } else { width };
    let (mut first, mut second) = (vdupq_n_s32(0), vdupq_n_s32(0));
    for (weights, codes) in weights.chunks(together).zip(codes.chunks(together)) {
        let [mut low, mut high]: [int16x8_t; 2] = [vdupq_n_s16(0); 2];
        for (weights, codes) in weights.iter().zip(codes) {
            let codes = vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(*codes)));
            low = vmlal_s8(low, vget_low_s8(*weights), vget_low_s8(codes));
            high = vmlal_high_s8(high, *weights, codes);
        }
        first = vpadalq_s16(first, low);
        second = vpadalq_s16(second, high);
    }
    vaddq_s32(vpaddq_s32(first, second), start)
}

#[target_feature(enable = "neon")]
#[inline]
fn in_fours<const QUADS: usize>(
    dotprod: Dotprod,
    weights: &[int8x16_t; QUADS],
    codes: &[[u8; 4]; QUADS],
    start: int32x4_t,
) -> int32x4_t {
    let mut sum = start;
    let fours = weights.as_chunks::<4>().0.iter().zip(codes.as_chunks::<4>().0);
    for (weights, codes) in fours {
        // SAFETY: an array of 16 bytes is read.
        let codes = unsafe { vld1q_s8(codes.as_ptr().cast()) };
        sum = dotprod.dot_fours(sum, weights, codes);
    }
    sum
}

#[target_feature(enable = "neon")]
fn rows<const LAYOUT: usize, const ROWS: usize>(
    way: impl MultiplyBytes,
    tile: Tile<'_>,
    pieces: &[Piece],
    out: &mut [Lanes],
) {
    let layout = const { layout(LAYOUT) };
    let mut sums = [[vdupq_n_f32(0.0); ROWS]; 4];
    let stretches = tile
        .lines
        .chunks(STRETCH * layout.code().lines())
        .zip(tile.heads.chunks(STRETCH / layout.groups() * layout.heads().bytes()))
        .zip(pieces.as_chunks::<ROWS>().0.chunks(STRETCH));
    for ((lines, heads), pieces) in stretches {
        bring_for_few::<_, ROWS>(lines);
        bring_for_few::<_, ROWS>(heads);
        for (quarter, sums) in sums.iter_mut().enumerate() {
            *sums = if layout.groups() == 1 {
                small::<LAYOUT, ROWS>(way, (lines, heads, quarter), pieces, *sums)
            } else {
                large::<LAYOUT, ROWS>(way, (lines, heads, quarter), pieces, *sums)
            };
        }
    }
    for (quarter, sums) in sums.iter().enumerate() {
        for (out, sum) in out.iter_mut().zip(sums) {
            let out = &mut out.0.as_chunks_mut::<QUARTER>().0[quarter];
            // SAFETY: an array of four numbers is written.
            unsafe { vst1q_f32(out.as_mut_ptr(), *sum) };
        }
    }
}

/// Adds the products of some blocks of one group.
#[target_feature(enable = "neon")]
#[inline]
fn small<const LAYOUT: usize, const ROWS: usize>(
    way: impl MultiplyBytes,
    (lines, heads, quarter): (&[Line], &[u8], usize),
    pieces: &[[Piece; ROWS]],
    mut sums: [float32x4_t; ROWS],
) -> [float32x4_t; ROWS] {
    let layout = const { layout(LAYOUT) };
    let blocks =
        lines.chunks_exact(layout.code().lines()).zip(heads.chunks_exact(layout.heads().bytes()));
    for ((lines, heads), pieces) in blocks.zip(pieces) {
        let weights = unpack::<LAYOUT>(lines, quarter);
        let scale = scale::<LAYOUT>(heads, quarter);
        for (piece, sum) in pieces.iter().zip(&mut sums) {
            let start = vdupq_n_s32(start(layout, piece.less));
            let dot = way.dot::<LAYOUT, 8>(&weights, &piece.codes, start);
            let product = vmulq_n_f32(vcvtq_f32_s32(dot), piece.scale);
            *sum = vfmaq_f32(*sum, product, scale);
        }
        if layout.code().has_minima() {
            let base = minimum(heads, quarter);
            for (piece, sum) in pieces.iter().zip(&mut sums) {
                *sum = vfmsq_n_f32(*sum, base, piece.under);
            }
        }
    }
    sums
}

/// Adds the products of a block of eight groups.
#[target_feature(enable = "neon")]
#[inline]
fn large<const LAYOUT: usize, const ROWS: usize>(
    way: impl MultiplyBytes,
    (lines, heads, quarter): (&[Line], &[u8], usize),
    pieces: &[[Piece; ROWS]],
    mut sums: [float32x4_t; ROWS],
) -> [float32x4_t; ROWS] {
    let layout = const { layout(LAYOUT) };
    let mut inner = [vdupq_n_f32(0.0); ROWS];
    let groups = lines.chunks_exact(layout.code().lines()).zip(pieces);
    for (group, (lines, pieces)) in groups.enumerate() {
        let weights = unpack::<LAYOUT>(lines, quarter);
        let scales = scales::<LAYOUT>(heads, group, quarter);
        for (piece, inner) in pieces.iter().zip(&mut inner) {
            let product = product::<LAYOUT>(way, &weights, piece, scales);
            *inner = vfmaq_n_f32(*inner, product, piece.scale);
        }
    }
    let scale = scale::<LAYOUT>(heads, quarter);
    for (inner, sum) in inner.iter().zip(&mut sums) {
        *sum = vfmaq_f32(*sum, *inner, scale);
    }
    if layout.code().has_minima() {
        let mut under = [vdupq_n_f32(0.0); ROWS];
        for (group, pieces) in pieces.iter().enumerate() {
            let [first, second] = minima::<LAYOUT>(heads, group, quarter);
            for (piece, under) in pieces.iter().zip(&mut under) {
                if layout.code().parts() == 1 {
                    *under = vfmaq_n_f32(*under, first, piece.under);
                } else {
                    let [less, more] = piece.half_under;
                    *under = vfmaq_n_f32(*under, first, less);
                    *under = vfmaq_n_f32(*under, second, more);
                }
            }
        }
        let minimum = minimum(heads, quarter);
        for (under, sum) in under.iter().zip(&mut sums) {
            *sum = vfmaq_f32(*sum, *under, minimum);
        }
    }
    sums
}

/// The products of a group, with the scales of its parts alone.
#[target_feature(enable = "neon")]
#[inline]
fn product<const LAYOUT: usize>(
    way: impl MultiplyBytes,
    weights: &[int8x16_t; 8],
    piece: &Piece,
    scales: [float32x4_t; 2],
) -> float32x4_t {
    let layout = const { layout(LAYOUT) };
    if layout.code().parts() == 1 {
        let start = vdupq_n_s32(start(layout, piece.less));
        let dot = way.dot::<LAYOUT, 8>(weights, &piece.codes, start);
        return vmulq_f32(vcvtq_f32_s32(dot), scales[0]);
    }
    let [less, more] = piece.half_less.map(|less| vdupq_n_s32(start(layout, less)));
    let ([a, b], [w, x]) = (weights.as_chunks::<4>().0, piece.codes.as_chunks::<4>().0) else {
        return vdupq_n_f32(0.0);
    };
    let [first, second] = [way.dot::<LAYOUT, 4>(a, w, less), way.dot::<LAYOUT, 4>(b, x, more)];
    let product = vmulq_f32(vcvtq_f32_s32(first), scales[0]);
    vfmaq_f32(product, vcvtq_f32_s32(second), scales[1])
}
