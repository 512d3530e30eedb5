//! `strongroom eval`: evaluations at the console, on a data directory that no server holds.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::Ended;
use super::options::{Common, out};
use super::secrets::ask_secret;
use crate::app::{App, Home, exchange_runtime};
use crate::config::Config;
use crate::db::lock::LockError;
use crate::engine::gguf::model_name;
use crate::evals::{
    COUNTERFACTUAL_NAME, CROWS_NAME, Evals, Interval, Origin, Results, RunSummary, StartRequest,
    report,
};
use crate::gate::{Catalog, ModelState};
use crate::ids::RunId;
use crate::telemetry;

/// How often progress is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(250);

/// Measure how fair a model is, and whether it knows the language.
#[derive(Args)]
pub(super) struct Eval {
    #[command(subcommand)]
    command: EvalCommand,
}

#[derive(Subcommand)]
enum EvalCommand {
    /// Score pairs of sentences that differ only in who they are about. The server must not be
    /// running; beside a server, start it on the admin page under Evaluations.
    #[command(
        after_help = "Examples:\n  strongroom eval fairness --model guide --out report.html\n  strongroom eval fairness --model models/qwen3-4b-q4_k_m.gguf --suite crows-pairs --data downloads --json\n\nThe run is kept in the data directory, with its numbers, and is on the audit log."
    )]
    Fairness(Fairness),
}

#[derive(Args)]
struct Fairness {
    /// The model's name, or a GGUF file; without it, the default model.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// What is scored.
    #[arg(long, value_enum, default_value_t = SuiteName::Counterfactual)]
    suite: SuiteName,
    /// The directory with the published file (crows_pairs_anonymized.csv); without it,
    /// `evaluations` in the data directory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to write the report.
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// Print one JSON object instead of a summary.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum SuiteName {
    Counterfactual,
    CrowsPairs,
}

impl SuiteName {
    const fn name(self) -> &'static str {
        match self {
            Self::Counterfactual => COUNTERFACTUAL_NAME,
            Self::CrowsPairs => CROWS_NAME,
        }
    }
}

impl Eval {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let EvalCommand::Fairness(command) = self.command;
        command.run(common)
    }
}

impl Fairness {
    fn run(self, common: &Common) -> Result<Ended> {
        let (name, flags) = model_and_flags(self.model.as_deref());
        let config = common.config(flags)?;
        telemetry::start(&config.settings().logs);
        let home = open_home(&config)?;
        let runtime = exchange_runtime()?;
        let app = App::build(&home, &config, runtime.handle().clone())?;
        let model = app.library.load_only(name.as_deref()).with_context(|| {
            let known: Vec<String> = app.library.all().iter().map(|one| one.name.clone()).collect();
            format!(
                "there is no model `{}`, only: {}",
                name.as_deref().unwrap_or(""),
                known.join(", ")
            )
        })?;
        if let ModelState::Failed(reason) = &model.state {
            bail!("{} cannot be loaded. {reason}", model.name);
        }
        if let Some(setback) = &model.setback {
            bail!("{} is not loaded. {}", model.name, setback.words());
        }
        let request = StartRequest {
            data: self.data.clone(),
            ..StartRequest::new(self.suite.name(), Some(&model.name), Origin::Console)
        };
        let (run, found) = runtime.block_on(follow(&app.evals, request))?;
        let Some(found) = found else {
            bail!("the run has no results: {}", run.reason.as_deref().unwrap_or("unknown"));
        };
        if let Some(path) = &self.out {
            write_report(path, &run, &found)?;
        }
        if self.json {
            writeln!(out(), "{}", json!({ "run": run, "results": found }))?;
        } else {
            print_summary(&run, &found, self.out.as_deref())?;
        }
        Ok(Ended::Done)
    }
}

/// A file is served under its own name for the length of the command.
fn model_and_flags(model: Option<&str>) -> (Option<String>, Vec<(String, String)>) {
    match model {
        Some(path) if Path::new(path).extension().is_some_and(|ending| ending == "gguf") => {
            let list = toml::Value::Array(vec![path.to_owned().into()]);
            let name = model_name(Path::new(path));
            (Some(name), vec![("models.files".to_owned(), list.to_string())])
        }
        name => (name.map(str::to_owned), Vec::new()),
    }
}

fn open_home(config: &Config) -> Result<Home> {
    let home = Home::open_or_create(config.settings()).map_err(|error| {
        if matches!(error.downcast_ref::<LockError>(), Some(LockError::Held { .. })) {
            error.context("a server holds this data directory: start the evaluation on its admin page, under Evaluations, or stop the server first")
        } else {
            error
        }
    })?;
    if !home.vault.is_open() {
        home.vault.unseal(&ask_secret("Passphrase: ")?)?;
    }
    Ok(home)
}

/// Runs, and shows how far it has come where somebody looks.
async fn follow(evals: &Evals, request: StartRequest) -> Result<(RunSummary, Option<Results>)> {
    let id = evals.start(request).await?;
    let is_watched = std::io::stderr().is_terminal();
    let ended = evals.ended();
    tokio::pin!(ended);
    let mut tick = tokio::time::interval(SHOWN_EVERY);
    loop {
        tokio::select! {
            () = &mut ended => break,
            _ = tick.tick() => if is_watched { show_progress(evals, id); },
        }
    }
    if is_watched {
        // Nothing can be said where standard error is closed.
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    Ok(evals.find(id).await?)
}

fn show_progress(evals: &Evals, id: RunId) {
    if let Some((done, total)) = evals.progress(id) {
        let _ = write!(std::io::stderr(), "\r  scored {done} of {total} texts");
    }
}

fn write_report(path: &Path, run: &RunSummary, found: &Results) -> Result<()> {
    std::fs::write(path, report::html(run, found))
        .with_context(|| format!("{} cannot be written", path.display()))
}

fn print_summary(run: &RunSummary, found: &Results, report: Option<&Path>) -> Result<()> {
    let mut out = out();
    let line = |interval: &Interval| {
        format!(
            "{:5.1} %  ({:.1} to {:.1})",
            100.0 * interval.value,
            100.0 * interval.low,
            100.0 * interval.high
        )
    };
    writeln!(out, "model      {}", run.model)?;
    writeln!(out, "suite      {}, {} pairs", found.suite, found.overall.pairs)?;
    writeln!(out, "stereotype {}  preferred; even is 50 %", line(&found.overall.stereotype_share))?;
    for one in &found.attributes {
        writeln!(out, "  {:<20} {}", one.id, line(&one.bias.stereotype_share))?;
    }
    writeln!(out, "language   {}  guessing is 50 %", line(&found.language.score))?;
    writeln!(out, "combined   {:5.1} of 100", found.combined)?;
    if found.left_out > 0 {
        writeln!(out, "left out   {} texts, longer than the context", found.left_out)?;
    }
    if let Some(path) = report {
        writeln!(out, "report     {}", path.display())?;
    }
    Ok(())
}
