//! How much of the prompts one step reads: as much as others can wait for.
//!
//! While a step is at work, nobody else gets a token, and who has just come waits for its end. On a
//! processor a few hundred tokens of a prompt take longer than people like to wait between two words.

use std::time::Duration;

/// How long a step may take while others write, or wait.
const BESIDE: Duration = Duration::from_millis(120);
/// How long it may take while nobody does, but may come at any time.
const ALONE: Duration = Duration::from_millis(400);
/// Fewer rows than this cost more in all than they save others.
const ROWS_MIN: usize = 32;
/// Rows that the products take together: a part of so many costs as much as all.
const PANEL: usize = 8;
/// What a new measurement counts beside the earlier ones.
const SHARE: f64 = 0.2;

/// How fast prompts are read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Seconds for a row; none before one was measured.
    row: Option<f64>,
}

impl Pace {
    /// Notes how long a step took, by its rows and those of prompts among them. One of few of these says
    /// nothing about one of many.
    pub(super) fn note(&mut self, rows: usize, of_prompts: usize, seconds: f64) {
        if of_prompts < ROWS_MIN {
            return;
        }
        let row = seconds / rows as f64;
        self.row = Some(self.row.map_or(row, |known| known + (row - known) * SHARE));
    }

    /// How many rows of prompts the next step may have, `most` at most.
    pub(super) fn rows(&self, most: usize, is_alone: bool) -> usize {
        let Some(row) = self.row.filter(|row| *row > 0.0) else { return most };
        let time = if is_alone { ALONE } else { BESIDE };
        let rows = (time.as_secs_f64() / row) as usize;
        (rows / PANEL * PANEL).max(ROWS_MIN).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slow_is_read_in_smaller_parts_and_beside_others_in_the_smallest() {
        let mut pace = Pace::default();
        assert_eq!((pace.rows(256, true), pace.rows(16, false)), (256, 16));
        pace.note(40, 1, 10.0);
        assert_eq!(pace.rows(256, false), 256, "a step of one row of a prompt says nothing");
        for _ in 0..50 {
            pace.note(256, 256, 0.512);
        }
        assert_eq!((pace.rows(256, true), pace.rows(256, false)), (200, 56));
        assert_eq!(pace.rows(16, false), 16, "a setting is the most");
        for _ in 0..50 {
            pace.note(256, 256, 0.001);
        }
        assert_eq!((pace.rows(256, true), pace.rows(256, false)), (256, 256));
        for _ in 0..50 {
            pace.note(256, 256, 100.0);
        }
        assert_eq!(pace.rows(256, true), ROWS_MIN, "something is always read");
    }
}
