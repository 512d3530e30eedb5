//! Don't Repeat Yourself, the sampler of P. E. Weidmann (2024), with the rules that llama.cpp made
//! common: a token that would go on with an earlier passage costs more with the passage's length.

use std::collections::HashMap;

use crate::engine::output::Vocabulary;
use crate::engine::request::Dry;

/// No penalty is larger: it leaves nothing of a token, and the logits stay numbers.
const PENALTY_MAX: f32 = 10_000.0;

/// The passages of one prompt and answer.
pub(super) struct DryPenalty {
    options: Dry,
    history: Vec<u32>,
    /// Whether a sequence breaker ends with the token at the same place.
    breaks: Vec<bool>,
    /// The end of the text, as long as a breaker may reach back.
    tail: Vec<u8>,
}

impl DryPenalty {
    /// Begins with the prompt; none where the options have no effect.
    pub(super) fn new(
        options: Option<&Dry>,
        prompt: &[u32],
        vocabulary: &dyn Vocabulary,
    ) -> Option<Self> {
        let options = options.filter(|options| options.multiplier > 0.0)?.clone();
        let skipped = prompt.len().saturating_sub(options.last_n.unwrap_or(usize::MAX));
        let mut dry = Self { options, history: vec![], breaks: vec![], tail: vec![] };
        prompt[skipped..].iter().for_each(|&token| dry.accept(token, vocabulary));
        Some(dry)
    }

    /// Notes that a token stands there now.
    pub(super) fn accept(&mut self, token: u32, vocabulary: &dyn Vocabulary) {
        let bytes = vocabulary.bytes(token);
        let before = self.tail.len();
        self.tail.extend_from_slice(&bytes);
        let is_break = self.options.sequence_breakers.iter().any(|breaker| {
            let breaker = breaker.as_bytes();
            // It ends inside of this token; where it began does not matter.
            let from = (before + 1).saturating_sub(breaker.len());
            self.tail[from..].windows(breaker.len()).any(|part| part == breaker)
        });
        let longest = self.options.sequence_breakers.iter().map(String::len).max().unwrap_or(0);
        self.tail.drain(..self.tail.len().saturating_sub(longest.saturating_sub(1)));
        self.history.push(token);
        self.breaks.push(is_break);
    }

    /// Lowers the logits of the tokens that would go on with a passage.
    pub(super) fn apply(&self, logits: &mut [f32]) {
        let last_n = self.options.last_n.unwrap_or(usize::MAX).min(self.history.len());
        let from = self.history.len() - last_n;
        let (history, breaks) = (&self.history[from..], &self.breaks[from..]);
        let unbroken = breaks.iter().rev().take_while(|is_break| !**is_break).count();
        if unbroken < self.options.allowed_length {
            return;
        }
        let mut longest: HashMap<u32, usize> = HashMap::new();
        for (back, length) in common_suffixes(history).into_iter().enumerate().skip(1) {
            let length = length.min(unbroken);
            let next = history.len() - back;
            // A breaker itself may come again as often as it likes.
            if length >= self.options.allowed_length && !breaks[next] {
                let known = longest.entry(history[next]).or_insert(0);
                *known = length.max(*known);
            }
        }
        for (token, length) in longest {
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            let beyond = (length - self.options.allowed_length) as f32;
            let penalty = self.options.multiplier * self.options.base.powf(beyond);
            *logit -= penalty.min(PENALTY_MAX);
        }
    }
}

/// For each number of tokens taken off the end: how many tokens before that place are the last ones
/// of the whole. The Z function (Gusfield, 1997) of the tokens read backwards: one pass.
fn common_suffixes(tokens: &[u32]) -> Vec<usize> {
    let count = tokens.len();
    let at = |index: usize| tokens[count - 1 - index];
    let mut common = vec![0; count];
    let (mut left, mut right) = (0, 0);
    for index in 1..count {
        let mut length = if index < right { common[index - left].min(right - index) } else { 0 };
        while index + length < count && at(length) == at(index + length) {
            length += 1;
        }
        if index + length > right {
            (left, right) = (index, index + length);
        }
        common[index] = length;
    }
    common
}

#[cfg(test)]
mod tests {
    use super::super::tests::Letters;
    use super::*;

    fn shares(dry: Dry, history: &[u32], size: usize) -> Vec<f32> {
        let dry = DryPenalty::new(Some(&dry), history, &Letters).expect("has an effect");
        let mut logits = vec![0.0_f32; size];
        dry.apply(&mut logits);
        let total: f32 = logits.iter().map(|logit| logit.exp()).sum();
        logits.iter().map(|logit| logit.exp() / total).collect()
    }

    fn dry(multiplier: f32, allowed_length: usize, breaker: Option<&str>) -> Dry {
        Dry {
            multiplier,
            base: 1.1,
            allowed_length,
            last_n: None,
            sequence_breakers: breaker.map(str::to_owned).into_iter().collect(),
        }
    }

    #[test]
    fn the_shares_are_those_of_the_reference() {
        // The cases of llama.cpp's own test of its sampler; token 3 is the letter `d`.
        for (options, history, expected) in [
            (dry(1.0, 2, None), &[0, 1][..], &[0.25, 0.25, 0.25, 0.25][..]),
            (dry(1.0, 2, None), &[0, 1, 2, 0, 1], &[0.296_923, 0.296_923, 0.109_232, 0.296_923]),
            (dry(1.0, 2, Some("d")), &[0, 1, 3, 4, 0, 1], &[0.2; 5]),
            (
                dry(2.0, 2, None),
                &[0, 1, 2, 0, 1],
                &[0.241_818, 0.241_818, 0.032_727, 0.241_818, 0.241_818],
            ),
            (dry(1.0, 4, None), &[0, 1, 2, 3, 4, 0, 1], &[0.2; 5]),
        ] {
            let got = shares(options, history, expected.len());
            for (got, expected) in got.iter().zip(expected) {
                assert!((got - expected).abs() < 1e-5, "{history:?}: {got} and {expected}");
            }
        }
    }

    #[test]
    fn a_breaker_of_several_tokens_ends_a_passage_too() {
        let history = [0, 1, 2, 3, 4, 0, 1, 2];
        let penalised = |breaker| shares(dry(5.0, 2, breaker), &history, 6)[3] < 0.1;
        assert!(penalised(None) && penalised(Some("zz")));
        // `bc` stands right before the end: nothing is left of the passage behind it.
        assert!(!penalised(Some("bc")) && !penalised(Some("abc")));
        // `ea` stands in the middle: the passage is `bc`.
        assert!(penalised(Some("ea")));
    }

    #[test]
    fn only_the_last_tokens_count_and_no_penalty_is_endless() {
        let history = [0, 1, 2, 3, 3, 3, 0, 1];
        let options = |last_n| Dry { last_n, ..dry(5.0, 2, None) };
        assert!(shares(options(None), &history, 5)[2] < 0.1);
        assert!((shares(options(Some(4)), &history, 5)[2] - 0.2).abs() < 1e-6);
        let steep = Dry { base: 100.0, ..dry(100.0, 1, None) };
        let got = shares(steep, &[7; 500], 9);
        assert!(got.iter().all(|share| share.is_finite()) && got[7] == 0.0, "{got:?}");
    }

    #[test]
    fn common_suffixes_are_those_that_comparing_finds() {
        let mut state = 1_u32;
        for size in 0..40 {
            let tokens: Vec<u32> = (0..size)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state >> 31
                })
                .collect();
            for (back, length) in common_suffixes(&tokens).into_iter().enumerate().skip(1) {
                let earlier = tokens[..tokens.len() - back].iter().rev();
                let same = earlier.zip(tokens.iter().rev()).take_while(|(a, b)| a == b).count();
                assert_eq!(length, same, "{tokens:?} {back}");
            }
        }
    }
}
