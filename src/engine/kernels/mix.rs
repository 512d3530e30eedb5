//! Sums of rows, each multiplied with a number: what attention spends its time with. The plain form is the
//! twin; left to itself the compiler finds vectors in it in one build, and none in the next.
#![expect(clippy::inline_always, reason = "see `Kernel`")]
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "vectors are read from memory and written to it")
)]

use super::bring::Ahead;
use super::target::{Kernel, Target, multiply_add};

/// Columns of a sum.
pub(crate) const WIDE: usize = 32;

/// `sums[i] += Σ weights[i][k] * rows[k]`, in the order of the rows.
pub(crate) struct Mix<'a, const R: usize> {
    /// For each sum the numbers of all rows.
    pub(crate) weights: [&'a [f32]; R],
    /// The rows lie so many numbers apart; the first `WIDE` of each count.
    pub(crate) rows: &'a [f32],
    /// See `rows`.
    pub(crate) stride: usize,
    /// Asked for on the way, a line for each row.
    pub(crate) next: Ahead<'a>,
    /// The first of those lines.
    pub(crate) line: usize,
    /// Added to.
    pub(crate) sums: &'a mut [[f32; WIDE]; R],
}

impl Target {
    /// Whether the sums of so many rows, and what is added to them, have room in the registers.
    pub(crate) fn has_registers_for(self, rows: usize) -> bool {
        match self {
            // 32 of them, two for each row.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Amx => 2 * rows <= 24,
            _ => rows <= 4,
        }
    }
}

impl<const R: usize> Mix<'_, R> {
    /// Computes them with the instructions of a target.
    #[inline]
    pub(crate) fn run(self, target: Target) {
        match target {
            // SAFETY: the target is listed only where the instructions were detected.
            #[cfg(target_arch = "x86_64")]
            Target::Avx512 | Target::Amx => unsafe { x86::in_512_bits(self) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Target::Avx2 => unsafe { x86::in_256_bits(self) },
            other => other.run(Plain(self)),
        }
    }
}

struct Plain<'a, const R: usize>(Mix<'a, R>);

impl<const R: usize> Kernel for Plain<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Mix { weights, rows, stride, next, line, sums } = self.0;
        for (at, row) in rows.chunks(stride.max(1)).enumerate() {
            let (Some(row), true) = (row.first_chunk::<WIDE>(), at < weights[0].len()) else {
                break;
            };
            next.bring(line + at);
            for (weights, sums) in weights.iter().zip(&mut *sums) {
                for (sum, x) in sums.iter_mut().zip(row) {
                    *sum = multiply_add::<FUSED>(weights[at], *x, *sum);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::Mix;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub(super) fn in_512_bits<const R: usize>(mix: Mix<'_, R>) {
        let Mix { weights, rows, stride, next, line, sums } = mix;
        let count = weights[0].len();
        let weights = weights.map(|weights| &weights[..count]);
        let mut wide = [[_mm512_setzero_ps(); 2]; R];
        for (wide, sums) in wide.iter_mut().zip(&*sums) {
            for (wide, sums) in wide.iter_mut().zip(sums.as_chunks::<16>().0) {
                // SAFETY: sixteen numbers are read.
                *wide = unsafe { _mm512_loadu_ps(sums.as_ptr()) };
            }
        }
        for at in 0..count {
            let Some([first, second]) = rows.get(at * stride..).and_then(chunks::<16>) else {
                break;
            };
            next.bring(line + at);
            // SAFETY: sixteen numbers are read, twice.
            let row =
                unsafe { [_mm512_loadu_ps(first.as_ptr()), _mm512_loadu_ps(second.as_ptr())] };
            for (wide, weights) in wide.iter_mut().zip(weights) {
                let weight = _mm512_set1_ps(weights[at]);
                *wide = [0, 1].map(|half| _mm512_fmadd_ps(weight, row[half], wide[half]));
            }
        }
        for (wide, sums) in wide.iter().zip(sums) {
            for (wide, sums) in wide.iter().zip(sums.as_chunks_mut::<16>().0) {
                // SAFETY: sixteen numbers are written.
                unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), *wide) };
            }
        }
    }

    /// In two halves: the sums of all columns are more than there are registers.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn in_256_bits<const R: usize>(mix: Mix<'_, R>) {
        let Mix { weights, rows, stride, next, line, sums } = mix;
        let count = weights[0].len();
        let weights = weights.map(|weights| &weights[..count]);
        for half in 0..2 {
            let mut wide = [[_mm256_setzero_ps(); 2]; R];
            for (wide, sums) in wide.iter_mut().zip(&*sums) {
                for (wide, sums) in wide.iter_mut().zip(&sums.as_chunks::<8>().0[2 * half..]) {
                    // SAFETY: eight numbers are read.
                    *wide = unsafe { _mm256_loadu_ps(sums.as_ptr()) };
                }
            }
            for at in 0..count {
                let here = rows.get(at * stride + 16 * half..).and_then(chunks::<8>);
                let Some([first, second]) = here else { break };
                if half == 0 {
                    next.bring(line + at);
                }
                // SAFETY: eight numbers are read, twice.
                let row =
                    unsafe { [_mm256_loadu_ps(first.as_ptr()), _mm256_loadu_ps(second.as_ptr())] };
                for (wide, weights) in wide.iter_mut().zip(weights) {
                    let weight = _mm256_set1_ps(weights[at]);
                    *wide = [0, 1].map(|part| _mm256_fmadd_ps(weight, row[part], wide[part]));
                }
            }
            for (wide, sums) in wide.iter().zip(&mut *sums) {
                for (wide, sums) in wide.iter().zip(&mut sums.as_chunks_mut::<8>().0[2 * half..]) {
                    // SAFETY: eight numbers are written.
                    unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), *wide) };
                }
            }
        }
    }

    /// The first two chunks of a row.
    #[inline]
    fn chunks<const N: usize>(row: &[f32]) -> Option<[&[f32; N]; 2]> {
        let (first, rest) = row.split_first_chunk::<N>()?;
        Some([first, rest.first_chunk::<N>()?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(count: usize, step: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * step) % 101) as f32 / 20.0 - 2.5).collect()
    }

    fn mixed<const R: usize>(target: Target, count: usize, stride: usize) -> Vec<f32> {
        let (rows, weights) = (noise(count * stride + WIDE, 37), noise(R * count, 53));
        let mut sums = [[0.5; WIDE]; R];
        let weights = std::array::from_fn(|row| &weights[row * count..][..count]);
        let (next, line) = (Ahead::NOTHING, 0);
        Mix { weights, rows: &rows, stride, next, line, sums: &mut sums }.run(target);
        sums.concat()
    }

    fn hold<const R: usize>(count: usize, stride: usize) {
        let (rows, weights) = (noise(count * stride + WIDE, 37), noise(R * count, 53));
        for target in Target::available() {
            let found = mixed::<R>(target, count, stride);
            for (at, found) in found.iter().enumerate() {
                let (sum, column) = (at / WIDE, at % WIDE);
                let product = |k: usize| {
                    f64::from(weights[sum * count + k]) * f64::from(rows[k * stride + column])
                };
                let exact = 0.5 + (0..count).map(product).sum::<f64>();
                assert!((f64::from(*found) - exact).abs() < 1e-3, "{target:?}: {found}, {exact}");
            }
            if target != Target::Portable {
                let best = mixed::<R>(Target::best(), count, stride);
                assert_eq!(found, best, "{target:?}: other bits");
            }
        }
    }

    #[test]
    fn every_target_adds_up_the_same() {
        for (count, stride) in [(1, 32), (32, 32), (31, 64), (128, 32), (7, 128), (0, 32)] {
            hold::<1>(count, stride);
            hold::<2>(count, stride);
            hold::<3>(count, stride);
            hold::<4>(count, stride);
            hold::<8>(count, stride);
        }
    }
}
