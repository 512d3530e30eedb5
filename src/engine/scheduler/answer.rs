//! The answer of one generation: from logits to what its reader gets.

use tokio::sync::mpsc;

use crate::engine::constraint::Constraint;
use crate::engine::error::EngineError;
use crate::engine::output::{Output, Vocabulary};
use crate::engine::request::{Candidate, FinishReason, GenerationEvent, TokenCount, TokenLogprob};
use crate::engine::sampling::{Logprob, Sampler, logprobs};

/// What the model thought of the tokens of its prompt.
#[derive(Clone, Debug, Default)]
pub(super) struct Judged {
    tokens: Vec<TokenLogprob>,
    /// Whether the reader has them.
    is_told: bool,
}

/// The answer of a generation.
pub(super) struct Generate {
    pub(super) sampler: Sampler,
    pub(super) constraint: Option<Constraint>,
    pub(super) output: Output,
    pub(super) events: mpsc::Sender<GenerationEvent>,
    pub(super) max_tokens: usize,
    pub(super) logprobs: Option<u8>,
    /// The tokens of the prompt, where they are judged.
    pub(super) judged: Option<Judged>,
    pub(super) generated: usize,
    /// The same count, as the reader sees it.
    pub(super) counted: TokenCount,
}

impl Generate {
    /// Chooses the next token. No token where the answer ended with an end token.
    pub(super) fn next(
        &mut self,
        logits: &[f32],
        vocabulary: &dyn Vocabulary,
    ) -> Result<(Option<u32>, Option<FinishReason>), EngineError> {
        let token = self.choose(logits)?;
        self.generated += 1;
        self.counted.add(1);
        if vocabulary.is_end(token) {
            return Ok((None, Some(FinishReason::Stop)));
        }
        self.sampler.accept(token, vocabulary);
        let logprob = match self.logprobs {
            None => None,
            Some(top) => Some(judgement(logits, token, top, vocabulary)?),
        };
        let piece = self.output.push(token, logprob);
        if let Some(event) = piece.event {
            self.emit(event);
        }
        if let Some(which) = piece.stopped {
            return Ok((Some(token), Some(FinishReason::StopText(which))));
        }
        let is_last = self.generated >= self.max_tokens;
        Ok((Some(token), is_last.then_some(FinishReason::Length)))
    }

    /// Whether tokens of the prompt are still to be judged.
    pub(super) fn judges(&self) -> bool {
        self.judged.as_ref().is_some_and(|judged| !judged.is_told)
    }

    /// Judges the next token of the prompt.
    pub(super) fn judge(
        &mut self,
        logits: &[f32],
        token: u32,
        vocabulary: &dyn Vocabulary,
    ) -> Result<(), EngineError> {
        let top = self.logprobs.unwrap_or(0);
        if let Some(judged) = self.judged.as_mut().filter(|judged| !judged.is_told) {
            judged.tokens.push(judgement(logits, token, top, vocabulary)?);
        }
        Ok(())
    }

    /// The prompt is read: tells how likely its tokens were.
    pub(super) fn tell_judged(&mut self) {
        if let Some(judged) = self.judged.as_mut().filter(|judged| !judged.is_told) {
            judged.is_told = true;
            let tokens = std::mem::take(&mut judged.tokens);
            self.emit(GenerationEvent::Prompt(tokens));
        }
    }

    /// The prompt will be read again from its beginning.
    pub(super) fn judge_anew(&mut self) {
        if let Some(judged) = &mut self.judged {
            judged.tokens.clear();
        }
    }

    /// Chooses among what the constraint allows. It is asked once for each token of the answer, in
    /// their order, and never for a guess that did not come true: nothing is ever taken back.
    fn choose(&mut self, logits: &[f32]) -> Result<u32, EngineError> {
        let Some(constraint) = &mut self.constraint else {
            return self.sampler.choose(logits, self.generated);
        };
        let mut allowed = logits.to_vec();
        constraint.mask(&mut allowed)?;
        let token = self.sampler.choose(&allowed, self.generated)?;
        constraint.accept(token)?;
        Ok(token)
    }

    /// Sends what was held back.
    pub(super) fn send_rest(&mut self) {
        if let Some(event) = self.output.finish().event {
            self.emit(event);
        }
    }

    /// There is room: a sequence whose reader is behind is not given a row. A reader that left is
    /// noticed by `is_abandoned`.
    pub(super) fn emit(&mut self, event: GenerationEvent) {
        let _ = self.events.try_send(event);
    }
}

/// How likely a token was, and what else might have stood there.
fn judgement(
    logits: &[f32],
    token: u32,
    top: u8,
    vocabulary: &dyn Vocabulary,
) -> Result<TokenLogprob, EngineError> {
    let (chosen, top) = logprobs(logits, token, top.into())?;
    let candidate = |one: Logprob| Candidate {
        token: one.token,
        bytes: vocabulary.bytes(one.token),
        logprob: one.logprob,
    };
    let top = top.into_iter().map(candidate).collect();
    Ok(TokenLogprob { chosen: candidate(chosen), top, text_bytes: 0 })
}
