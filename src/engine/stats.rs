//! Numbers about the running engine, for metrics; counts and sums only.

/// What the engine does right now and has done since it started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineStats {
    /// Requests that wait for a place.
    pub queued: usize,
    /// Requests being worked on.
    pub running: usize,
    /// Whether the engine takes work.
    pub healthy: bool,
    /// Prompt tokens read since the start, those from the cache not included.
    pub prompt_tokens_total: u64,
    /// Prompt tokens that were in the cache already.
    pub cached_tokens_total: u64,
    /// Those of them that are everybody's: of shared beginnings.
    pub cached_shared_tokens_total: u64,
    /// Requests for which a beginning was looked for in the cache.
    pub prefix_lookups_total: u64,
    /// Those for which one was found.
    pub prefix_hits_total: u64,
    /// Tokens generated since the start.
    pub completion_tokens_total: u64,
    /// Requests by how they ended.
    pub requests_finished_total: u64,
    /// Requests that failed inside.
    pub requests_failed_total: u64,
    /// Requests whose reader went away.
    pub requests_cancelled_total: u64,
    /// Requests that gave their place to others and were started again.
    pub preemptions_total: u64,
    /// Tokens that were guessed ahead.
    pub guessed_tokens_total: u64,
    /// Guesses that came true; each saved its answer a step.
    pub guessed_right_total: u64,
    /// Steps of the decoder.
    pub steps_total: u64,
    /// Cache bytes in use by running requests.
    pub kv_used_bytes: usize,
    /// Cache bytes that hold prefixes for reuse and can be taken back at any time.
    pub kv_cached_bytes: usize,
    /// The whole cache.
    pub kv_total_bytes: usize,
    /// Bytes of the weights in memory, as they are packed.
    pub model_bytes: u64,
    /// Time from submission to the first token.
    pub first_token: Histogram,
}

/// Counts of durations by upper bound, as Prometheus has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// How many were at most as long as the bound at the same place of `BOUNDS_MS`; not cumulated.
    pub counts: [u64; Histogram::BOUNDS_MS.len() + 1],
    /// The sum of all, in milliseconds.
    pub sum_ms: u64,
}

impl Histogram {
    /// Upper bounds in milliseconds; one more count holds what lies above.
    pub const BOUNDS_MS: [u64; 12] =
        [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];

    /// Adds one duration.
    pub fn add(&mut self, ms: u64) {
        let place = Self::BOUNDS_MS.partition_point(|&bound| bound < ms);
        self.counts[place] += 1;
        self.sum_ms = self.sum_ms.saturating_add(ms);
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; Self::BOUNDS_MS.len() + 1], sum_ms: 0 }
    }
}
