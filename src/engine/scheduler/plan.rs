//! Which rows the next step has, and who gives up a place so that others have room for theirs.

use super::Scheduler;
use super::fair;
use super::sequence::Sequence;
use crate::engine::decoder::Step;
use crate::engine::error::EngineError;

/// The rows that one sequence has in a step.
pub(super) struct Share {
    /// Its place in `running`.
    pub(super) index: usize,
    pub(super) from: usize,
    pub(super) to: usize,
    /// What may follow; computed in the same step.
    pub(super) guesses: Vec<u32>,
}

impl Share {
    /// Behind the last row, those of the guesses included.
    pub(super) fn end(&self) -> usize {
        self.to + self.guesses.len()
    }
}

/// Rows of prompts whose every token is judged, of all of them in one step: each leaves logits of the
/// whole vocabulary.
const JUDGED_ROWS_MAX: usize = 128;

/// How many of these rows each has in a step, where so many prompts are judged: one at least.
fn judged_rows(prompts: usize) -> usize {
    (JUDGED_ROWS_MAX / prompts.max(1)).max(1)
}

impl Scheduler {
    /// Shares out the rows of the next step, and makes room in the cache for them.
    pub(super) fn plan(&mut self) -> Vec<Share> {
        let mut shares: Vec<Share> = Vec::new();
        let prefill = self.share_prefill();
        let mut index = 0;
        while index < self.running.len() {
            let sequence = &self.running[index];
            let (from, end) = (sequence.computed, sequence.tokens.len());
            let is_decoding = sequence.is_decoding();
            debug_assert!(from < end, "there is always a token to compute");
            let rows = if is_decoding { 1 } else { prefill[index] };
            if rows == 0 || !sequence.has_room() {
                index += 1;
                continue;
            }
            let to = from + rows;
            let sequence = &mut self.running[index];
            if self.pool.grow(&mut sequence.table, from, to) {
                shares.push(Share { index, from, to, guesses: Vec::new() });
                index += 1;
            } else if !self.preempt(index) {
                index += 1;
            }
        }
        shares
    }

    /// How many rows of prompt each running sequence may read in the next step.
    fn share_prefill(&self) -> Vec<usize> {
        let reads = |one: &Sequence| !one.is_decoding() && one.has_room();
        let judging = self.running.iter().filter(|one| reads(one) && one.judges_all()).count();
        let judged = judged_rows(judging);
        let most = |one: &Sequence| if one.judges_all() { judged } else { usize::MAX };
        let left = |one: &Sequence| (one.tokens.len() - one.computed).min(most(one));
        let need = |one: &Sequence| if reads(one) { left(one) } else { 0 };
        let needs: Vec<_> = self.running.iter().map(|one| (one.party(), need(one))).collect();
        let answers = self.running.iter().filter(|one| one.is_decoding()).count();
        let is_awaited = self.queue.len() > 0 || answers > 0;
        let rows = self.pace.rows(self.limits.prefill_chunk_tokens, is_awaited.then_some(answers));
        // A row for everybody who reads.
        let reading = needs.iter().filter(|(_, need)| *need > 0).count();
        fair::share(rows.max(reading), &needs)
    }

    /// Takes the place of the youngest sequence behind `index`, so that `index` can go on; where
    /// there is none, `index` itself gives way to the older ones. False where it stays.
    fn preempt(&mut self, index: usize) -> bool {
        let youngest = self.running.len() - 1;
        if youngest == 0 && index == 0 {
            // Alone and without room: cannot be, as no request may be larger than the cache.
            let sequence = self.running.remove(0);
            self.end(sequence, Err(EngineError::Internal));
            return true;
        }
        let mut sequence = self.running.remove(youngest);
        self.pool.release(&mut sequence.table);
        sequence.lose_place();
        self.stats.preemptions_total += 1;
        // It waits again, at the front of its domain's line: counted as waiting until admitted.
        self.queue.push_back_in_front(sequence.party(), sequence);
        true
    }
}

/// Lays out the rows of a step.
pub(super) fn rows<'a>(running: &'a [Sequence], shares: &[Share]) -> Step<'a> {
    let mut step = Step::default();
    for share in shares {
        let sequence = &running[share.index];
        let known = sequence.tokens[share.from..share.to].iter();
        let tokens = known.chain(&share.guesses).copied();
        let wants = |position| sequence.wants_logits(position);
        step.push(share.from, tokens, sequence.table.blocks(), wants);
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_prompts_that_are_judged_share_the_rows_of_a_step() {
        assert_eq!((judged_rows(0), judged_rows(1)), (JUDGED_ROWS_MAX, JUDGED_ROWS_MAX));
        for prompts in 1..=JUDGED_ROWS_MAX {
            assert!(prompts * judged_rows(prompts) <= JUDGED_ROWS_MAX, "{prompts}");
        }
        assert_eq!(judged_rows(10 * JUDGED_ROWS_MAX), 1, "each goes on");
    }
}
