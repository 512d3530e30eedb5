//! Products of bytes on 64-bit ARM. All bytes of a tile are below 128, and so may be signed.
#![expect(
    unsafe_code,
    reason = "vectors are read from memory, and the best instructions are assembler"
)]

use std::arch::aarch64::{
    int8x16_t, int32x4_t, vaddvq_s32, vcombine_s8, vdupq_n_s8, vdupq_n_s32, vget_low_s8, vld1_s8,
    vld1q_s8, vmlal_s8, vmull_high_s8, vpadalq_s16,
};

use super::super::arm::{Dotprod, I8mm};
use super::{COLUMNS, DEPTH, ROWS, Tile, black_box};

/// In two steps, by pairs.
#[target_feature(enable = "neon")]
pub(super) fn sum_neon(tile: &Tile, times: usize) -> i32 {
    let mut sums = [[vdupq_n_s32(0); COLUMNS]; ROWS];
    for _ in 0..times {
        let tile = black_box(tile);
        for at in (0..DEPTH).step_by(16) {
            let right = columns(tile, at);
            for (row, sums) in tile.rows.iter().zip(&mut sums) {
                let left = load(row, at);
                for (right, sum) in right.iter().zip(sums) {
                    let pairs = vmull_high_s8(left, *right);
                    let pairs = vmlal_s8(pairs, vget_low_s8(left), vget_low_s8(*right));
                    *sum = vpadalq_s16(*sum, pairs);
                }
            }
        }
    }
    total(sums.as_flattened())
}

/// In one step, by fours.
#[target_feature(enable = "neon")]
pub(super) fn sum_dotprod(dotprod: Dotprod, tile: &Tile, times: usize) -> i32 {
    let mut sums = [[vdupq_n_s32(0); COLUMNS]; ROWS];
    for _ in 0..times {
        let tile = black_box(tile);
        for at in (0..DEPTH).step_by(16) {
            let right = columns(tile, at);
            for (row, sums) in tile.rows.iter().zip(&mut sums) {
                let left = load(row, at);
                for (right, sum) in right.iter().zip(sums) {
                    *sum = dotprod.dot(*sum, left, *right);
                }
            }
        }
    }
    total(sums.as_flattened())
}

/// In one step, two rows by two columns. These are laid side by side once, before it is measured.
#[target_feature(enable = "neon")]
pub(super) fn sum_i8mm(i8mm: I8mm, tile: &Tile, times: usize) -> i32 {
    let (rows, columns) = (side_by_side(&tile.rows), side_by_side(&tile.columns));
    let mut sums = [[[vdupq_n_s32(0); 2]; COLUMNS / 2]; ROWS / 2];
    for _ in 0..times {
        let (rows, columns) = (black_box(&rows), black_box(&columns));
        for (rows, columns) in rows.as_chunks::<2>().0.iter().zip(columns.as_chunks::<2>().0) {
            for (rows, columns, part) in [(rows[0], columns[0], 0), (rows[1], columns[1], 1)] {
                for (left, sums) in rows.iter().zip(&mut sums) {
                    for (right, sum) in columns.iter().zip(sums) {
                        sum[part] = i8mm.two_by_two(sum[part], *left, *right);
                    }
                }
            }
        }
    }
    total(sums.as_flattened().as_flattened())
}

/// Eight bytes of two rows in a vector, two such for four rows.
#[target_feature(enable = "neon")]
fn side_by_side<T>(rows: &[[T; DEPTH]; 4]) -> [[int8x16_t; 2]; DEPTH / 8] {
    const { assert!(size_of::<T>() == 1) };
    let mut all = [[vdupq_n_s8(0); 2]; DEPTH / 8];
    for (at, both) in all.iter_mut().enumerate() {
        for (into, [first, second]) in both.iter_mut().zip(rows.as_chunks::<2>().0) {
            let [first, second] = [first, second].map(|row| &row.as_chunks::<8>().0[at]);
            // SAFETY: arrays of eight bytes are read.
            let eights = unsafe { [first, second].map(|row| vld1_s8(row.as_ptr().cast())) };
            *into = vcombine_s8(eights[0], eights[1]);
        }
    }
    all
}

#[target_feature(enable = "neon")]
#[inline]
fn columns(tile: &Tile, at: usize) -> [int8x16_t; COLUMNS] {
    let [a, b, c, d] = &tile.columns;
    [load(a, at), load(b, at), load(c, at), load(d, at)]
}

#[target_feature(enable = "neon")]
#[inline]
fn load<T>(bytes: &[T; DEPTH], at: usize) -> int8x16_t {
    const { assert!(size_of::<T>() == 1) };
    let bytes = &bytes[at..at + 16];
    // SAFETY: the slice has the 16 bytes that are read.
    unsafe { vld1q_s8(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "neon")]
fn total(sums: &[int32x4_t]) -> i32 {
    sums.iter().fold(0, |total, sum| total.wrapping_add(vaddvq_s32(*sum)))
}
