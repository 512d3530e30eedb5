//! Log-probabilities under the model's own distribution, before penalties and filters.

use super::highest;
use crate::engine::error::EngineError;
use crate::engine::kernels::{ExpSum, Target};

/// A token and its log-probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Logprob {
    /// The number of the token.
    pub(crate) token: u32,
    /// The natural logarithm of its probability.
    pub(crate) logprob: f32,
}

/// The logits of a row with what turns them into log-probabilities.
pub(crate) struct LogSoftmax<'a> {
    logits: &'a [f32],
    best: u32,
    /// The logarithm of the sum of the exponentials.
    normaliser: f64,
}

impl<'a> LogSoftmax<'a> {
    /// Refuses rows that hold no numbers.
    pub(crate) fn new(logits: &'a [f32]) -> Result<Self, EngineError> {
        let (best, top) = highest(logits)?;
        let sum =
            Target::best().run(ExpSum { row: logits, highest: top, least: f32::NEG_INFINITY });
        Ok(Self { logits, best, normaliser: f64::from(top) + sum.ln() })
    }

    /// The first of the most likely tokens.
    pub(crate) fn best(&self) -> u32 {
        self.best
    }

    /// The log-probability of a token of the vocabulary.
    pub(crate) fn of(&self, token: u32) -> f64 {
        self.logits
            .get(token as usize)
            .map_or(f64::NEG_INFINITY, |&logit| f64::from(logit) - self.normaliser)
    }
}

/// The log-probabilities of the chosen token and of the `top` most likely ones, best first.
pub(crate) fn logprobs(
    logits: &[f32],
    chosen: u32,
    top: usize,
) -> Result<(Logprob, Vec<Logprob>), EngineError> {
    let softmax = LogSoftmax::new(logits)?;
    let entry = |token: u32| Logprob { token, logprob: softmax.of(token) as f32 };
    Ok((entry(chosen), best_tokens(logits, top).into_iter().map(entry).collect()))
}

/// The numbers of the highest logits, best first; of equals, the lower number. One pass that keeps a
/// short sorted list.
fn best_tokens(logits: &[f32], count: usize) -> Vec<u32> {
    let mut best: Vec<u32> = Vec::with_capacity(count + 1);
    for (token, &logit) in logits.iter().enumerate() {
        if best.len() == count && best.last().is_none_or(|&last| logit <= logits[last as usize]) {
            continue;
        }
        let place = best.partition_point(|&other| logits[other as usize] >= logit);
        best.insert(place, token as u32);
        best.truncate(count);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_the_logarithms_of_the_softmax() {
        let logits = [1.0_f32, -2.0, 3.5, 3.5, 0.0];
        let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        let (chosen, top) = logprobs(&logits, 1, 3).unwrap();
        assert!(
            (f64::from(chosen.logprob) - (f64::from(-2.0_f32).exp() / total).ln()).abs() < 1e-5
        );
        assert_eq!(top.iter().map(|entry| entry.token).collect::<Vec<_>>(), vec![2, 3, 0]);
        assert_eq!(best_tokens(&logits, 0), Vec::<u32>::new());
        assert_eq!(best_tokens(&logits, 9).len(), 5);
    }

    #[test]
    fn an_impossible_token_has_no_probability() {
        let softmax = LogSoftmax::new(&[0.0, f32::NEG_INFINITY]).unwrap();
        assert_eq!(softmax.of(1), f64::NEG_INFINITY);
        assert_eq!(softmax.of(7), f64::NEG_INFINITY);
        assert_eq!(softmax.best(), 0);
    }
}
