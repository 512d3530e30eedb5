//! The settings of `[engine]`.

use std::path::PathBuf;

use serde::Deserialize;

/// Whether tokens are guessed ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speculation {
    Auto,
    Off,
    On,
}

/// The instructions of the processor that are computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Instructions {
    Auto,
    Portable,
    Avx2,
    Avx512,
    Amx,
    Neon,
    Dotprod,
    I8mm,
}

/// In which precision keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum KvPrecision {
    #[serde(rename = "f16")]
    F16,
    #[serde(rename = "q8_0")]
    Q8,
}

/// How the engine computes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    pub device: String,
    pub threads: u16,
    pub instructions: Instructions,
    pub kv_budget_mib: u32,
    pub device_kv_budget_mib: u32,
    pub kv_precision: KvPrecision,
    pub streams_max: u16,
    pub queue_max: u16,
    pub prefill_chunk_tokens: u16,
    pub queue_limit_s: u16,
    pub request_limit_s: u32,
    pub speculation: Speculation,
    pub draft_file: PathBuf,
    pub context_tokens_max: u32,
}
