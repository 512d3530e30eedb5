//! What is taken from a whole row: its sums and its highest number.
#![expect(clippy::inline_always, reason = "see `Kernel`")]

use super::{Kernel, exp, multiply_add};

/// The sum of a row.
pub(crate) struct Sum<'a>(pub(crate) &'a [f32]);

impl Kernel for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> f32 {
        let mut sums = [0.0_f32; 16];
        let (chunks, rest) = self.0.as_chunks::<16>();
        for chunk in chunks {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *sum += x;
            }
        }
        sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
    }
}

/// The sum of the squares of a row, each element less the same number.
pub(crate) struct SumOfSquares<'a> {
    /// The row.
    pub(crate) row: &'a [f32],
    /// What is taken from each element.
    pub(crate) less: f32,
}

impl Kernel for SumOfSquares<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> f32 {
        let Self { row, less } = self;
        let mut sums = [0.0_f32; 16];
        let (chunks, rest) = row.as_chunks::<16>();
        for chunk in chunks {
            for (sum, &x) in sums.iter_mut().zip(chunk) {
                *sum = multiply_add::<FUSED>(x - less, x - less, *sum);
            }
        }
        sums.iter().sum::<f32>() + rest.iter().map(|x| (x - less) * (x - less)).sum::<f32>()
    }
}

/// The highest number of a row: negative infinity where there is none, NaN where one is NaN.
pub(crate) struct Highest<'a>(pub(crate) &'a [f32]);

impl Kernel for Highest<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> f32 {
        let (mut tops, mut nans) = ([f32::NEG_INFINITY; 16], [0_u32; 16]);
        let (chunks, rest) = self.0.as_chunks::<16>();
        for chunk in chunks {
            for ((top, nan), &x) in tops.iter_mut().zip(&mut nans).zip(chunk) {
                *top = if x > *top { x } else { *top };
                *nan |= u32::from(x.is_nan());
            }
        }
        let higher = |top: f32, &x: &f32| if x > top { x } else { top };
        let top = tops.iter().chain(rest).fold(f32::NEG_INFINITY, higher);
        let has_nan = nans.iter().any(|nan| *nan > 0) || rest.iter().any(|x| x.is_nan());
        if has_nan { f32::NAN } else { top }
    }
}

/// The sum of `exp(x - highest)` over what is at least `least` in a row.
pub(crate) struct ExpSum<'a> {
    /// The row.
    pub(crate) row: &'a [f32],
    /// Its highest number, so that nothing grows beyond f32.
    pub(crate) highest: f32,
    /// What is below adds nothing.
    pub(crate) least: f32,
}

impl Kernel for ExpSum<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> f64 {
        let Self { row, highest, least } = self;
        let share = |x: f32| if x >= least { exp::<FUSED>(x - highest) } else { 0.0 };
        let mut total = 0.0_f64;
        // Short runs are added in f32 lanes, the runs in f64: exact enough for 200,000 terms.
        for run in row.chunks(1024) {
            let mut sums = [0.0_f32; 16];
            let (chunks, rest) = run.as_chunks::<16>();
            let rest: f32 = rest.iter().map(|x| share(*x)).sum();
            for chunk in chunks {
                for (sum, &x) in sums.iter_mut().zip(chunk) {
                    *sum += share(x);
                }
            }
            total += f64::from(sums.iter().sum::<f32>() + rest);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::super::Target;
    use super::*;

    #[test]
    fn all_targets_agree() {
        let row: Vec<f32> = (0..1000).map(|i| ((i * 37) % 101) as f32 / 20.0 - 2.5).collect();
        for target in Target::available() {
            for least in [f32::NEG_INFINITY, -0.5, 1.0] {
                let above = || row.iter().filter(|x| **x >= least).map(|x| f64::from(*x));
                let exact: f64 = above().map(|x| (x - 2.5).exp()).sum();
                let sum = target.run(ExpSum { row: &row, highest: 2.5, least });
                assert!((sum - exact).abs() < exact * 1e-5, "{target:?}: {sum}, {exact}");
            }
            let squares: f64 = row.iter().map(|x| f64::from(x - 0.5).powi(2)).sum();
            let sum = f64::from(target.run(SumOfSquares { row: &row, less: 0.5 }));
            assert!((sum - squares).abs() < squares * 1e-5, "{target:?}: {sum}, {squares}");
            assert!((target.run(Sum(&row)) - row.iter().sum::<f32>()).abs() < 1e-2, "{target:?}");
        }
    }

    #[test]
    fn the_highest_is_found_wherever_it_stands() {
        for target in Target::available() {
            for count in [0, 1, 15, 16, 17, 1000] {
                let mut row: Vec<f32> = (0..count).map(|at| -((at % 7) as f32) - 1.0).collect();
                let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                assert_eq!(target.run(Highest(&row)), top, "{target:?}, {count}");
                for at in 0..count {
                    let before = std::mem::replace(&mut row[at], 3.0);
                    assert_eq!(target.run(Highest(&row)), 3.0, "{target:?}, {at} of {count}");
                    row[at] = f32::NAN;
                    assert!(target.run(Highest(&row)).is_nan(), "{target:?}, {at} of {count}");
                    row[at] = before;
                }
            }
        }
    }
}
