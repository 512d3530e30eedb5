//! Numbers of 16 bits to such of 32, many at once.
#![expect(clippy::inline_always, reason = "see `Kernel`")]
#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(
        unsafe_code,
        reason = "an instruction that is detected, and memory that it reads and writes"
    )
)]

use half::f16;

use super::{Float, Kernel, Target};

/// Widens the bits of f16 numbers, exactly; there are as many in both. What is NaN stays so.
pub(crate) fn widen(target: Target, bits: &[u16], wide: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if target != Target::Portable && is_x86_feature_detected!("f16c") {
        // SAFETY: the target has AVX2, and F16C was detected.
        return unsafe { by_instruction(bits, wide) };
    }
    #[cfg(target_arch = "aarch64")]
    if target != Target::Portable {
        // SAFETY: NEON, and these conversions with it, are part of 64-bit ARM.
        return unsafe { by_instruction(bits, wide) };
    }
    target.run(Widen { bits, wide });
}

/// The conversion is one instruction, eight numbers at a time (F16C). Machines with vectors of 512 bits do
/// these as fast.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn by_instruction(bits: &[u16], wide: &mut [f32]) {
    use std::arch::x86_64::{_mm_loadu_si128, _mm256_cvtph_ps, _mm256_storeu_ps};

    let (eights, rest) = bits.as_chunks::<8>();
    let (wide_eights, wide_rest) = wide.as_chunks_mut::<8>();
    for (bits, wide) in eights.iter().zip(wide_eights) {
        // SAFETY: an array of 16 bytes is read, and one of 32 is written.
        unsafe {
            let eight = _mm256_cvtph_ps(_mm_loadu_si128(bits.as_ptr().cast()));
            _mm256_storeu_ps(wide.as_mut_ptr(), eight);
        }
    }
    Widen { bits: rest, wide: wide_rest }.run::<true>();
}

/// The conversion is one instruction, four numbers at a time.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn by_instruction(bits: &[u16], wide: &mut [f32]) {
    use std::arch::aarch64::{vcvt_f32_f16, vld1_u16, vreinterpret_f16_u16, vst1q_f32};

    let (fours, rest) = bits.as_chunks::<4>();
    let (wide_fours, wide_rest) = wide.as_chunks_mut::<4>();
    for (bits, wide) in fours.iter().zip(wide_fours) {
        // SAFETY: an array of 8 bytes is read, and one of 16 is written.
        unsafe {
            let four = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(bits.as_ptr())));
            vst1q_f32(wide.as_mut_ptr(), four);
        }
    }
    Widen { bits: rest, wide: wide_rest }.run::<true>();
}

/// The same in plain Rust.
struct Widen<'a> {
    bits: &'a [u16],
    /// As many, overwritten.
    wide: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for (wide, bits) in self.wide.iter_mut().zip(self.bits) {
            *wide = f16::from_bits(*bits).widen();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_widened_exactly_on_every_target() {
        // Not a multiple of eight.
        let bits: Vec<u16> = (0..=u16::MAX).chain(1..8).collect();
        for target in Target::available() {
            let mut wide = vec![0.0; bits.len()];
            widen(target, &bits, &mut wide);
            for (bits, wide) in bits.iter().zip(wide) {
                let exact = f16::from_bits(*bits).to_f32();
                assert!(
                    wide == exact || wide.is_nan() && exact.is_nan(),
                    "{bits:#x} on {target:?}"
                );
            }
        }
    }
}
