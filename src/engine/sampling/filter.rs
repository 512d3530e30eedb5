//! Filters on logits whose highest is 0. What is filtered out becomes negative infinity, in place, so
//! that the others keep their numbers.

use crate::engine::kernels::{ExpSum, Target};

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
    scratch.clear();
    scratch.extend_from_slice(logits);
    let (_, &mut threshold, _) = scratch.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let above = logits.iter().filter(|&&logit| logit > threshold).count();
    keep_above_and_some(logits, threshold, k - above);
}

/// Keeps the fewest of the most likely whose shares reach `top_p`; of equals, those with the lower
/// numbers.
///
/// The threshold is found by halving a set of candidates around a pivot, as quickselect does, but by
/// weight: each round costs a pass over what is left, together about two passes over the row.
pub(super) fn top_p(logits: &mut [f32], top_p: f32, scratch: &mut Vec<f32>) {
    if top_p >= 1.0 {
        return;
    }
    scratch.clear();
    scratch.extend(logits.iter().filter(|&&logit| logit > -87.0));
    let mut wanted = f64::from(top_p) * weight(scratch);
    let mut candidates: &mut [f32] = scratch;
    while candidates.len() > 1 {
        let middle = candidates.len() / 2;
        let (upper, pivot, lower) =
            candidates.select_nth_unstable_by(middle, |a, b| b.total_cmp(a));
        let heavy = weight(upper);
        if heavy >= wanted {
            candidates = upper;
        } else if heavy + f64::from(pivot.exp()) >= wanted || lower.is_empty() {
            let threshold = *pivot;
            return keep_share(logits, threshold, top_p);
        } else {
            wanted -= heavy + f64::from(pivot.exp());
            candidates = lower;
        }
    }
    if let Some(&mut threshold) = candidates.first_mut() {
        keep_share(logits, threshold, top_p);
    }
}

/// Keeps what is above the threshold, and as many of its equals as the share needs: at least one.
fn keep_share(logits: &mut [f32], threshold: f32, top_p: f32) {
    let rest = f64::from(top_p) * weight_of(logits) - weight_above(logits, threshold);
    let equals =
        (rest / f64::from(threshold.exp())).ceil().clamp(1.0, logits.len() as f64) as usize;
    keep_above_and_some(logits, threshold, equals);
}

fn weight(logits: &[f32]) -> f64 {
    Target::best().run(ExpSum { row: logits, highest: 0.0 })
}

fn weight_of(logits: &[f32]) -> f64 {
    logits.iter().filter(|&&logit| logit > -87.0).map(|logit| f64::from(logit.exp())).sum()
}

fn weight_above(logits: &[f32], threshold: f32) -> f64 {
    logits.iter().filter(|&&logit| logit > threshold).map(|logit| f64::from(logit.exp())).sum()
}

fn keep_from(logits: &mut [f32], threshold: f32) {
    for logit in logits {
        if *logit < threshold {
            *logit = f32::NEG_INFINITY;
        }
    }
}

fn keep_above_and_some(logits: &mut [f32], threshold: f32, mut equals: usize) {
    for logit in logits {
        if *logit > threshold {
            continue;
        }
        if *logit == threshold && equals > 0 {
            equals -= 1;
        } else {
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
        }
    }
}
