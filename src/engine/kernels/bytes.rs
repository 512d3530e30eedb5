//! Numbers in eight bits: signed whole numbers, and for every 32 of them one scale of 16 bits, as
//! Q8_0 of ggml has them.
#![expect(clippy::inline_always, reason = "see `Kernel`")]
#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(
        unsafe_code,
        reason = "instructions that are detected, and memory that they read and write"
    )
)]

use half::f16;

use super::{Kernel, Target};

/// Numbers that share a scale.
pub(crate) const SHARED: usize = 32;

/// The largest code.
const MOST: f32 = 127.0;

/// Rounds numbers to codes and scales. What is too large for both becomes the largest that there is; a
/// group with a NaN is read back as NaN.
pub(crate) struct ToBytes<'a> {
    pub(crate) numbers: &'a [f32],
    /// The bits of as many signed bytes, overwritten.
    pub(crate) codes: &'a mut [u8],
    /// The bits of f16, one for each group, overwritten.
    pub(crate) scales: &'a mut [u16],
}

impl Kernel for ToBytes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let groups = self.numbers.chunks(SHARED).zip(self.codes.chunks_mut(SHARED));
        for ((numbers, codes), scale) in groups.zip(self.scales) {
            // As whole numbers, the bits of NaN are above those of all others.
            let largest = numbers.iter().fold(0, |most, x| most.max(x.to_bits() & 0x7fff_ffff));
            let (bits, inverse) = scale_of(f32::from_bits(largest));
            *scale = bits;
            for (code, x) in codes.iter_mut().zip(numbers) {
                // Adding 1.5 × 2^23 rounds to the nearest whole number and leaves it in the lowest bits.
                let whole = (x * inverse).clamp(-MOST, MOST) + 12_582_912.0;
                *code = whole.to_bits() as u8;
            }
        }
    }
}

/// The bits of the scale of a group, and what its numbers are multiplied with.
#[inline(always)]
fn scale_of(largest: f32) -> (u16, f32) {
    if largest.is_nan() {
        return (f16::NAN.to_bits(), 0.0);
    }
    let scale = f16::from_f32(largest / MOST);
    let mut bits = scale.to_bits();
    // Rounded up, so that the largest number fits.
    if scale.to_f32() * MOST < largest {
        bits += 1;
    }
    let bits = bits.min(f16::MAX.to_bits());
    let scale = f16::from_bits(bits).to_f32();
    (bits, if scale > 0.0 { scale.recip() } else { 0.0 })
}

/// Codes with their scales, as `ToBytes` made them of rows of numbers, and where they go.
pub(crate) struct Widen<'a> {
    /// The bits of signed bytes.
    pub(crate) codes: &'a [u8],
    /// Widened.
    pub(crate) scales: &'a [f32],
    /// As many as the codes, overwritten.
    pub(crate) wide: &'a mut [f32],
}

impl Widen<'_> {
    /// Rows of `SHARED`, where every place of a row has a scale of its own, and as many rows share these
    /// scales: numbers that lie the other way than they were rounded. Codes are [rows, `SHARED`], and
    /// scales [rows / `SHARED`, `SHARED`], rounded up.
    pub(crate) fn across(self, target: Target) {
        #[cfg(target_arch = "x86_64")]
        if target != Target::Portable {
            // SAFETY: the other targets are listed only where AVX2 was detected.
            return unsafe { across(self) };
        }
        #[cfg(target_arch = "aarch64")]
        if target != Target::Portable {
            // SAFETY: NEON is part of 64-bit ARM.
            return unsafe { across(self) };
        }
        target.run(Across(self));
    }

    /// Rows of `width`, `SHARED` of which share a scale. Scales are [rows, width / `SHARED`], rounded up.
    pub(crate) fn along(self, target: Target, width: usize) {
        #[cfg(target_arch = "x86_64")]
        if target != Target::Portable && width.is_multiple_of(SHARED) {
            // SAFETY: the other targets are listed only where AVX2 was detected.
            return unsafe { along(self) };
        }
        #[cfg(target_arch = "aarch64")]
        if target != Target::Portable && width.is_multiple_of(SHARED) {
            // SAFETY: NEON is part of 64-bit ARM.
            return unsafe { along(self) };
        }
        target.run(Along { rows: self, width });
    }
}

struct Across<'a>(Widen<'a>);

impl Kernel for Across<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Widen { codes, scales, wide } = self.0;
        let groups = codes.chunks(SHARED * SHARED).zip(wide.chunks_mut(SHARED * SHARED));
        for ((codes, wide), scales) in groups.zip(scales.as_chunks::<SHARED>().0) {
            let rows = codes.as_chunks::<SHARED>().0.iter().zip(wide.as_chunks_mut::<SHARED>().0);
            for (codes, wide) in rows {
                for ((wide, code), scale) in wide.iter_mut().zip(codes).zip(scales) {
                    *wide = f32::from(code.cast_signed()) * scale;
                }
            }
        }
    }
}

struct Along<'a> {
    rows: Widen<'a>,
    width: usize,
}

impl Kernel for Along<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { rows: Widen { codes, scales, wide }, width } = self;
        let rows = codes.chunks_exact(width).zip(wide.chunks_exact_mut(width));
        for ((codes, wide), scales) in rows.zip(scales.chunks_exact(width.div_ceil(SHARED))) {
            let groups = codes.chunks(SHARED).zip(wide.chunks_mut(SHARED));
            for ((codes, wide), scale) in groups.zip(scales) {
                for (wide, code) in wide.iter_mut().zip(codes) {
                    *wide = f32::from(code.cast_signed()) * scale;
                }
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
use arm::{across, along};
#[cfg(target_arch = "x86_64")]
use x86::{across, along};

/// The same by instructions: of the loops above the compiler makes one step a number.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, _mm_loadl_epi64, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_loadu_ps,
        _mm256_mul_ps, _mm256_set1_ps, _mm256_storeu_ps,
    };

    use super::{SHARED, Widen};

    #[target_feature(enable = "avx2")]
    pub(super) fn across(rows: Widen<'_>) {
        let Widen { codes, scales, wide } = rows;
        let groups = codes.chunks(SHARED * SHARED).zip(wide.chunks_mut(SHARED * SHARED));
        for ((codes, wide), scales) in groups.zip(scales.as_chunks::<SHARED>().0) {
            // SAFETY: arrays of eight numbers are read.
            let load = |part: &[f32; 8]| unsafe { _mm256_loadu_ps(part.as_ptr()) };
            let [a, b, c, d] = scales.as_chunks().0 else { continue };
            let scales = [load(a), load(b), load(c), load(d)];
            for (codes, wide) in codes.as_chunks().0.iter().zip(wide.as_chunks_mut().0) {
                group(codes, scales, wide);
            }
        }
    }

    /// Rows of whole groups.
    #[target_feature(enable = "avx2")]
    pub(super) fn along(rows: Widen<'_>) {
        let groups = rows.codes.as_chunks().0.iter().zip(rows.wide.as_chunks_mut().0);
        for ((codes, wide), scale) in groups.zip(rows.scales) {
            group(codes, [_mm256_set1_ps(*scale); 4], wide);
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn group(codes: &[u8; SHARED], scales: [__m256; 4], wide: &mut [f32; SHARED]) {
        let parts = codes.as_chunks::<8>().0.iter().zip(wide.as_chunks_mut::<8>().0);
        for ((codes, wide), scale) in parts.zip(scales) {
            // SAFETY: an array of eight bytes is read, and one of eight numbers is written.
            unsafe {
                let codes = _mm256_cvtepi8_epi32(_mm_loadl_epi64(codes.as_ptr().cast()));
                let product = _mm256_mul_ps(_mm256_cvtepi32_ps(codes), scale);
                _mm256_storeu_ps(wide.as_mut_ptr(), product);
            }
        }
    }
}

/// The same for 64-bit ARM.
#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::{
        float32x4_t, vcvtq_f32_s32, vdupq_n_f32, vget_low_s16, vld1_s8, vld1q_f32, vmovl_high_s16,
        vmovl_s8, vmovl_s16, vmulq_f32, vst1q_f32,
    };

    use super::{SHARED, Widen};

    /// Scales of eight numbers.
    type Eight = [float32x4_t; 2];

    #[target_feature(enable = "neon")]
    pub(super) fn across(rows: Widen<'_>) {
        let Widen { codes, scales, wide } = rows;
        let groups = codes.chunks(SHARED * SHARED).zip(wide.chunks_mut(SHARED * SHARED));
        for ((codes, wide), scales) in groups.zip(scales.as_chunks::<SHARED>().0) {
            // SAFETY: arrays of four numbers are read.
            let load = |part: &[f32; 4]| unsafe { vld1q_f32(part.as_ptr()) };
            let eight = |part: &[f32; 8]| {
                let parts = part.as_chunks::<4>().0;
                [load(&parts[0]), load(&parts[1])]
            };
            let [a, b, c, d] = scales.as_chunks().0 else { continue };
            let scales = [eight(a), eight(b), eight(c), eight(d)];
            for (codes, wide) in codes.as_chunks().0.iter().zip(wide.as_chunks_mut().0) {
                group(codes, scales, wide);
            }
        }
    }

    /// Rows of whole groups.
    #[target_feature(enable = "neon")]
    pub(super) fn along(rows: Widen<'_>) {
        let groups = rows.codes.as_chunks().0.iter().zip(rows.wide.as_chunks_mut().0);
        for ((codes, wide), scale) in groups.zip(rows.scales) {
            group(codes, [[vdupq_n_f32(*scale); 2]; 4], wide);
        }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn group(codes: &[u8; SHARED], scales: [Eight; 4], wide: &mut [f32; SHARED]) {
        let parts = codes.as_chunks::<8>().0.iter().zip(wide.as_chunks_mut::<8>().0);
        for ((codes, wide), [first, second]) in parts.zip(scales) {
            // SAFETY: an array of eight bytes is read, and one of eight numbers is written.
            unsafe {
                let codes = vmovl_s8(vld1_s8(codes.as_ptr().cast()));
                let low = vcvtq_f32_s32(vmovl_s16(vget_low_s16(codes)));
                let high = vcvtq_f32_s32(vmovl_high_s16(codes));
                vst1q_f32(wide.as_mut_ptr(), vmulq_f32(low, first));
                vst1q_f32(wide.as_mut_ptr().add(4), vmulq_f32(high, second));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::kernels::Float;

    fn made(target: Target, numbers: &[f32]) -> (Vec<u8>, Vec<u16>) {
        let mut codes = vec![1; numbers.len()];
        let mut scales = vec![1; numbers.len().div_ceil(SHARED)];
        target.run(ToBytes { numbers, codes: &mut codes, scales: &mut scales });
        (codes, scales)
    }

    fn widened(scales: &[u16]) -> Vec<f32> {
        scales.iter().map(|bits| f16::from_bits(*bits).widen()).collect()
    }

    fn read(target: Target, codes: &[u8], scales: &[u16], width: usize) -> Vec<f32> {
        let mut wide = vec![1.0; codes.len()];
        Widen { codes, scales: &widened(scales), wide: &mut wide }.along(target, width);
        wide
    }

    #[test]
    fn numbers_come_back_within_half_a_step_on_every_target() {
        for size in [1e-6_f32, 1e-3, 1.0, 300.0, 60_000.0] {
            let numbers: Vec<f32> =
                (0..80).map(|at| ((at * 37 % 79) as f32 / 39.0 - 1.0) * size).collect();
            let first = made(Target::Portable, &numbers);
            for target in Target::available() {
                let (codes, scales) = made(target, &numbers);
                assert_eq!((&codes, &scales), (&first.0, &first.1), "{target:?}");
                let back = read(target, &codes, &scales, numbers.len());
                for ((group, numbers), scale) in
                    back.chunks(SHARED).zip(numbers.chunks(SHARED)).zip(&scales)
                {
                    let step = f16::from_bits(*scale).to_f32();
                    let largest = numbers.iter().fold(0.0, |most, x| f32::max(most, x.abs()));
                    // A step is a 127th of the largest, or the smallest number that there is.
                    assert!(step <= largest / 126.5 + 6e-8, "{size}: {step}");
                    for (x, exact) in group.iter().zip(numbers) {
                        assert!((x - exact).abs() <= step * 0.501, "{exact}, not {x}, by {step}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_or_too_large_is_told_or_held() {
        let mut numbers = [1.0_f32; 4 * SHARED];
        numbers[3] = f32::NAN;
        numbers[SHARED + 3] = f32::INFINITY;
        numbers[2 * SHARED + 3] = f32::MIN;
        numbers[3 * SHARED..].fill(1e-20);
        for target in Target::available() {
            let (codes, scales) = made(target, &numbers);
            let back = read(target, &codes, &scales, SHARED);
            assert!(back[..SHARED].iter().all(|x| x.is_nan()), "{target:?}");
            assert!(back[SHARED..].iter().all(|x| x.is_finite()), "{target:?}");
            assert_eq!(back[SHARED + 3], 127.0 * f16::MAX.to_f32());
            assert_eq!(back[2 * SHARED + 3], -127.0 * f16::MAX.to_f32());
        }
    }

    #[test]
    fn both_ways_of_lying_are_read_the_same() {
        for width in [1, 8, 32, 40, 64, 128] {
            let rows: Vec<Vec<f32>> = (0..SHARED)
                .map(|row| (0..width).map(|at| (row * 7 + at * 3) as f32 / 5.0 - 9.0).collect())
                .collect();
            for target in Target::available() {
                let mut across =
                    (vec![0; width * SHARED], vec![0; width.div_ceil(SHARED) * SHARED]);
                let mut along = (Vec::new(), Vec::new());
                for (number, row) in rows.iter().enumerate() {
                    let (codes, scales) = made(target, row);
                    for (at, code) in codes.iter().enumerate() {
                        across.0[at * SHARED + number] = *code;
                    }
                    for (at, scale) in scales.iter().enumerate() {
                        across.1[at * SHARED + number] = *scale;
                    }
                    along.0.extend(codes);
                    along.1.extend(scales);
                }
                let mut wide = vec![0.0; width * SHARED];
                let (codes, scales) = (&across.0, &widened(&across.1));
                Widen { codes, scales, wide: &mut wide }.across(target);
                let other = read(target, &along.0, &along.1, width);
                for (number, row) in other.chunks_exact(width).enumerate() {
                    let column: Vec<f32> =
                        wide.iter().skip(number).step_by(SHARED).copied().collect();
                    assert_eq!(row, column, "{width} on {target:?}");
                }
            }
        }
    }
}
