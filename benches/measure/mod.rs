//! Times one thing many times, and says what came out.

use std::time::{Duration, Instant};

/// Durations of one thing, sorted.
pub struct Times(Vec<Duration>);

impl Times {
    /// Does something `count` times after `warm` times that do not count.
    pub fn of(warm: usize, count: usize, mut what: impl FnMut()) -> Self {
        (0..warm).for_each(|_| what());
        let once = |_| {
            let begun = Instant::now();
            what();
            begun.elapsed()
        };
        Self::new((0..count).map(once).collect())
    }

    /// Durations that were taken elsewhere.
    pub fn new(mut taken: Vec<Duration>) -> Self {
        assert!(!taken.is_empty(), "nothing was measured");
        taken.sort_unstable();
        Self(taken)
    }

    /// The duration that this share of all lies under, by the nearest rank.
    pub fn share(&self, share: f64) -> Duration {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    /// A row of the table: the middle, the 99th of a hundred, the slowest.
    pub fn row(&self, name: &str) {
        let [half, most, all] = [0.5, 0.99, 1.0].map(|share| ms(self.share(share)));
        println!("{name:<44} {half:>9.2} {most:>9.2} {all:>9.2}   n={}", self.0.len());
    }
}

/// The head of a table of [`Times::row`].
pub fn head() {
    println!("{:<44} {:>9} {:>9} {:>9}", "milliseconds", "p50", "p99", "max");
}

/// In milliseconds.
pub fn ms(duration: Duration) -> f64 {
    1_000.0 * duration.as_secs_f64()
}
