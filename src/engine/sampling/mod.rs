//! From the logits of a row to the next token: penalties, filters, a draw, log-probabilities. The
//! vocabulary is never sorted. With a seed a draw depends on nothing but the logits and the number of
//! the token in the answer.
//!
//! The order is that of llama.cpp's default chain: bias, penalties, DRY, top-k, typical, top-p,
//! min-p, temperature, draw. The filters see the model's own shares, not those of a temperature.

mod dry;
mod filter;
mod logprobs;
mod penalties;

use super::error::EngineError;
use super::kernels::{Highest, Target};
use super::output::Vocabulary;
use super::request::{Dry, Sampling};
use dry::DryPenalty;
pub(crate) use logprobs::{LogSoftmax, Logprob, logprobs};
use penalties::Penalties;

/// The most alternatives that a request can ask log-probabilities of.
pub(crate) const TOP_LOGPROBS_MAX: u8 = 20;
/// Tokens of a vocabulary that are looked at together.
const RUN: usize = 1024;
/// The most single tokens whose logits a request can shift.
pub(crate) const LOGIT_BIAS_MAX: usize = 1024;
/// The most sequence breakers of a request, and the bytes of each.
const BREAKERS_MAX: usize = 64;
const BREAKER_BYTES_MAX: usize = 64;

/// Chooses the tokens of one answer.
pub(crate) struct Sampler {
    options: Sampling,
    seed: u64,
    penalties: Penalties,
    dry: Option<DryPenalty>,
    /// Working space: the logits after penalties, then what is left of them.
    logits: Vec<f32>,
    scratch: Vec<f32>,
}

impl Sampler {
    /// Checks the options. The seed is the one of this answer, whatever the options say.
    pub(crate) fn new(
        options: Sampling,
        prompt: &[u32],
        vocabulary: &dyn Vocabulary,
        seed: u64,
    ) -> Result<Self, EngineError> {
        check(&options, vocabulary.size())?;
        let penalties = Penalties::new(&options, prompt);
        let dry = DryPenalty::new(options.dry.as_ref(), prompt, vocabulary);
        Ok(Self { options, seed, penalties, dry, logits: Vec::new(), scratch: Vec::new() })
    }

    /// Chooses token number `index` of the answer. `logits` are those of the model.
    pub(crate) fn choose(&mut self, logits: &[f32], index: usize) -> Result<u32, EngineError> {
        if self.options.temperature == 0.0 && !self.changes_logits() {
            return highest(logits).map(|(token, _)| token);
        }
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        for &(token, bias) in &self.options.logit_bias {
            if let Some(logit) = self.logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        self.penalties.apply(&mut self.logits);
        if let Some(dry) = &self.dry {
            dry.apply(&mut self.logits);
        }
        let (best, top) = highest(&self.logits)?;
        if self.options.temperature == 0.0 {
            return Ok(best);
        }
        for logit in &mut self.logits {
            *logit -= top;
        }
        filter::top_k(&mut self.logits, self.options.top_k as usize, &mut self.scratch);
        filter::typical(&mut self.logits, self.options.typical_p);
        filter::top_p(&mut self.logits, self.options.top_p, &mut self.scratch);
        filter::min_p(&mut self.logits, self.options.min_p);
        // The typical tokens need not be the most likely ones.
        let is_best = self.logits.get(best as usize) == Some(&0.0);
        let (best, top) = if is_best { (best, 0.0) } else { highest(&self.logits)? };
        for logit in &mut self.logits {
            // A difference first: the quotient of two large numbers may not be finite.
            *logit = (*logit - top) / self.options.temperature;
        }
        Ok(draw(&self.logits, uniform(self.seed, index as u64)).unwrap_or(best))
    }

    /// Notes that a token is part of the answer now.
    pub(crate) fn accept(&mut self, token: u32, vocabulary: &dyn Vocabulary) {
        self.penalties.accept(token);
        if let Some(dry) = &mut self.dry {
            dry.accept(token, vocabulary);
        }
    }

    fn changes_logits(&self) -> bool {
        self.penalties.any() || self.dry.is_some() || !self.options.logit_bias.is_empty()
    }
}

fn check(options: &Sampling, vocabulary: usize) -> Result<(), EngineError> {
    let out = |parameter, expected| Err(EngineError::OutOfRange { parameter, expected });
    if !(0.0..=100.0).contains(&options.temperature) {
        return out("temperature", "0 to 100");
    }
    if !(options.top_p > 0.0 && options.top_p <= 1.0) {
        return out("top_p", "above 0, up to 1");
    }
    if !(0.0..=1.0).contains(&options.min_p) {
        return out("min_p", "0 to 1");
    }
    if !(options.typical_p > 0.0 && options.typical_p <= 1.0) {
        return out("typical_p", "above 0, up to 1");
    }
    if !(options.presence_penalty.abs() <= 100.0 && options.frequency_penalty.abs() <= 100.0) {
        return out("penalties", "-100 to 100");
    }
    if !(options.repetition_penalty > 0.0 && options.repetition_penalty <= 100.0) {
        return out("repetition_penalty", "above 0, up to 100");
    }
    if options.logit_bias.len() > LOGIT_BIAS_MAX
        || !options.logit_bias.iter().all(|(_, bias)| bias.abs() <= 1000.0)
    {
        return out("logit_bias", "at most 1024 tokens, each from -1000 to 1000");
    }
    if let Some(dry) = &options.dry {
        check_dry(dry)?;
    }
    match options.logit_bias.iter().find(|&&(token, _)| token as usize >= vocabulary) {
        Some(&(token, _)) => Err(EngineError::UnknownToken { token }),
        None => Ok(()),
    }
}

fn check_dry(dry: &Dry) -> Result<(), EngineError> {
    let out = |parameter, expected| Err(EngineError::OutOfRange { parameter, expected });
    if !(0.0..=100.0).contains(&dry.multiplier) {
        return out("dry_multiplier", "0 to 100");
    }
    if !(1.0..=100.0).contains(&dry.base) {
        return out("dry_base", "1 to 100");
    }
    if dry.allowed_length == 0 {
        return out("dry_allowed_length", "at least 1");
    }
    let is_bounded = |breaker: &String| (1..=BREAKER_BYTES_MAX).contains(&breaker.len());
    if dry.sequence_breakers.len() > BREAKERS_MAX || !dry.sequence_breakers.iter().all(is_bounded) {
        return out("dry_sequence_breakers", "at most 64 texts, each of 1 to 64 bytes");
    }
    Ok(())
}

/// The first of the most likely tokens and its logit. Refuses rows that hold anything but numbers;
/// negative infinity is a token that cannot be.
pub(crate) fn highest(logits: &[f32]) -> Result<(u32, f32), EngineError> {
    let (mut best, mut top) = (0, f32::NEG_INFINITY);
    for (number, run) in logits.chunks(RUN).enumerate() {
        let highest = Target::best().run(Highest(run));
        if highest.is_nan() {
            return Err(EngineError::NotANumber);
        }
        if highest > top {
            (best, top) = (number, highest);
        }
    }
    if !top.is_finite() {
        return Err(EngineError::NotANumber);
    }
    let run = logits[best * RUN..].iter();
    let place = run.take(RUN).position(|logit| *logit == top).unwrap_or(0);
    Ok(((best * RUN + place) as u32, top))
}

/// Draws by the weights `exp(logit)`, the highest of which is 1. The tokens are gone through by
/// their numbers, so that rounding in the logits does not reorder them.
fn draw(logits: &[f32], uniform: f64) -> Option<u32> {
    let weights: Vec<f64> = logits.chunks(RUN).map(filter::weight).collect();
    let mut left = uniform * weights.iter().sum::<f64>();
    let reached = weights.iter().position(|weight| {
        let is_in_it = left < *weight;
        left -= if is_in_it { 0.0 } else { *weight };
        is_in_it
    });
    // Rounding may leave something behind the last of them.
    let number = reached.or_else(|| weights.iter().rposition(|weight| *weight > 0.0))?;
    let mut last = None;
    for (token, &logit) in logits.iter().enumerate().skip(number * RUN).take(RUN) {
        if logit < filter::LEAST {
            continue;
        }
        last = Some(token as u32);
        left -= f64::from(logit.exp());
        if left < 0.0 {
            break;
        }
    }
    last
}

/// A number from 0 up to but not 1, from the seed and a counter.
fn uniform(seed: u64, counter: u64) -> f64 {
    (mix(seed, counter.wrapping_add(1)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The seed of one of several answers; the first has the one that was asked for.
pub(crate) fn choice_seed(seed: u64, choice: u64) -> u64 {
    // Mixed twice: a number of the stream itself would make the streams of the choices overlap.
    if choice == 0 { seed } else { mix(mix(seed, choice), u64::MAX) }
}

/// SplitMix64 (Steele, Lea and Flood, 2014), which takes any counter as its state.
fn mix(seed: u64, counter: u64) -> u64 {
    let mut x = seed.wrapping_add(counter.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand tokens, each a letter.
    pub(super) struct Letters;

    impl Vocabulary for Letters {
        fn size(&self) -> usize {
            1000
        }

        fn is_end(&self, _: u32) -> bool {
            false
        }

        fn bytes(&self, token: u32) -> Vec<u8> {
            vec![b'a' + (token % 26) as u8]
        }
    }

    fn sampler(options: Sampling) -> Sampler {
        let seed = options.seed.unwrap_or(7);
        Sampler::new(options, &[], &Letters, seed).expect("valid options")
    }

    fn shares(options: &Sampling, logits: &[f32], draws: usize) -> Vec<f64> {
        let mut counts = vec![0_usize; logits.len()];
        let mut sampler = sampler(options.clone());
        for index in 0..draws {
            counts[sampler.choose(logits, index).unwrap() as usize] += 1;
        }
        counts.into_iter().map(|count| count as f64 / draws as f64).collect()
    }

    const LOGITS: [f32; 6] = [1.0, 3.0, -2.0, 2.5, 0.0, 3.0];

    fn sampled() -> Sampling {
        Sampling { temperature: 1.0, seed: Some(42), ..Sampling::default() }
    }

    #[test]
    fn temperature_zero_takes_the_first_of_the_best() {
        assert_eq!(sampler(Sampling::default()).choose(&LOGITS, 0), Ok(1));
    }

    #[test]
    fn draws_follow_the_distribution() {
        let total: f64 = LOGITS.iter().map(|&x| f64::from(x).exp()).sum();
        for (share, logit) in shares(&sampled(), &LOGITS, 20_000).iter().zip(LOGITS) {
            assert!((share - f64::from(logit).exp() / total).abs() < 0.015);
        }
    }

    #[test]
    fn top_k_keeps_so_many() {
        let shares = shares(&Sampling { top_k: 2, ..sampled() }, &LOGITS, 2000);
        assert_eq!(shares.iter().filter(|&&share| share > 0.0).count(), 2);
        assert!(shares[1] > 0.4 && shares[5] > 0.4);
    }

    #[test]
    fn top_p_keeps_the_least_set_that_reaches_it() {
        // Shares are about 0.05, 0.357, 0.00, 0.22, 0.02, 0.357 of the whole.
        for (top_p, kept) in
            [(0.1, 1), (0.35, 1), (0.36, 2), (0.5, 2), (0.9, 3), (0.96, 4), (1.0, 6)]
        {
            let shares = shares(&Sampling { top_p, ..sampled() }, &LOGITS, 20_000);
            assert_eq!(shares.iter().filter(|&&share| share > 0.0).count(), kept, "{top_p}");
        }
    }

    #[test]
    fn temperature_comes_after_the_filters() {
        // At this heat all shares are nearly equal, but the filters see the model's own.
        let hot = Sampling { temperature: 100.0, top_p: 0.9, ..sampled() };
        let shares = shares(&hot, &LOGITS, 20_000);
        assert_eq!(shares.iter().filter(|&&share| share > 0.0).count(), 3);
        assert!((shares[3] - 1.0 / 3.0).abs() < 0.02, "{shares:?}");
    }

    #[test]
    fn a_typical_token_need_not_be_the_most_likely() {
        let logits = [0.4_f32.ln(), 0.2_f32.ln(), 0.2_f32.ln(), 0.2_f32.ln()];
        let shares = shares(&Sampling { typical_p: 0.5, ..sampled() }, &logits, 6_000);
        assert_eq!(shares[0], 0.0);
        assert!(shares[1..].iter().all(|share| (share - 1.0 / 3.0).abs() < 0.03), "{shares:?}");
    }

    #[test]
    fn a_passage_is_not_repeated_where_that_costs() {
        let dry = Dry { sequence_breakers: Vec::new(), ..Dry::default() };
        let options = Sampling { dry: Some(Dry { multiplier: 5.0, ..dry }), ..Sampling::default() };
        let mut sampler = Sampler::new(options, &[8, 9, 1, 8, 9], &Letters, 0).unwrap();
        assert_eq!(sampler.choose(&LOGITS, 0), Ok(5));
        sampler.accept(5, &Letters);
        assert_eq!(sampler.choose(&LOGITS, 1), Ok(1));
    }

    #[test]
    fn min_p_is_relative_to_the_best() {
        let shares = shares(&Sampling { min_p: 0.5, ..sampled() }, &LOGITS, 2000);
        assert_eq!(shares.iter().filter(|&&share| share > 0.0).count(), 3);
    }

    #[test]
    fn a_seed_repeats_and_another_does_not() {
        let run = |seed| {
            let mut sampler = sampler(Sampling { seed: Some(seed), ..sampled() });
            (0..64).map(|index| sampler.choose(&LOGITS, index).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn penalties_and_bias_move_the_choice() {
        let mut penalised = sampler(Sampling { presence_penalty: 1.0, ..Sampling::default() });
        penalised.accept(1, &Letters);
        assert_eq!(penalised.choose(&LOGITS, 1), Ok(5));
        penalised.accept(5, &Letters);
        assert_eq!(penalised.choose(&LOGITS, 2), Ok(3));
        let mut biased = sampler(Sampling { logit_bias: vec![(2, 100.0)], ..Sampling::default() });
        assert_eq!(biased.choose(&LOGITS, 0), Ok(2));
        let options = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        let mut repeated = Sampler::new(options, &[1, 5], &Letters, 0).unwrap();
        assert_eq!(repeated.choose(&LOGITS, 0), Ok(3));
    }

    #[test]
    fn rows_that_hold_no_numbers_are_refused() {
        for bad in [
            vec![],
            vec![f32::NAN, 1.0],
            vec![1.0, f32::NAN],
            vec![f32::INFINITY],
            vec![f32::NEG_INFINITY; 3],
        ] {
            for options in [Sampling::default(), sampled()] {
                assert_eq!(
                    sampler(options).choose(&bad, 0),
                    Err(EngineError::NotANumber),
                    "{bad:?}"
                );
            }
        }
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let base = sampled;
        let with_dry = |change: fn(&mut Dry)| {
            let mut dry = Dry::default();
            change(&mut dry);
            Sampling { dry: Some(dry), ..sampled() }
        };
        for options in [
            Sampling { temperature: -0.1, ..base() },
            Sampling { temperature: f32::NAN, ..base() },
            Sampling { top_p: 0.0, ..base() },
            Sampling { top_p: 1.1, ..base() },
            Sampling { top_p: f32::NAN, ..base() },
            Sampling { min_p: -1.0, ..base() },
            Sampling { typical_p: 0.0, ..base() },
            Sampling { typical_p: f32::NAN, ..base() },
            with_dry(|dry| dry.multiplier = f32::NAN),
            with_dry(|dry| dry.multiplier = -1.0),
            with_dry(|dry| dry.base = 0.5),
            with_dry(|dry| dry.allowed_length = 0),
            with_dry(|dry| dry.sequence_breakers = vec![String::new()]),
            with_dry(|dry| dry.sequence_breakers = vec!["x".repeat(65)]),
            with_dry(|dry| dry.sequence_breakers = vec!["x".into(); 65]),
            Sampling { presence_penalty: f32::INFINITY, ..base() },
            Sampling { frequency_penalty: f32::NAN, ..base() },
            Sampling { repetition_penalty: 0.0, ..base() },
            Sampling { logit_bias: vec![(1, f32::NAN)], ..base() },
            Sampling { logit_bias: vec![(1000, 1.0)], ..base() },
            Sampling { logit_bias: vec![(1, 1.0); 2000], ..base() },
        ] {
            assert!(Sampler::new(options.clone(), &[], &Letters, 0).is_err(), "{options:?}");
        }
    }

    #[test]
    fn extreme_logits_still_give_a_token() {
        let logits = [3e38, -3e38, 1e30];
        for temperature in [1e-6, 1.0, 100.0] {
            let mut sampler = sampler(Sampling { temperature, top_p: 0.9, top_k: 2, ..sampled() });
            assert_eq!(sampler.choose(&logits, 0), Ok(0));
        }
    }
}
