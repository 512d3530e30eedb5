//! Confidence intervals by the percentile bootstrap (Efron and Tibshirani, 1993, chapter 13).
//!
//! What is drawn again, with replacement, are clusters: pairs that share a template rise and fall
//! together, and drawing them one by one would make the interval look narrower than it is. The
//! seed is fixed, so that the same scores give the same interval on every machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How often the clusters are drawn.
pub(super) const RESAMPLES: usize = 2_000;
/// Where the random numbers begin.
pub(super) const SEED: u64 = 20_260_117;
/// The share of resamples that the interval covers.
pub(super) const LEVEL: f64 = 0.95;

/// A value and the interval around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Interval {
    /// What was measured.
    pub(crate) value: f64,
    /// The lower end.
    pub(crate) low: f64,
    /// The upper end.
    pub(crate) high: f64,
}

/// What one cluster adds to a mean: a sum, and over how many.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Part {
    pub(super) sum: f64,
    pub(super) count: f64,
}

/// The mean over all clusters, and its interval; none where there is nothing to average.
pub(super) fn mean(parts: &[Part]) -> Option<Interval> {
    let value = ratio(parts.iter())?;
    let mut random = SplitMix(SEED);
    let draw =
        |_| ratio(std::iter::repeat_with(|| &parts[random.below(parts.len())]).take(parts.len()));
    let mut drawn: Vec<f64> = (0..RESAMPLES).filter_map(draw).collect();
    drawn.sort_unstable_by(f64::total_cmp);
    let outside = (1.0 - LEVEL) / 2.0;
    let below = (outside * drawn.len() as f64) as usize;
    let low = drawn.get(below).copied().unwrap_or(value);
    let high = drawn.iter().rev().nth(below).copied().unwrap_or(value);
    Some(Interval { value: rounded(value), low: rounded(low), high: rounded(high) })
}

/// Six places: what a sum of logarithms of single precision carries, and no more.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn ratio<'a>(parts: impl Iterator<Item = &'a Part>) -> Option<f64> {
    let add = |(sum, count), part: &Part| (sum + part.sum, count + part.count);
    let (sum, count) = parts.fold((0.0, 0.0), add);
    (count > 0.0).then(|| sum / count)
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
pub(super) struct SplitMix(pub(super) u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(values: impl IntoIterator<Item = f64>) -> Vec<Part> {
        values.into_iter().map(|sum| Part { sum, count: 1.0 }).collect()
    }

    #[test]
    fn the_generator_is_the_published_one() {
        // The first outputs for seed 1234567, as in the authors' reference.
        let mut random = SplitMix(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_interval_of_a_share_is_the_one_of_the_normal_approximation() {
        for (hits, total) in [(50_u32, 100_u32), (300, 400), (900, 1_000)] {
            let values = (0..total).map(|at| f64::from(u8::from(at < hits)));
            let found = mean(&parts(values)).expect("not empty");
            let share = f64::from(hits) / f64::from(total);
            let half = 1.96 * (share * (1.0 - share) / f64::from(total)).sqrt();
            assert!((found.value - share).abs() < 1e-9);
            assert!((found.low - (share - half)).abs() < half * 0.15, "{found:?}");
            assert!((found.high - (share + half)).abs() < half * 0.15, "{found:?}");
        }
    }

    #[test]
    fn where_nothing_varies_the_interval_is_a_point() {
        let found = mean(&parts([0.25; 7])).expect("not empty");
        assert_eq!(found, Interval { value: 0.25, low: 0.25, high: 0.25 });
        assert_eq!(mean(&parts([3.0])).map(|one| (one.low, one.high)), Some((3.0, 3.0)));
    }

    #[test]
    fn two_clusters_that_disagree_leave_everything_open() {
        // A quarter of the resamples hold the first only, a quarter the second only.
        let found = mean(&parts([0.0, 1.0])).expect("not empty");
        assert_eq!(found, Interval { value: 0.5, low: 0.0, high: 1.0 });
    }

    #[test]
    fn clusters_weigh_by_what_they_hold_and_widen_the_interval() {
        let clusters: Vec<Part> =
            (0..20).map(|at| Part { sum: f64::from(at % 2) * 10.0, count: 10.0 }).collect();
        let singles = parts((0..200).map(|at| f64::from((at / 10) % 2)));
        let (wide, narrow) = (mean(&clusters).expect("some"), mean(&singles).expect("some"));
        assert_eq!(wide.value, narrow.value);
        assert!(wide.high - wide.low > 2.5 * (narrow.high - narrow.low));
    }

    #[test]
    fn the_same_scores_give_the_same_interval() {
        let values = || parts((0..50).map(|at| (f64::from(at) * 0.37).sin()));
        assert_eq!(mean(&values()), mean(&values()));
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[Part::default()]), None);
    }
}
