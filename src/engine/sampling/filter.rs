//! Filters on logits whose highest is 0. What is filtered out becomes negative infinity, in place, so
//! that the others keep their numbers.

use std::cmp::Ordering;

use crate::engine::kernels::{ExpSum, Highest, Target};

/// Below this logit, nothing is left of a share in f32: also where something was filtered out.
pub(super) const LEAST: f32 = -87.0;
/// Tokens of which the highest stands for all, where only the highest few are looked for.
const FEW: usize = 64;
/// How far below the best the fewest that weigh enough are first looked for.
const NEAR: f32 = -2.0;

/// Keeps what is at least `min_p` times as likely as the best.
pub(super) fn min_p(logits: &mut [f32], min_p: f32) {
    if min_p > 0.0 {
        keep_from(logits, min_p.ln());
    }
}

/// Keeps the `k` most likely; of equals, those with the lower numbers.
pub(super) fn top_k(logits: &mut [f32], k: usize, scratch: &mut Vec<f32>) {
    if k == 0 || k >= logits.len() {
        return;
    }
    // At least k of all are as high as the k-th of those that are the highest of a few.
    let least = if k <= logits.len() / FEW {
        let of_few = logits.chunks(FEW).map(|few| Target::best().run(Highest(few)));
        kth_highest(of_few, k, scratch)
    } else {
        f32::NEG_INFINITY
    };
    let threshold = kth_highest(logits.iter().copied().filter(|x| *x >= least), k, scratch);
    let above = logits.iter().filter(|&&logit| logit > threshold).count();
    keep_above_and_some(logits, threshold, k - above);
}

/// The `k`-th highest of at least so many.
fn kth_highest(of: impl Iterator<Item = f32>, k: usize, scratch: &mut Vec<f32>) -> f32 {
    scratch.clear();
    scratch.extend(of);
    *scratch.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
}

/// Keeps the fewest of the most likely whose shares reach `top_p`; of equals, those with the lower
/// numbers.
pub(super) fn top_p(logits: &mut [f32], top_p: f32, scratch: &mut Vec<f32>) {
    if top_p >= 1.0 {
        return;
    }
    let wanted = f64::from(top_p) * weight(logits);
    let mut least = NEAR;
    while least > LEAST && weight_from(logits, least) < wanted {
        least *= 2.0;
    }
    let least = least.max(LEAST);
    scratch.clear();
    scratch.extend(logits.iter().filter(|&&logit| logit >= least));
    if let Some(threshold) = border(scratch, wanted, |a, b| b.total_cmp(a), weight) {
        keep_share(logits, threshold, top_p);
    }
}

/// Keeps the tokens whose surprise, the negative logarithm of the share, is nearest to the mean
/// surprise, until their shares reach `typical_p` (Meister et al., 2023); of equals, those with the
/// lower numbers.
pub(super) fn typical(logits: &mut [f32], typical_p: f32) {
    if typical_p >= 1.0 {
        return;
    }
    let total = weight(logits);
    let log_total = total.ln();
    let of = |logit: f32| f64::from(logit.exp()) / total;
    let possible = || logits.iter().copied().filter(|&logit| logit > LEAST);
    let entropy: f64 = possible().map(|logit| of(logit) * (log_total - f64::from(logit))).sum();
    let distance = |logit: f32| (log_total - f64::from(logit) - entropy).abs() as f32;
    // [distance, share]
    let mut candidates: Vec<(f32, f64)> = possible().map(|x| (distance(x), of(x))).collect();
    let wanted = f64::from(typical_p);
    let share = |some: &[(f32, f64)]| some.iter().map(|(_, share)| share).sum::<f64>();
    let nearest_first = |a: &(f32, f64), b: &(f32, f64)| a.0.total_cmp(&b.0);
    let Some((threshold, _)) = border(&mut candidates, wanted, nearest_first, share) else {
        return;
    };
    let near = candidates.iter().filter(|(distance, _)| *distance < threshold);
    let mut left = wanted - near.map(|(_, share)| share).sum::<f64>();
    for logit in logits {
        let distance = distance(*logit);
        if *logit > LEAST && (distance < threshold || (distance == threshold && left > 0.0)) {
            if distance == threshold {
                left -= of(*logit);
            }
        } else {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// The candidate with which those before it, in the given order, first weigh as much as wanted.
///
/// A set of candidates is halved around a pivot, as quickselect does, but by weight: each round costs
/// a pass over what is left, together about two passes over all.
fn border<T: Copy>(
    mut candidates: &mut [T],
    mut wanted: f64,
    order: impl Fn(&T, &T) -> Ordering,
    weight: impl Fn(&[T]) -> f64,
) -> Option<T> {
    while candidates.len() > 1 {
        let middle = candidates.len() / 2;
        let (before, pivot, after) = candidates.select_nth_unstable_by(middle, &order);
        let heavy = weight(before);
        let with_pivot = heavy + weight(std::slice::from_ref(pivot));
        if heavy >= wanted {
            candidates = before;
        } else if with_pivot >= wanted || after.is_empty() {
            return Some(*pivot);
        } else {
            wanted -= with_pivot;
            candidates = after;
        }
    }
    candidates.first().copied()
}

/// Keeps what is above the threshold, and as many of its equals as the share needs: at least one.
fn keep_share(logits: &mut [f32], threshold: f32, top_p: f32) {
    let rest = f64::from(top_p) * weight(logits) - weight_from(logits, threshold.next_up());
    let equals =
        (rest / f64::from(threshold.exp())).ceil().clamp(1.0, logits.len() as f64) as usize;
    keep_above_and_some(logits, threshold, equals);
}

/// How much all together weigh.
pub(super) fn weight(logits: &[f32]) -> f64 {
    weight_from(logits, LEAST)
}

fn weight_from(logits: &[f32], least: f32) -> f64 {
    Target::best().run(ExpSum { row: logits, highest: 0.0, least })
}

fn keep_from(logits: &mut [f32], threshold: f32) {
    for logit in logits {
        *logit = if *logit < threshold { f32::NEG_INFINITY } else { *logit };
    }
}

fn keep_above_and_some(logits: &mut [f32], threshold: f32, equals: usize) {
    keep_from(logits, threshold);
    if logits.iter().filter(|logit| **logit == threshold).count() > equals {
        for logit in logits.iter_mut().filter(|logit| **logit == threshold).skip(equals) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(logits: &[f32], by: impl Fn(&mut [f32])) -> Vec<usize> {
        let mut logits = logits.to_vec();
        by(&mut logits);
        (0..logits.len()).filter(|&i| logits[i] > f32::NEG_INFINITY).collect()
    }

    /// What sorting gives: the stable order of shares, cut where their sum reaches `p`.
    fn by_sorting(logits: &[f32], p: f64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        let mut sum = 0.0;
        let mut kept = Vec::new();
        for i in order {
            kept.push(i);
            sum += f64::from(logits[i]).exp();
            if sum >= p * total {
                break;
            }
        }
        kept.sort_unstable();
        kept
    }

    #[test]
    fn top_p_keeps_what_sorting_keeps() {
        for size in [1_usize, 2, 3, 10, 101, 1000] {
            for spread in [0.1_f32, 1.0, 8.0] {
                let logits: Vec<f32> = (0..size)
                    .map(|i| -(((i * 7919 + 13) % 1009) as f32) / 1009.0 * spread)
                    .collect();
                for p in [0.013_f32, 0.25, 0.5, 0.77, 0.95, 0.999] {
                    let got = kept(&logits, |logits| top_p(logits, p, &mut Vec::new()));
                    let expected = by_sorting(&logits, f64::from(p));
                    // Where the sum meets the border within rounding, one more or less is right too.
                    assert!(
                        got.len().abs_diff(expected.len()) <= 1,
                        "{size} {spread} {p}: {} {}",
                        got.len(),
                        expected.len()
                    );
                }
            }
        }
    }

    fn logits_of(shares: &[f32]) -> Vec<f32> {
        let highest = shares.iter().copied().fold(0.0, f32::max);
        shares.iter().map(|share| (share / highest).ln()).collect()
    }

    #[test]
    fn what_is_kept_is_what_the_reference_keeps() {
        // The cases of llama.cpp's own test of its samplers.
        let rising = logits_of(&[0.1, 0.2, 0.3, 0.4]);
        for (k, expected) in [(1, vec![3]), (3, vec![1, 2, 3]), (4, vec![0, 1, 2, 3])] {
            assert_eq!(kept(&rising, |logits| top_k(logits, k, &mut Vec::new())), expected);
        }
        for (p, expected) in
            [(1e-9, vec![3]), (0.7, vec![2, 3]), (0.8, vec![1, 2, 3]), (1.0, vec![0, 1, 2, 3])]
        {
            assert_eq!(kept(&rising, |logits| top_p(logits, p, &mut Vec::new())), expected, "{p}");
        }
        for (p, expected) in [
            (0.0, vec![0, 1, 2, 3]),
            (0.24, vec![0, 1, 2, 3]),
            (0.26, vec![1, 2, 3]),
            (0.49, vec![1, 2, 3]),
            (0.51, vec![2, 3]),
            (0.74, vec![2, 3]),
            (0.76, vec![3]),
            (1.0, vec![3]),
        ] {
            assert_eq!(kept(&rising, |logits| min_p(logits, p)), expected, "{p}");
        }
        let peaked = logits_of(&[0.97, 0.01, 0.01, 0.01]);
        assert_eq!(kept(&peaked, |logits| typical(logits, 0.5)), vec![0]);
        let flat = logits_of(&[0.4, 0.2, 0.2, 0.2]);
        assert_eq!(kept(&flat, |logits| typical(logits, 0.5)), vec![1, 2, 3]);
    }

    #[test]
    fn typical_keeps_what_sorting_keeps() {
        for size in [1_usize, 2, 3, 10, 101, 1000] {
            let logits: Vec<f32> =
                (0..size).map(|i| -(((i * 7919 + 13) % 1009) as f32) / 126.0).collect();
            let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
            let shares: Vec<f64> = logits.iter().map(|&x| f64::from(x).exp() / total).collect();
            let mean: f64 = shares.iter().map(|share| -share * share.ln()).sum();
            let mut order: Vec<usize> = (0..size).collect();
            let far = |i: usize| (-shares[i].ln() - mean).abs();
            order.sort_by(|&a, &b| far(a).total_cmp(&far(b)));
            for p in [0.013_f32, 0.25, 0.5, 0.77, 0.95] {
                let mut sum = 0.0;
                let enough = order.iter().position(|&i| {
                    sum += shares[i];
                    sum >= f64::from(p)
                });
                let wanted = enough.map_or(size, |at| at + 1);
                let got = kept(&logits, |logits| typical(logits, p)).len();
                assert!(got.abs_diff(wanted) <= 1, "{size} {p}: {got} and {wanted}");
            }
        }
    }

    #[test]
    fn equals_are_kept_by_their_numbers() {
        assert_eq!(
            kept(&[0.0; 10], |logits| top_p(logits, 0.35, &mut Vec::new())),
            vec![0, 1, 2, 3]
        );
        assert_eq!(kept(&[0.0; 7], |logits| top_p(logits, 0.8, &mut Vec::new())).len(), 6);
        assert_eq!(kept(&[0.0; 10], |logits| top_k(logits, 3, &mut Vec::new())), vec![0, 1, 2]);
        assert_eq!(
            kept(&[-1.0, 0.0, -1.0, -1.0], |logits| top_k(logits, 2, &mut Vec::new())),
            vec![0, 1]
        );
    }

    #[test]
    fn at_least_one_is_always_kept() {
        for logits in
            [vec![0.0], vec![f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY], vec![0.0, -1000.0]]
        {
            assert_eq!(kept(&logits, |logits| top_p(logits, 1e-9, &mut Vec::new())).len(), 1);
            assert_eq!(kept(&logits, |logits| top_k(logits, 1, &mut Vec::new())).len(), 1);
            assert_eq!(kept(&logits, |logits| typical(logits, 1e-9)).len(), 1);
        }
    }
}
