//! Scores the texts of a suite on the gate's road, some at a time, so that a run can be followed
//! and ended.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::plan::{Scored, Suite};
use super::results::Results;
use crate::access::Caller;
use crate::engine::Score;
use crate::gate::{Gate, GateError, Generate, Model, ScoreText};

/// Texts that the gate is given at once: each lot is two events of the audit log.
const LOT: usize = 128;

/// How far a run has come, and whether it is to end.
#[derive(Debug, Default)]
pub(super) struct Progress {
    done: AtomicUsize,
    total: AtomicUsize,
    is_cancelled: AtomicBool,
}

impl Progress {
    /// Texts scored, of how many.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// Ends the run after the texts that are being scored.
    pub(super) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }
}

/// Why a run has no results.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum RunError {
    /// The server is being stopped.
    #[error("cancelled")]
    Cancelled,
    /// The gate or the model failed.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The run panicked.
    #[error("the run broke off")]
    Broken,
}

impl RunError {
    /// The name, as the database and the audit log write it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Gate(error) => error.name(),
            Self::Broken => "internal_error",
        }
    }

    /// Whether the server's end is what cut it short.
    pub(super) fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Gate(GateError::ShuttingDown))
    }
}

/// Scores the whole suite.
pub(super) async fn run(
    gate: &Gate,
    model: &Model,
    suite: &Suite,
    progress: &Progress,
) -> Result<Results, RunError> {
    let engine = model.generator().ok_or(GateError::ModelNotFound)?;
    let texts = suite.texts(start(&*engine));
    progress.total.store(texts.len(), Ordering::Relaxed);
    let caller = Caller::system();
    let mut scores: Vec<Scored> = Vec::with_capacity(texts.len());
    for lot in texts.chunks(LOT) {
        if progress.is_cancelled.load(Ordering::Relaxed) {
            return Err(RunError::Cancelled);
        }
        scores.extend(score_lot(gate, &caller, model, lot).await?);
        progress.done.store(scores.len(), Ordering::Relaxed);
    }
    Ok(suite.results(&scores))
}

/// Scores what fits into the model's context; the rest is left out.
async fn score_lot(
    gate: &Gate,
    caller: &Caller,
    model: &Model,
    lot: &[ScoreText],
) -> Result<Vec<Scored>, GateError> {
    let Some(engine) = model.generator() else { return Err(GateError::ModelNotFound) };
    let context = engine.info().context_tokens;
    let fits = |text: &ScoreText| {
        let tokens = engine.tokenize(&format!("{}{}", text.prefix, text.continuation)).len();
        (2..=context).contains(&tokens)
    };
    let fitting: Vec<bool> = lot.iter().map(fits).collect();
    let some = lot.iter().zip(&fitting).filter(|(_, fits)| **fits);
    let some: Vec<ScoreText> = some.map(|(text, _)| text.clone()).collect();
    let found = if some.is_empty() {
        Vec::new()
    } else {
        gate.score(caller, Some(&model.name), some).await?
    };
    let mut found = found.into_iter();
    let is_number = |score: &Score| score.sum_logprob.is_finite();
    let next = |fits: &bool| if *fits { found.next().filter(is_number) } else { None };
    Ok(fitting.iter().map(next).collect())
}

/// What stands before a text that begins on its own. A model that is given no mark for the
/// beginning would leave the first token unjudged; a line break takes its place.
fn start(engine: &dyn Generate) -> &'static str {
    if engine.tokenize("").is_empty() { "\n" } else { "" }
}
