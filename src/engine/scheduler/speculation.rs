//! Speculative decoding: tokens are guessed, and one step computes what the model says after each of
//! them. The model's own choice at each place decides, by the random number of that place; a guess
//! counts where it is the same. So an answer is bit for bit what it would have been without guesses,
//! whatever the seed, penalties and filters, and its distribution is exact by construction.
//!
//! Here is where guesses come from and when they pay; the scheduler computes and checks them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::draft::Wanted;
use super::{Scheduler, Share};

/// Whether tokens are guessed ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speculation {
    /// Where it pays, by what was measured.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Wherever there is a guess.
    On,
}

/// Tokens that are guessed at once for one answer.
pub(crate) const GUESSES_MAX: usize = 8;
/// The last tokens that must stand earlier in the text for what followed them to be a guess; of
/// several places, the one that agrees in more of them is taken, and then the latest.
const NGRAM_MIN: usize = 2;
const NGRAM_MAX: usize = 4;
/// How far back is looked.
const LOOK_BACK_MAX: usize = 16_384;
/// Where guesses do not pay, one is tried after so many tokens: texts and loads change.
const TRY_EVERY: u32 = 64;
/// Steps with more rows say nothing about those with few.
const COST_ROWS_MAX: usize = 64;

/// Guesses what comes next by what came after the same words before: prompt look-up (Saxena, 2023).
/// What runs into the end of the text goes on from its own beginning, as a repeated phrase does.
pub(super) fn look_up(tokens: &[u32], most: usize) -> Vec<u32> {
    let count = tokens.len();
    let (mut longest, mut place) = (NGRAM_MIN - 1, None);
    for end in (1..count).rev().take(LOOK_BACK_MAX) {
        let pairs = tokens[..end].iter().rev().zip(tokens.iter().rev());
        let same = pairs.take(NGRAM_MAX).take_while(|(a, b)| a == b).count();
        if same > longest {
            (longest, place) = (same, Some(end));
        }
        if longest == NGRAM_MAX {
            break;
        }
    }
    let Some(place) = place else { return Vec::new() };
    let mut guesses = Vec::with_capacity(most);
    for index in 0..most {
        let at = place + index;
        guesses.push(if at < count { tokens[at] } else { guesses[at - count] });
    }
    guesses
}

/// How often guesses for one answer came true, the recent ones weighing more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    checked: f64,
    right: f64,
    /// Tokens since the last guess.
    since: u32,
}

impl Record {
    /// Notes how many guesses were checked and how many of them were right.
    fn note(&mut self, checked: usize, right: usize) {
        self.checked = self.checked * 0.9 + checked as f64;
        self.right = self.right * 0.9 + right as f64;
    }

    /// The chance that a guess is right; better than even before anything is known.
    fn chance(&self) -> f64 {
        ((self.right + 0.7) / (self.checked + 1.0)).clamp(0.0, 0.99)
    }
}

/// How long a step takes by its rows: a straight line through the steps seen, the recent ones
/// weighing more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StepCost {
    weight: f64,
    rows: f64,
    seconds: f64,
    rows_squared: f64,
    rows_seconds: f64,
    /// What the small model takes for a guess.
    guess_seconds: f64,
}

impl StepCost {
    /// Notes a step.
    pub(super) fn note(&mut self, rows: usize, seconds: f64) {
        if rows == 0 || rows > COST_ROWS_MAX {
            return;
        }
        let x = rows as f64;
        let sums = [
            (&mut self.weight, 1.0),
            (&mut self.rows, x),
            (&mut self.seconds, seconds),
            (&mut self.rows_squared, x * x),
            (&mut self.rows_seconds, x * seconds),
        ];
        for (sum, new) in sums {
            *sum = *sum * 0.99 + new;
        }
    }

    /// Notes what the small model took for so many guesses, one after the other.
    fn note_guesses(&mut self, guesses: usize, seconds: f64) {
        if guesses > 0 {
            self.guess_seconds = self.guess_seconds * 0.9 + 0.1 * seconds / guesses as f64;
        }
    }

    /// What a step with so many rows takes, in a unit of its own.
    fn of(&self, rows: usize) -> f64 {
        let spread = self.weight * self.rows_squared - self.rows * self.rows;
        if self.weight < 4.0 || spread < 1e-6 {
            // Nothing to draw a line through yet: a row costs a tenth of what every step costs.
            return 1.0 + 0.1 * rows as f64;
        }
        let slope = (self.weight * self.rows_seconds - self.rows * self.seconds) / spread;
        let mean = (self.seconds / self.weight).max(1e-9);
        let mean_rows = self.rows / self.weight;
        // Noise is not allowed to say that rows, or steps, cost nothing.
        let slope = slope.clamp(mean * 1e-3, mean / mean_rows);
        mean + slope * (rows as f64 - mean_rows)
    }
}

/// How many guesses are worth their rows: those that give the most tokens in the time of the step.
/// `answers` and `rows` are what the step has anyway.
fn worthwhile(cost: &StepCost, chance: f64, answers: usize, rows: usize) -> usize {
    let rate = |guesses: usize| {
        let powers = std::iter::successors(Some(chance), |power| Some(power * chance));
        let right: f64 = powers.take(guesses).sum();
        (answers as f64 + right) / (cost.of(rows + guesses) + cost.guess_seconds * guesses as f64)
    };
    let all = 0..=GUESSES_MAX;
    all.reduce(|best, more| if rate(more) > rate(best) { more } else { best }).unwrap_or(0)
}

impl Scheduler {
    /// Adds guesses to the shares of those who generate, as far as there is room in the cache that
    /// nobody else has asked for.
    pub(super) fn speculate(&mut self, shares: &mut [Share]) {
        if self.limits.speculation == Speculation::Off {
            return;
        }
        let wanted: Vec<(usize, usize)> = self.wanted_guesses(shares);
        let mut guesses: Vec<Vec<u32>> = wanted
            .iter()
            .map(|&(place, most)| look_up(&self.running[shares[place].index].tokens, most))
            .collect();
        self.draft(shares, &wanted, &mut guesses);
        for ((place, _), guesses) in wanted.into_iter().zip(guesses) {
            let share = &mut shares[place];
            let sequence = &mut self.running[share.index];
            if guesses.is_empty()
                || !self.pool.grow(&mut sequence.table, share.from, share.to + guesses.len())
            {
                continue;
            }
            sequence.record.since = 0;
            share.guesses = guesses;
        }
    }

    /// For which shares guesses are wanted, and how many.
    fn wanted_guesses(&mut self, shares: &[Share]) -> Vec<(usize, usize)> {
        let is_decoding = |share: &&Share| self.running[share.index].is_decoding();
        let answers = shares.iter().filter(is_decoding).count();
        let mut rows: usize = shares.iter().map(|share| share.to - share.from).sum();
        let mut wanted = Vec::new();
        for (place, share) in shares.iter().enumerate() {
            let sequence = &mut self.running[share.index];
            let room = sequence.guess_room(self.limits.context);
            if !sequence.is_decoding() || room == 0 {
                continue;
            }
            let record = &mut sequence.record;
            record.since += 1;
            let pays = match self.limits.speculation {
                Speculation::Off => 0,
                Speculation::On => GUESSES_MAX,
                Speculation::Auto => {
                    let pays = worthwhile(&self.cost, record.chance(), answers, rows);
                    if pays == 0 && record.since >= TRY_EVERY { 1 } else { pays }
                }
            };
            let most = pays.min(room);
            if most > 0 {
                rows += most;
                wanted.push((place, most));
            }
        }
        wanted
    }

    /// Asks the small model, if there is one, where the text itself gave no guess.
    fn draft(&mut self, shares: &[Share], wanted: &[(usize, usize)], guesses: &mut [Vec<u32>]) {
        let Some(draft) = &mut self.draft else { return };
        let running = &self.running;
        draft.keep(|id| running.iter().any(|one| one.id == id));
        let asked = wanted.iter().zip(guesses.iter()).map(|(&(place, most), guesses)| {
            let sequence = &running[shares[place].index];
            let most = if guesses.is_empty() { most } else { 0 };
            Wanted { id: sequence.id, tokens: &sequence.tokens, most }
        });
        let asked: Vec<Wanted<'_>> = asked.collect();
        let begun = Instant::now();
        let Ok(Ok(drafted)) = catch_unwind(AssertUnwindSafe(|| draft.guess(&asked))) else {
            tracing::error!("the draft model failed: it is not asked again");
            self.draft = None;
            return;
        };
        let count = drafted.iter().map(Vec::len).max().unwrap_or(0);
        self.cost.note_guesses(count, begun.elapsed().as_secs_f64());
        for (guesses, drafted) in guesses.iter_mut().zip(drafted) {
            if guesses.is_empty() {
                *guesses = drafted;
            }
        }
    }

    /// Notes what came of the guesses of one share, and gives back the room of those that were wrong.
    pub(super) fn settle(&mut self, share: &Share) {
        let sequence = &mut self.running[share.index];
        let right = sequence.computed - share.to;
        // The first wrong one was checked too; what stood behind it was not.
        let checked = (right + 1).min(share.guesses.len());
        sequence.record.note(checked, right);
        self.stats.guessed_tokens_total += share.guesses.len() as u64;
        self.stats.guessed_right_total += right as u64;
        self.pool.shrink(&mut sequence.table, sequence.computed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_the_same_words_before_is_guessed() {
        for (tokens, most, expected) in [
            (&[1, 2, 3, 4, 5, 9, 1, 2][..], 3, &[3, 4, 5][..]),
            // The longer agreement goes before the later place.
            (&[7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2], 2, &[3, 8]),
            // Of equal agreement, the later place.
            (&[1, 2, 3, 0, 1, 2, 4, 0, 5, 1, 2], 1, &[4]),
            // A phrase that repeats goes on repeating.
            (&[5, 6, 5, 6, 5, 6], 5, &[5, 6, 5, 6, 5]),
            (&[9, 9, 9], 4, &[9, 9, 9, 9]),
            // One word alone is no reason.
            (&[1, 2, 3, 2], 4, &[]),
            (&[1], 4, &[]),
            (&[], 4, &[]),
            (&[1, 2, 3, 1, 2], 0, &[]),
        ] {
            assert_eq!(look_up(tokens, most), expected, "{tokens:?}");
        }
    }

    fn line(each_step: f64, each_row: f64) -> StepCost {
        let mut cost = StepCost::default();
        for rows in [1, 2, 1, 5, 9, 1, 3, 8] {
            cost.note(rows, each_step + each_row * rows as f64);
        }
        cost
    }

    #[test]
    fn guesses_are_made_where_they_pay() {
        // Bound by memory: a row more costs next to nothing.
        let cheap = line(1.0, 0.01);
        assert_eq!(worthwhile(&cheap, 0.95, 1, 1), GUESSES_MAX);
        let few = worthwhile(&cheap, 0.3, 1, 1);
        assert!((1..GUESSES_MAX).contains(&few), "{few}");
        assert_eq!(worthwhile(&cheap, 0.001, 1, 1), 0);
        // Bound by arithmetic: a row more costs as much as a step.
        let dear = line(0.0, 1.0);
        assert_eq!(worthwhile(&dear, 0.9, 1, 1), 0);
        // With many streams a row is dear, and one answer's gain a small one.
        let middle = line(1.0, 0.2);
        assert!(worthwhile(&middle, 0.8, 1, 1) >= 2);
        assert_eq!(worthwhile(&middle, 0.8, 32, 32), 0);
    }

    #[test]
    fn what_was_measured_is_learnt_and_forgotten() {
        let cost = line(2.0, 0.5);
        assert!((cost.of(20) / cost.of(1) - 12.0 / 2.5).abs() < 0.01);
        let mut record = Record::default();
        assert!(record.chance() > 0.5);
        (0..50).for_each(|_| record.note(1, 0));
        assert!(record.chance() < 0.1);
        (0..50).for_each(|_| record.note(8, 8));
        assert!(record.chance() > 0.9);
    }

    #[test]
    fn numbers_that_make_no_line_are_harmless() {
        for measured in
            [&[][..], &[(1, 0.0); 9], &[(1, 5.0), (9, 0.1), (1, 5.0), (9, 0.1), (2, 4.0)]]
        {
            let mut cost = StepCost::default();
            for &(rows, seconds) in measured {
                cost.note(rows, seconds);
            }
            assert!(cost.of(1) > 0.0 && cost.of(9) > cost.of(1), "{measured:?}");
        }
    }
}
