//! How much of the prompts one step reads: as much as others can wait for.
//!
//! While a step is at work, nobody else gets a token, and who has just come waits for its end. On a
//! processor a few hundred tokens of a prompt take longer than people like to wait between two words.

use std::time::Duration;

/// How long a step may take while others write, or wait.
const BESIDE: Duration = Duration::from_millis(120);
/// How long it may take while nobody does, but may come at any time.
const ALONE: Duration = Duration::from_millis(600);
/// Fewer rows than this cost more in all than they save others.
const ROWS_MIN: usize = 32;
/// What a new measurement counts beside the earlier ones.
const SHARE: f64 = 0.2;

/// How fast prompts are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Seconds for a row; none before one was measured.
    row: Option<f64>,
    /// Rows that the products take together: a part of so many costs as much as all.
    panel: usize,
}

impl Pace {
    /// With nothing measured, for products that take so many rows together.
    pub(super) fn new(panel: usize) -> Self {
        Self { row: None, panel }
    }

    /// Notes how long a step took, by its rows and those of prompts among them. One of few of these says
    /// nothing about one of many.
    pub(super) fn note(&mut self, rows: usize, of_prompts: usize, seconds: f64) {
        if of_prompts < ROWS_MIN {
            return;
        }
        let row = seconds / rows as f64;
        self.row = Some(self.row.map_or(row, |known| known + (row - known) * SHARE));
    }

    /// How many rows of prompts the next step may have, `most` at most; `answers` are those of answers,
    /// where somebody waits.
    pub(super) fn rows(&self, most: usize, answers: Option<usize>) -> usize {
        let Some(row) = self.row.filter(|row| *row > 0.0) else { return most };
        let time = if answers.is_some() { BESIDE } else { ALONE };
        let (rows, answers) = ((time.as_secs_f64() / row) as usize, answers.unwrap_or(0));
        let all = rows.saturating_add(answers) / self.panel * self.panel;
        all.saturating_sub(answers).max(ROWS_MIN).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slow_is_read_in_smaller_parts_and_beside_others_in_the_smallest() {
        let mut pace = Pace::new(8);
        assert_eq!((pace.rows(256, None), pace.rows(16, Some(0))), (256, 16));
        pace.note(40, 1, 10.0);
        assert_eq!(pace.rows(256, Some(0)), 256, "a step of one row of a prompt says nothing");
        for _ in 0..50 {
            pace.note(256, 256, 0.768);
        }
        assert_eq!((pace.rows(256, None), pace.rows(256, Some(0))), (200, 40));
        assert_eq!(pace.rows(16, Some(0)), 16, "a setting is the most");
        for _ in 0..50 {
            pace.note(256, 256, 0.001);
        }
        assert_eq!((pace.rows(256, None), pace.rows(256, Some(9))), (256, 256));
        for _ in 0..50 {
            pace.note(256, 256, 100.0);
        }
        assert_eq!(pace.rows(256, None), ROWS_MIN, "something is always read");
    }

    #[test]
    fn the_rows_of_a_step_fill_what_is_multiplied_together() {
        for panel in [8, 16] {
            let mut pace = Pace::new(panel);
            pace.note(256, 256, 0.5);
            assert!(pace.rows(256, None).is_multiple_of(panel));
            for answers in 0..40 {
                let rows = pace.rows(256, Some(answers));
                assert!((rows + answers).is_multiple_of(panel), "{panel}: {rows} and {answers}");
                assert!(rows <= 61 + panel, "{rows}");
            }
        }
    }
}
