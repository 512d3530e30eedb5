//! From scores to weights.
#![expect(clippy::inline_always, reason = "see `Kernel`")]

use std::ops::Range;

use crate::engine::kernels::{Kernel, exp};

/// Scores that are worked on side by side.
const LANES: usize = 16;

/// The running softmax of one query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    /// The highest score so far.
    pub(super) highest: f32,
    /// The sum of the weights, all of them as if that one had been known from the beginning.
    pub(super) sum: f32,
}

/// Turns scores into weights and adds these to the running softmax: gives it, and what all that was
/// weighed before is to be multiplied with.
pub(super) struct Weigh<'a> {
    /// Overwritten with the weights, nothing where no token is seen. A multiple of `LANES`.
    pub(super) scores: &'a mut [f32],
    /// The tokens that are seen, one at least. What the scores of the others are does not matter.
    pub(super) seen: Range<usize>,
    /// Bends the scores so that none is larger.
    pub(super) cap: Option<f32>,
    /// Before these.
    pub(super) running: Running,
}

impl Kernel for Weigh<'_> {
    type Output = (Running, f32);

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> (Running, f32) {
        let Self { scores, seen, cap, running } = self;
        if let Some(cap) = cap {
            bend::<FUSED>(scores, cap);
        }
        scores[..seen.start].fill(f32::NEG_INFINITY);
        scores[seen.end..].fill(f32::NEG_INFINITY);
        let highest = maximum(scores).max(running.highest);
        for score in scores.iter_mut() {
            *score = exp::<FUSED>(*score - highest);
        }
        // Next to nothing is not nothing, and how many are not seen depends on the others of the tile.
        scores[..seen.start].fill(0.0);
        scores[seen.end..].fill(0.0);
        let mut sums = [0.0; LANES];
        for scores in scores.as_chunks::<LANES>().0 {
            for (score, sum) in scores.iter().zip(&mut sums) {
                *sum += score;
            }
        }
        let shrink = exp::<FUSED>(running.highest - highest);
        let sum = running.sum * shrink + sums.iter().sum::<f32>();
        (Running { highest, sum }, shrink)
    }
}

/// `cap * tanh(x / cap)`
#[inline(always)]
fn bend<const FUSED: bool>(scores: &mut [f32], cap: f32) {
    let slope = -2.0 / cap;
    for score in scores {
        *score = cap * (2.0 / (1.0 + exp::<FUSED>(*score * slope)) - 1.0);
    }
}

#[inline(always)]
fn maximum(scores: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in scores.as_chunks::<LANES>().0 {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    lanes.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::kernels::Target;

    #[test]
    fn what_is_not_seen_has_no_weight_at_all() {
        for target in Target::available() {
            let weigh = |tokens: usize| {
                let mut scores = vec![-85.0; tokens];
                let (seen, running) = (3..30, Running { highest: 0.0, sum: 0.0 });
                let weigh = Weigh { scores: &mut scores, seen, cap: None, running };
                (target.run(weigh).0.sum, scores[..32].to_vec())
            };
            let (sum, weights) = weigh(32);
            assert!(weights[3] > 0.0 && weights[2] == 0.0 && weights[30] == 0.0, "{target:?}");
            assert_eq!(weigh(128), (sum, weights), "{target:?}");
        }
    }
}
