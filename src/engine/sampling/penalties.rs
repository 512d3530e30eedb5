//! Penalties on tokens that were there before.

use std::collections::{HashMap, VecDeque};

use crate::engine::request::Sampling;

/// Which tokens were there, and what that costs them.
///
/// Presence and frequency look at the answer alone, as in OpenAI's interface; repetition looks at
/// the prompt too (Keskar et al., 2019), or at the last tokens of both.
pub(super) struct Penalties {
    presence: f32,
    frequency: f32,
    repetition: f32,
    /// How often a token was generated.
    answered: HashMap<u32, u32>,
    seen: Window,
}

/// How often a token stands among the last ones.
struct Window {
    counts: HashMap<u32, u32>,
    /// The tokens in their order, where the window is bounded.
    order: VecDeque<u32>,
    tokens_max: Option<usize>,
}

impl Penalties {
    /// What the options say of an answer to this prompt.
    pub(super) fn new(options: &Sampling, prompt: &[u32]) -> Self {
        let mut seen = Window {
            counts: HashMap::new(),
            order: VecDeque::new(),
            tokens_max: options.repetition_last_n,
        };
        if options.repetition_penalty != 1.0 {
            for &token in prompt {
                seen.push(token);
            }
        }
        Self {
            presence: options.presence_penalty,
            frequency: options.frequency_penalty,
            repetition: options.repetition_penalty,
            answered: HashMap::new(),
            seen,
        }
    }

    /// Whether anything would be changed.
    pub(super) fn any(&self) -> bool {
        self.presence != 0.0 || self.frequency != 0.0 || self.repetition != 1.0
    }

    /// Counts a generated token.
    pub(super) fn accept(&mut self, token: u32) {
        if self.presence != 0.0 || self.frequency != 0.0 {
            *self.answered.entry(token).or_insert(0) += 1;
        }
        if self.repetition != 1.0 {
            self.seen.push(token);
        }
    }

    /// Changes the logits of the tokens that were there.
    pub(super) fn apply(&self, logits: &mut [f32]) {
        for &token in self.seen.counts.keys() {
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            *logit = if *logit > 0.0 { *logit / self.repetition } else { *logit * self.repetition };
        }
        for (&token, &count) in &self.answered {
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            *logit -= self.presence + self.frequency * count as f32;
        }
    }
}

impl Window {
    fn push(&mut self, token: u32) {
        let Some(tokens_max) = self.tokens_max else {
            *self.counts.entry(token).or_insert(0) += 1;
            return;
        };
        self.order.push_back(token);
        *self.counts.entry(token).or_insert(0) += 1;
        if self.order.len() > tokens_max
            && let Some(left) = self.order.pop_front()
            && let Some(count) = self.counts.get_mut(&left)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetition_looks_at_the_last_tokens_only() {
        for (last_n, changed) in [
            (None, vec![0, 1, 2, 3]),
            (Some(0), vec![]),
            (Some(2), vec![2, 3]),
            (Some(3), vec![1, 2, 3]),
        ] {
            let options = Sampling {
                repetition_penalty: 2.0,
                repetition_last_n: last_n,
                ..Sampling::default()
            };
            let mut penalties = Penalties::new(&options, &[0, 1, 1]);
            penalties.accept(2);
            penalties.accept(3);
            let mut logits = [1.0_f32; 5];
            penalties.apply(&mut logits);
            let got: Vec<usize> = (0..5).filter(|&at| logits[at] != 1.0).collect();
            assert_eq!(got, changed, "{last_n:?}");
        }
    }
}
