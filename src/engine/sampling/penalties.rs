//! Penalties on tokens that were there before.

use std::collections::HashMap;

use crate::engine::request::Sampling;

/// Which tokens were there, and what that costs them.
pub(super) struct Penalties {
    presence: f32,
    frequency: f32,
    repetition: f32,
    /// How often a token was generated; tokens of the prompt stand here with 0.
    counts: HashMap<u32, u32>,
}

impl Penalties {
    /// Presence and frequency look at the answer alone, repetition at the prompt too, as in OpenAI's
    /// interface and in transformers.
    pub(super) fn new(options: &Sampling, prompt: &[u32]) -> Self {
        let repetition = options.repetition_penalty;
        let counts = if repetition == 1.0 {
            HashMap::new()
        } else {
            prompt.iter().map(|&token| (token, 0)).collect()
        };
        Self {
            presence: options.presence_penalty,
            frequency: options.frequency_penalty,
            repetition,
            counts,
        }
    }

    /// Whether anything would be changed.
    pub(super) fn any(&self) -> bool {
        self.presence != 0.0 || self.frequency != 0.0 || self.repetition != 1.0
    }

    /// Counts a generated token.
    pub(super) fn accept(&mut self, token: u32) {
        if self.any() {
            *self.counts.entry(token).or_insert(0) += 1;
        }
    }

    /// Changes the logits of the tokens that were there.
    pub(super) fn apply(&self, logits: &mut [f32]) {
        for (&token, &count) in &self.counts {
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            *logit = if *logit > 0.0 { *logit / self.repetition } else { *logit * self.repetition };
            if count > 0 {
                *logit -= self.presence + self.frequency * count as f32;
            }
        }
    }
}
