//! What rooms are told of each other that may not import each other, and of the settings.

use std::time::Duration;

use crate::config::Settings;
use crate::db::{Connection, DbError};
use crate::engine::EngineOptions;
use crate::models::LibraryOptions;
use crate::monitor::posture::FairnessRun;

/// When fairness was last measured, for the monitor.
pub(crate) fn last_fairness_run(db: &Connection) -> Result<Option<FairnessRun>, DbError> {
    let run = crate::evals::last_run(db)?;
    Ok(run.map(|run| FairnessRun {
        at: run.ended_at.unwrap_or(run.started_at),
        suite: run.suite,
        model: run.model,
    }))
}

/// The guard's policy in force, in words; none where no guard is at work.
pub(crate) fn guard_in_words() -> Option<String> {
    None
}

/// What the library is told of the settings.
pub(super) fn library_options(settings: &Settings) -> LibraryOptions {
    let engine = &settings.engine;
    let context = engine.context_tokens_max as usize;
    LibraryOptions {
        guide: settings.models.embedded_guide.then_some(crate::models::GUIDE_BYTES),
        files: settings.models.files.clone(),
        default: settings.models.default.clone(),
        aliases: std::collections::BTreeMap::new(),
        engine: EngineOptions {
            threads: engine.threads.into(),
            kv_budget_bytes: (engine.kv_budget_mib as usize) << 20,
            streams_max: engine.streams_max.into(),
            queue_max: engine.queue_max.into(),
            prefill_chunk_tokens: engine.prefill_chunk_tokens.into(),
            context_tokens_max: (context > 0).then_some(context),
            shutdown_limit: Duration::from_secs(settings.server.shutdown_grace_s.into()),
            ..EngineOptions::default()
        },
    }
}
