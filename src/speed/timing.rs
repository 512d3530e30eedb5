//! Asks a loaded model for answers and looks at the clock.

use std::io;
use std::thread::{Builder, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::plan::Plan;
use super::{SpeedError, chance};
use crate::engine::{
    Domain, Engine, EngineError, Generation, GenerationEvent, GenerationRequest, Sampling,
    TokenCount,
};

/// What takes longer than this is not measured again.
const ENOUGH: Duration = Duration::from_secs(20);
/// Takes a token from every answer.
const NEVER: f32 = -1_000.0;

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    pub(super) prompts: Vec<TimedPrompt>,
    pub(super) answers: Vec<TimedAnswer>,
    /// What could not be timed, in words.
    pub(super) left_out: Vec<String>,
}

/// The reading of a prompt.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimedPrompt {
    pub(super) tokens: usize,
    pub(super) tok_s: f64,
    pub(super) runs: usize,
}

/// The writing of answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimedAnswer {
    pub(super) context: usize,
    pub(super) streams: usize,
    pub(super) tok_s: f64,
    pub(super) runs: usize,
}

/// Requests at once.
#[derive(Clone, Copy)]
struct Case {
    prompt: usize,
    /// Tokens that are written.
    tokens: usize,
    streams: usize,
}

/// What one case gave, in tokens a second.
#[derive(Clone, Copy)]
struct Rates {
    read: f64,
    /// None where too few tokens came to say.
    written: Option<f64>,
}

/// How many tokens there were, and when.
type Sample = (Instant, u64);

/// A model to be measured.
pub(super) struct Bench<'a> {
    engine: &'a Engine,
    runs: usize,
    /// No two prompts are the same: nothing of one is in the cache for another.
    next: u64,
}

impl<'a> Bench<'a> {
    pub(super) fn new(engine: &'a Engine, runs: usize) -> Self {
        Self { engine, runs: runs.max(1), next: 0 }
    }

    /// Measures all that is planned.
    pub(super) fn all(
        &mut self,
        plan: &Plan,
        times: &mut Times,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), SpeedError> {
        // Whatever is done at the first use alone.
        let shortest = plan.prompts[0].min(64);
        self.once(Case { prompt: shortest, tokens: 4, streams: 1 })?;
        for &streams in &plan.streams {
            say(&format!("answers, {streams} at once"));
            let rates = self.often(Case { prompt: 1, tokens: plan.answer + 1, streams })?;
            times.answer(0, streams, &rates);
        }
        for (number, &prompt) in plan.prompts.iter().enumerate() {
            let is_deep = plan.is_deep && number + 1 == plan.prompts.len();
            say(&format!("a prompt of {prompt} tokens"));
            let tokens = if is_deep { plan.answer + 1 } else { 1 };
            let rates = self.often(Case { prompt, tokens, streams: 1 })?;
            let read = rates.iter().map(|one| one.read);
            if let Some((tok_s, runs)) = median(read) {
                times.prompts.push(TimedPrompt { tokens: prompt, tok_s, runs });
            }
            if is_deep {
                times.answer(prompt, 1, &rates);
            }
        }
        Ok(())
    }

    fn often(&mut self, case: Case) -> Result<Vec<Rates>, SpeedError> {
        let begun = Instant::now();
        let mut all = Vec::new();
        while all.is_empty() || (all.len() < self.runs && begun.elapsed() < ENOUGH) {
            all.push(self.once(case)?);
        }
        Ok(all)
    }

    fn once(&mut self, case: Case) -> Result<Rates, SpeedError> {
        let asked = Instant::now();
        let running: Vec<Generation> =
            (0..case.streams).map(|_| self.ask(case)).collect::<Result<_, _>>()?;
        // Who is not read gives the place up after a while: each has a reader.
        let samples: Vec<Vec<Sample>> = std::thread::scope(|scope| {
            let start = |one| Builder::new().spawn_scoped(scope, || samples(one));
            let readers: io::Result<Vec<_>> = running.into_iter().map(start).collect();
            let readers = readers.map_err(SpeedError::Threads)?;
            let joined = readers.into_iter().map(ScopedJoinHandle::join);
            let read = joined.map(|one| one.unwrap_or(Err(EngineError::Internal)));
            read.map(|one| one.map_err(SpeedError::from)).collect::<Result<_, SpeedError>>()
        })?;
        let first = samples.iter().filter_map(|one| one.first()).map(|(at, _)| *at).max();
        let read_s = first.ok_or(EngineError::Internal)?.duration_since(asked).as_secs_f64();
        let read = (case.streams * case.prompt) as f64 / read_s;
        Ok(Rates { read, written: written(&samples) })
    }

    /// A greedy request that does not end before its last token.
    fn ask(&mut self, case: Case) -> Result<Generation, EngineError> {
        self.next += 1;
        let prompt = chance::prompt(self.next, case.prompt, self.engine.info().vocabulary);
        let domain = Domain(u128::from(self.next));
        let mut request = GenerationRequest::new(prompt, case.tokens, domain);
        let ends = self.engine.end_tokens().iter();
        request.sampling =
            Sampling { logit_bias: ends.map(|&end| (end, NEVER)).collect(), ..Sampling::default() };
        self.engine.generate(request)
    }
}

impl Times {
    fn answer(&mut self, context: usize, streams: usize, rates: &[Rates]) {
        match median(rates.iter().filter_map(|one| one.written)) {
            Some((tok_s, runs)) => {
                self.answers.push(TimedAnswer { context, streams, tok_s, runs });
            }
            None => self.left_out.push(format!(
                "{streams} at once after {context} tokens is left out: too little came to be timed"
            )),
        }
    }
}

/// How many tokens an answer has, whenever a piece of it comes.
fn samples(mut generation: Generation) -> Result<Vec<Sample>, EngineError> {
    let mut count = TokenCount::default();
    let mut samples = Vec::new();
    while let Some(event) = generation.next_blocking() {
        match event {
            GenerationEvent::Started { generated, .. } => count = generated,
            GenerationEvent::Text { .. } | GenerationEvent::Finished { .. } => {
                samples.push((Instant::now(), count.get()));
            }
            GenerationEvent::Prompt(_) => {}
            GenerationEvent::Failed(error) => return Err(error),
        }
    }
    Ok(samples)
}

/// Tokens a second of all together, while all of them were at it: from the last that began until the
/// first that ended. Each is taken between two samples of its own, so that no part of a step is counted
/// on one side alone.
fn written(all: &[Vec<Sample>]) -> Option<f64> {
    let begun = all.iter().filter_map(|one| one.first()).map(|(at, _)| *at).max()?;
    let ended = all.iter().filter_map(|one| one.last()).map(|(at, _)| *at).min()?;
    let rate = |one: &Vec<Sample>| {
        let (from, first) = one.iter().find(|(at, _)| *at >= begun)?;
        let (to, last) = one.iter().rfind(|(at, _)| *at <= ended)?;
        let seconds = to.checked_duration_since(*from)?.as_secs_f64();
        (last > first && seconds > 0.0).then(|| (last - first) as f64 / seconds)
    };
    all.iter().map(rate).sum()
}

/// The middle one, and how many there were.
fn median(rates: impl Iterator<Item = f64>) -> Option<(f64, usize)> {
    let mut rates: Vec<f64> = rates.collect();
    rates.sort_by(f64::total_cmp);
    let (low, high) = (rates.get(rates.len().checked_sub(1)? / 2)?, rates.get(rates.len() / 2)?);
    Some((low.midpoint(*high), rates.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(base: Instant, samples: &[(u64, u64)]) -> Vec<Sample> {
        samples.iter().map(|(ms, count)| (base + Duration::from_millis(*ms), *count)).collect()
    }

    #[test]
    fn answers_are_timed_while_all_of_them_are_written() {
        let base = Instant::now();
        let steady = |from: u64| {
            let samples: Vec<_> = (0..=20).map(|n| (from + 10 * n, 1 + n)).collect();
            at(base, &samples)
        };
        let check = |all: &[Vec<Sample>], expected: f64| {
            let rate = written(all).expect("enough samples");
            assert!((rate - expected).abs() < 1e-6, "{rate}");
        };
        check(&[steady(0)], 100.0);
        check(&[steady(0), steady(3), steady(40)], 300.0);
        // Alone for a while, and faster then: that does not count.
        let fast: Vec<_> = (0..50).map(|n| (n, n)).chain([(200, 60), (300, 70)]).collect();
        let late = at(base, &[(200, 1), (250, 6), (300, 11)]);
        check(&[at(base, &fast), late], 200.0);
    }

    #[test]
    fn too_few_samples_give_no_rate() {
        let base = Instant::now();
        for none in [
            vec![],
            vec![vec![]],
            vec![at(base, &[(0, 1)])],
            vec![at(base, &[(0, 1), (5, 1)])],
            vec![at(base, &[(0, 1), (0, 9)])],
            vec![at(base, &[(0, 1), (5, 6)]), at(base, &[(9, 1), (12, 4)])],
        ] {
            assert_eq!(written(&none).filter(|rate| *rate > 0.0), None, "{none:?}");
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([3.0].into_iter()), Some((3.0, 1)));
        assert_eq!(median([9.0, 1.0].into_iter()), Some((5.0, 2)));
        assert_eq!(median([9.0, 1.0, 2.0].into_iter()), Some((2.0, 3)));
    }
}
