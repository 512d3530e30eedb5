//! What comes of a step: tokens for those who have logits, and the end of what is done.

use super::plan::Share;
use super::sequence::Sequence;
use super::{FAILURES_MAX, Scheduler};
use crate::engine::error::EngineError;
use crate::engine::request::FinishReason;

impl Scheduler {
    /// Hands the logits out, and ends what is done.
    pub(super) fn take(&mut self, shares: &[Share], logits: Vec<Vec<f32>>) {
        let mut logits = logits.into_iter();
        let (mut ended, mut begun) = (Vec::new(), Vec::new());
        for share in shares {
            let sequence = &mut self.running[share.index];
            if !sequence.is_decoding() {
                self.stats.prompt_tokens_total += (share.to - share.from) as u64;
            }
            // Before the tokens change: the wanted rows are those of the step as it was.
            let wanted: Vec<usize> =
                (share.from..share.end()).filter(|&at| sequence.wants_logits(at)).collect();
            let rows = logits.by_ref().take(wanted.len());
            sequence.computed = share.to;
            self.pool.register(sequence.owners, &mut sequence.table, &sequence.tokens[..share.to]);
            let (vocabulary, context) = (&*self.vocabulary, self.limits.context);
            for (position, row) in wanted.into_iter().zip(rows.collect::<Vec<_>>()) {
                if position >= share.to {
                    // The row of a guess: it counts where the guess came true.
                    let guess = share.guesses.get(position - share.to);
                    if sequence.tokens.get(position) != guess {
                        break;
                    }
                    sequence.computed = position + 1;
                }
                // Before that, tokens of the prompt are judged.
                let is_read = position + 1 >= sequence.tokens.len();
                let followers = if is_read {
                    sequence.take_followers(|table| self.pool.share(table))
                } else {
                    Vec::new()
                };
                for mut follower in followers {
                    let outcome = follower.take_logits(position, &row, vocabulary, context);
                    begun.push((follower, outcome.transpose()));
                }
                let outcome = sequence.take_logits(position, &row, vocabulary, context).transpose();
                if let Some(outcome) = outcome {
                    ended.push((share.index, outcome));
                    break;
                }
            }
            if !share.guesses.is_empty() {
                self.settle(share);
            }
        }
        // From the end, so that places before stay what they are.
        ended.sort_by_key(|(index, _)| std::cmp::Reverse(*index));
        for (index, outcome) in ended {
            let sequence = self.running.remove(index);
            self.end(sequence, outcome);
        }
        for (sequence, outcome) in begun {
            match outcome {
                None => self.running.push(sequence),
                Some(outcome) => self.end(sequence, outcome),
            }
        }
    }

    /// Ends those whose rows the step had.
    pub(super) fn fail_step(&mut self, shares: &[Share]) {
        for share in shares.iter().rev() {
            let sequence = self.running.remove(share.index);
            self.end(sequence, Err(EngineError::Internal));
        }
        self.failures += 1;
        if self.failures >= FAILURES_MAX {
            self.inbox.mark_unhealthy();
            let waiting = self.queue.take_where(|_| true);
            self.turn_away(waiting, |_| EngineError::Unhealthy);
        }
    }

    /// Ends one: its blocks go back, it is counted, and its reader hears of it.
    pub(super) fn end(
        &mut self,
        mut sequence: Sequence,
        outcome: Result<FinishReason, EngineError>,
    ) {
        self.pool.release(&mut sequence.table);
        self.queue.give_back(sequence.party().domain, sequence.unneeded());
        match &outcome {
            Ok(reason) => {
                let usage = sequence.usage();
                self.stats.completion_tokens_total += usage.completion_tokens as u64;
                if let Some(ms) = sequence.first_token_ms() {
                    self.stats.first_token.add(ms);
                }
                if *reason == FinishReason::Cancelled {
                    self.stats.requests_cancelled_total += 1;
                } else {
                    self.stats.requests_finished_total += 1;
                }
            }
            Err(error) => {
                tracing::debug!(generation = sequence.id, cause = %error, "a request failed");
                self.stats.requests_failed_total += 1;
            }
        }
        // Before the reader hears of it: whoever has seen the end finds the place free.
        self.publish();
        match outcome {
            Ok(reason) => sequence.finish(reason),
            Err(error) => sequence.fail(error),
        }
    }
}
