//! What rooms are told of each other that may not import each other, and of the settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::audit::{Action as Audited, Actor, Event, Outcome};
use crate::clock::ClockJump;
use crate::config::{self, Settings};
use crate::db::{Connection, DbError};
use crate::engine::{DeviceChoice, EngineOptions, InstructionSet, KvPrecision, Speculation};
use crate::guard::{Action, Category, Direction, Policy};
use crate::models::{LibraryOptions, Rules};
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

/// What the processor computes with.
pub(crate) fn instructions(settings: &Settings) -> InstructionSet {
    match settings.engine.instructions {
        config::Instructions::Auto => InstructionSet::Auto,
        config::Instructions::Portable => InstructionSet::Portable,
        config::Instructions::Avx2 => InstructionSet::Avx2,
        config::Instructions::Avx512 => InstructionSet::Avx512,
        config::Instructions::Amx => InstructionSet::Amx,
        config::Instructions::Neon => InstructionSet::Neon,
        config::Instructions::Dotprod => InstructionSet::Dotprod,
        config::Instructions::I8mm => InstructionSet::I8mm,
    }
}

/// The record of a jump of the system's clock.
pub(super) fn clock_event(jump: ClockJump) -> Event {
    let event = Event::new(Audited::ClockJump, Outcome::Done, Actor::System);
    match jump {
        ClockJump::Moved(ms) => event.with("moved_ms", ms),
        ClockJump::Behind(ms) => event.with("behind_ms", ms),
    }
}

/// The guard's policy. One that cannot be read stops the start: a server with less of a guard than
/// its operator wrote down would be worse than none.
pub(super) fn policy(settings: &Settings) -> Result<Policy> {
    let file = &settings.guard.policy_file;
    if file.as_os_str().is_empty() {
        return Ok(Policy::builtin()?);
    }
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("the guard's policy {} cannot be read", file.display()))?;
    Policy::read(&file.display().to_string(), &text).context("the guard's policy is not accepted")
}

/// The guard's policy in force, in words; none where no guard is at work.
pub(crate) fn guard_in_words(settings: &Settings) -> Option<String> {
    let policy = policy(settings).ok()?;
    let file = &settings.guard.policy_file;
    let from = if file.as_os_str().is_empty() {
        "the built-in policy".to_owned()
    } else {
        format!("the policy {}", file.display())
    };
    let count = |direction, least| {
        Category::all().filter(|one| policy.action(direction, *one) >= least).count()
    };
    let (input, output) = (Direction::Input, Direction::Output);
    if count(input, Action::Flag) + count(output, Action::Flag) == 0 {
        return None;
    }
    Some(format!(
        "{from}: it redacts or refuses {} kinds of finding in prompts and {} in answers, and flags {} and {} more",
        count(input, Action::Redact),
        count(output, Action::Redact),
        count(input, Action::Flag) - count(input, Action::Redact),
        count(output, Action::Flag) - count(output, Action::Redact),
    ))
}

/// A number that was set; 0 stands for none.
fn some(number: u32) -> Option<u32> {
    (number > 0).then_some(number)
}

fn some_path(path: &Path) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then(|| path.to_owned())
}

/// A limit of so many seconds; 0 is none.
fn seconds(count: u32) -> Option<Duration> {
    (count > 0).then(|| Duration::from_secs(count.into()))
}

/// What computes, as the engine calls it.
pub(super) fn device(settings: &Settings) -> Result<DeviceChoice> {
    let name = &settings.engine.device;
    Ok(match config::Device::parse(name).context("engine.device names no device")? {
        config::Device::Auto => DeviceChoice::Auto,
        config::Device::Cpu => DeviceChoice::Cpu,
        config::Device::Cuda(number) => DeviceChoice::Cuda(number.into()),
        config::Device::Metal => DeviceChoice::Metal,
    })
}

/// What the library is told of the settings.
pub(super) fn library_options(settings: &Settings) -> Result<LibraryOptions> {
    let device = device(settings)?;
    let engine = &settings.engine;
    let context = engine.context_tokens_max as usize;
    Ok(LibraryOptions {
        guide: settings.models.embedded_guide.then_some(crate::models::GUIDE_BYTES),
        files: settings.models.files.clone(),
        directory: some_path(&settings.models.directory),
        default: settings.models.default.clone(),
        aliases: settings.models.aliases.clone(),
        all: Rules {
            load: settings.models.load,
            idle: some(settings.models.idle_minutes)
                .map(|minutes| Duration::from_mins(minutes.into())),
            answer_tokens_max: some(settings.models.answer_tokens_max).map(|most| most as usize),
        },
        limits: settings.models.limits.clone(),
        memory_bytes: some(settings.models.memory_mib).map(|mib| u64::from(mib) << 20),
        evict: settings.models.evict,
        grace: Duration::from_secs(settings.server.shutdown_grace_s.into()),
        engine: EngineOptions {
            device,
            kv_budget_bytes: (engine.kv_budget_mib as usize) << 20,
            device_kv_budget_bytes: some(engine.device_kv_budget_mib)
                .map(|mib| (mib as usize) << 20),
            kv_precision: match engine.kv_precision {
                config::KvPrecision::F16 => KvPrecision::F16,
                config::KvPrecision::Q8 => KvPrecision::Q8,
            },
            streams_max: engine.streams_max.into(),
            queue_max: engine.queue_max.into(),
            prefill_chunk_tokens: engine.prefill_chunk_tokens.into(),
            queue_limit: seconds(engine.queue_limit_s.into()),
            request_limit: seconds(engine.request_limit_s),
            speculation: match engine.speculation {
                config::Speculation::Auto => Speculation::Auto,
                config::Speculation::Off => Speculation::Off,
                config::Speculation::On => Speculation::On,
            },
            draft: (!engine.draft_file.as_os_str().is_empty()).then(|| engine.draft_file.clone()),
            context_tokens_max: (context > 0).then_some(context),
            // Whoever ends an engine has given its answers their time before.
            shutdown_limit: Duration::from_secs(1),
        },
    })
}
