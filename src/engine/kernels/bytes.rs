//! Numbers in eight bits: signed whole numbers, and for every 32 of them one scale of 16 bits, as
//! Q8_0 of ggml has them.
#![expect(clippy::inline_always, reason = "see `Kernel`")]

use half::f16;

use super::{Float, Kernel};

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

/// Widens codes in rows of `SHARED`, where every place of a row has a scale of its own, and as many rows
/// share these scales: what `ToBytes` made, lying the other way.
pub(crate) struct WidenAcross<'a> {
    /// [rows, `SHARED`]
    pub(crate) codes: &'a [u8],
    /// [rows / `SHARED`, `SHARED`], rounded up.
    pub(crate) scales: &'a [u16],
    /// [rows, `SHARED`], overwritten.
    pub(crate) wide: &'a mut [f32],
}

impl Kernel for WidenAcross<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let groups = self.codes.chunks(SHARED * SHARED).zip(self.wide.chunks_mut(SHARED * SHARED));
        for ((codes, wide), scales) in groups.zip(self.scales.as_chunks::<SHARED>().0) {
            let scales: [f32; SHARED] =
                std::array::from_fn(|at| f16::from_bits(scales[at]).widen());
            let rows = codes.as_chunks::<SHARED>().0.iter().zip(wide.as_chunks_mut::<SHARED>().0);
            for (codes, wide) in rows {
                for ((wide, code), scale) in wide.iter_mut().zip(codes).zip(scales) {
                    *wide = f32::from(code.cast_signed()) * scale;
                }
            }
        }
    }
}

/// Widens codes in rows of `width`, `SHARED` of which share a scale: what `ToBytes` made of each row.
pub(crate) struct WidenAlong<'a> {
    /// [rows, width]
    pub(crate) codes: &'a [u8],
    /// [rows, width / `SHARED`], rounded up.
    pub(crate) scales: &'a [u16],
    pub(crate) width: usize,
    /// [rows, width], overwritten.
    pub(crate) wide: &'a mut [f32],
}

impl Kernel for WidenAlong<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { codes, scales, width, wide } = self;
        let rows = codes.chunks_exact(width).zip(wide.chunks_exact_mut(width));
        for ((codes, wide), scales) in rows.zip(scales.chunks_exact(width.div_ceil(SHARED))) {
            let groups = codes.chunks(SHARED).zip(wide.chunks_mut(SHARED));
            for ((codes, wide), scale) in groups.zip(scales) {
                let scale = f16::from_bits(*scale).widen();
                for (wide, code) in wide.iter_mut().zip(codes) {
                    *wide = f32::from(code.cast_signed()) * scale;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::kernels::Target;

    fn made(target: Target, numbers: &[f32]) -> (Vec<u8>, Vec<u16>) {
        let mut codes = vec![1; numbers.len()];
        let mut scales = vec![1; numbers.len().div_ceil(SHARED)];
        target.run(ToBytes { numbers, codes: &mut codes, scales: &mut scales });
        (codes, scales)
    }

    fn read(target: Target, codes: &[u8], scales: &[u16], width: usize) -> Vec<f32> {
        let mut wide = vec![1.0; codes.len()];
        target.run(WidenAlong { codes, scales, width, wide: &mut wide });
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
                let (codes, scales) = (&across.0, &across.1);
                target.run(WidenAcross { codes, scales, wide: &mut wide });
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
