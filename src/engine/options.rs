//! What the engine may use of the machine, and how it works: plain data.

use std::path::PathBuf;
use std::time::Duration;

use super::{DeviceChoice, Speculation};

/// In which precision the cache keeps keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvPrecision {
    /// Half the bytes; what everybody uses.
    #[default]
    F16,
    /// Bytes with a scale for every 32 of them: a little more than a quarter. On a device `F16`.
    Q8,
    /// Exact, for comparisons.
    F32,
}

impl KvPrecision {
    /// Those that people choose from, by their names.
    pub const NAMED: [(&'static str, Self); 2] = [("f16", Self::F16), ("q8_0", Self::Q8)];
}

/// What the engine may use.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// What computes, for models that write; those that make vectors stay on the processor.
    pub device: DeviceChoice,
    /// Bytes for keys and values; fixed at the start and never exceeded.
    pub kv_budget_bytes: usize,
    /// The same on a device; none: what is free there.
    pub device_kv_budget_bytes: Option<usize>,
    /// In which precision they are kept.
    pub kv_precision: KvPrecision,
    /// Requests worked on at once.
    pub streams_max: usize,
    /// Requests that may wait.
    pub queue_max: usize,
    /// Prompt tokens read in one step, by all requests together.
    pub prefill_chunk_tokens: usize,
    /// How long a request may wait for its turn.
    pub queue_limit: Option<Duration>,
    /// How long a request may take in all.
    pub request_limit: Option<Duration>,
    /// Whether tokens are guessed ahead.
    pub speculation: Speculation,
    /// A smaller model of the same vocabulary, which guesses where the text itself gives no guess. Its
    /// cache takes an eighth of the budget.
    pub draft: Option<PathBuf>,
    /// Cuts the context below what the model was made for.
    pub context_tokens_max: Option<usize>,
    /// How long running requests may go on after `shutdown`.
    pub shutdown_limit: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            device: DeviceChoice::Cpu,
            kv_budget_bytes: 1 << 30,
            device_kv_budget_bytes: None,
            kv_precision: KvPrecision::F16,
            streams_max: 16,
            queue_max: 256,
            prefill_chunk_tokens: 256,
            queue_limit: None,
            request_limit: None,
            speculation: Speculation::Auto,
            draft: None,
            context_tokens_max: None,
            shutdown_limit: Duration::from_secs(20),
        }
    }
}
