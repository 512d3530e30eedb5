//! How fast a model answers on this machine, beside what the machine could give at most. Knows the
//! engine alone: no server, no configuration, no data folder.

use std::time::{Duration, Instant};

pub mod chance;
mod expectation;
mod limits;
mod machine;
mod nameless;
mod plan;
mod report;
mod timing;
mod whole;

use crate::engine::{
    Cost, Engine, EngineError, EngineOptions, KvPrecision, LoadError, LoadProgress, Speculation,
    Weights, available_bytes, give_back_memory, peak_bytes,
};
pub use expectation::{Expectation, expectation};
use limits::Limits;
pub use nameless::Nameless;
use plan::Plan;
pub use report::Report;
use report::{Answer, Model, Prompt};
use timing::{Bench, Times};
pub use whole::write_new;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Tokens of the prompts.
    pub prompts: Vec<usize>,
    /// How many answers are written at once.
    pub streams: Vec<usize>,
    /// How often each is measured, at most; the middle one counts.
    pub runs: usize,
    /// How many threads compute, as the engine says: the limits are those of as many.
    pub threads: usize,
    /// Whether the model was made up for this.
    pub is_chance: bool,
    /// In which precision keys and values are kept.
    pub kv_precision: KvPrecision,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum SpeedError {
    /// The model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The engine gave up.
    #[error("the model gave no answer: {0}")]
    Engine(#[from] EngineError),
    /// The system does not give the threads that measure.
    #[error("the threads that measure cannot be started: {0}. Ask for fewer with --threads")]
    Threads(std::io::Error),
    /// There are no answers to time.
    #[error("this model makes vectors or judges pairs; what is measured here is answers in words")]
    Vectors,
    /// A text says nothing of a model.
    #[error("the text has {tokens} tokens, and {needed} are the least that is judged")]
    ShortText {
        /// How long it is.
        tokens: usize,
        /// How long it must be.
        needed: usize,
    },
    /// The system gives what is needed for waiting.
    #[error("the runtime cannot be started: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Memory that is read to see how fast that is; much more than the caches hold.
const READ_BYTES: u64 = 1 << 30;
/// At least so much is.
const READ_BYTES_MIN: u64 = 1 << 26;
/// Until the threads of the engine sleep.
const SETTLE: Duration = Duration::from_millis(100);

/// Loads a model, times prompts and answers, and then the machine. `say` hears what is being done.
/// Takes minutes; blocks.
pub fn measure(
    weights: Weights,
    asked: &Asked,
    say: &mut dyn FnMut(&str),
) -> Result<Report, SpeedError> {
    say("reading the model");
    let cost = Cost::of(weights.clone(), asked.kv_precision)?.ok_or(SpeedError::Vectors)?;
    let plan = Plan::new(asked, cost.context_tokens);
    let options = EngineOptions {
        kv_precision: asked.kv_precision,
        speculation: Speculation::Off,
        streams_max: plan.streams_max(),
        // What is measured needs no more, so the peak of memory is what it must be.
        kv_budget_bytes: plan.cache_tokens().saturating_mul(cost.token_bytes()),
        ..EngineOptions::default()
    };
    let begun = Instant::now();
    let engine = Engine::load(weights, options, &LoadProgress::new())?;
    let load_s = begun.elapsed().as_secs_f64();
    let mut bench = Bench::new(&engine, asked.runs);
    let mut times = Times::default();
    let outcome = bench.all(&plan, &mut times, say);
    let model = Model::new(engine.info(), asked.is_chance);
    // What the machine can give is measured when nothing else is in memory, and after its peak was noted.
    let peak_rss_bytes = peak_bytes();
    engine.shutdown();
    engine.wait_closed();
    drop(engine);
    outcome?;
    give_back_memory();
    std::thread::sleep(SETTLE);
    say("what the memory and the arithmetic of this machine give");
    let free = available_bytes().unwrap_or(READ_BYTES_MIN) / 4;
    let bytes = free.clamp(READ_BYTES_MIN, READ_BYTES);
    let limits = Limits::of_machine(asked.threads, bytes as usize).map_err(SpeedError::Threads)?;
    let prefill = times.prompts.iter().map(|one| Prompt::new(one, limits.prompt(&cost))).collect();
    let decode = times
        .answers
        .iter()
        .map(|one| {
            let seen = one.context + plan.answer / 2;
            Answer::new(one, limits.answer(&cost, seen, one.streams))
        })
        .collect();
    let mut notes = plan.left_out;
    notes.extend(times.left_out);
    Ok(Report {
        strongroom: env!("CARGO_PKG_VERSION"),
        machine: machine::of(asked.threads),
        model,
        limits: limits.into(),
        load_s,
        peak_rss_bytes,
        prefill,
        decode,
        notes,
    })
}
