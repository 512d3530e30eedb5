//! Products of bytes on x86-64.
#![expect(unsafe_code, reason = "vectors are read from memory and written to it")]

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_dpbusd_avx_epi32, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_setzero_si256,
    _mm256_storeu_si256, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_reduce_add_epi32,
    _mm512_setzero_si512,
};

use super::{COLUMNS, DEPTH, ROWS, Tile, black_box};

#[target_feature(enable = "avx2")]
#[inline]
fn load<T>(bytes: &[T; DEPTH], at: usize) -> __m256i {
    const { assert!(size_of::<T>() == 1) };
    let bytes = &bytes[at..at + 32];
    // SAFETY: the slice has the 32 bytes that are read; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn lanes(of: __m256i) -> i32 {
    let mut lanes = [0_i32; 8];
    // SAFETY: the array has the 32 bytes that are written; the store needs no alignment.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), of) };
    lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane))
}

// Below, sums are added up by their places: through a reference to all of them the compiler would
// keep them in memory.

/// Two columns at a time, so that the sums stay in the sixteen registers.
#[target_feature(enable = "avx2")]
pub(super) fn sum_avx2(tile: &Tile, times: usize) -> i32 {
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
    for _ in 0..times {
        let tile = black_box(tile);
        for columns in tile.columns.as_chunks::<2>().0 {
            for at in (0..DEPTH).step_by(32) {
                let right = [load(&columns[0], at), load(&columns[1], at)];
                for (row, sums) in tile.rows.iter().zip(&mut sums) {
                    let left = load(row, at);
                    for (right, sum) in right.iter().zip(sums) {
                        let pairs = _mm256_maddubs_epi16(left, *right);
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                    }
                }
            }
        }
    }
    let [[a, b], [c, d], [e, f], [g, h]] = sums;
    let halves = [lanes(a), lanes(b), lanes(c), lanes(d), lanes(e), lanes(f), lanes(g), lanes(h)];
    halves.iter().fold(0, |sum, half| sum.wrapping_add(*half))
}

/// The same with the instruction that does all three.
#[target_feature(enable = "avx2,avxvnni")]
pub(super) fn sum_avx_vnni(tile: &Tile, times: usize) -> i32 {
    let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
    for _ in 0..times {
        let tile = black_box(tile);
        for columns in tile.columns.as_chunks::<2>().0 {
            for at in (0..DEPTH).step_by(32) {
                let right = [load(&columns[0], at), load(&columns[1], at)];
                for (row, sums) in tile.rows.iter().zip(&mut sums) {
                    let left = load(row, at);
                    for (right, sum) in right.iter().zip(sums) {
                        *sum = _mm256_dpbusd_avx_epi32(*sum, left, *right);
                    }
                }
            }
        }
    }
    let [[a, b], [c, d], [e, f], [g, h]] = sums;
    let halves = [lanes(a), lanes(b), lanes(c), lanes(d), lanes(e), lanes(f), lanes(g), lanes(h)];
    halves.iter().fold(0, |sum, half| sum.wrapping_add(*half))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load_wide<T>(bytes: &[T; DEPTH], at: usize) -> __m512i {
    const { assert!(size_of::<T>() == 1) };
    let bytes = &bytes[at..at + 64];
    // SAFETY: the slice has the 64 bytes that are read; the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn sum_avx512_vnni(tile: &Tile, times: usize) -> i32 {
    let mut sums = [[_mm512_setzero_si512(); COLUMNS]; ROWS];
    for _ in 0..times {
        let tile = black_box(tile);
        for at in (0..DEPTH).step_by(64) {
            let mut right = [_mm512_setzero_si512(); COLUMNS];
            for (right, column) in right.iter_mut().zip(&tile.columns) {
                *right = load_wide(column, at);
            }
            for (row, sums) in tile.rows.iter().zip(&mut sums) {
                let left = load_wide(row, at);
                for (right, sum) in right.iter().zip(sums) {
                    *sum = _mm512_dpbusd_epi32(*sum, left, *right);
                }
            }
        }
    }
    let [a, b, c, d] = sums;
    let mut sum = 0_i32;
    for [e, f, g, h] in [a, b, c, d] {
        let (e, f) = (_mm512_reduce_add_epi32(e), _mm512_reduce_add_epi32(f));
        let (g, h) = (_mm512_reduce_add_epi32(g), _mm512_reduce_add_epi32(h));
        sum = sum.wrapping_add(e).wrapping_add(f).wrapping_add(g).wrapping_add(h);
    }
    sum
}
