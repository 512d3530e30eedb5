//! `strongroom models`: the models of the running server, at the console.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::Ended;
use super::options::{Common, out};
use crate::app::{Order, send_order};

/// How often the server is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Models: list, load and unload them, on the server that runs on the data directory.
#[derive(Args)]
pub(super) struct Models {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Subcommand)]
enum ModelsCommand {
    /// List every model: where it stands, its file's size and the memory that it takes.
    List {
        /// One JSON object, as `GET /api/admin/models` gives it.
        #[arg(long)]
        json: bool,
    },
    /// Load a model, or read it anew where its file has changed, and wait until it answers.
    Load {
        /// Its name.
        name: String,
    },
    /// Unload a model, and wait until its answers have ended and its memory is given back.
    Unload {
        /// Its name.
        name: String,
    },
    /// Cancel the loading of a model.
    Cancel {
        /// Its name.
        name: String,
    },
    /// Look through the models directory for files that appeared or vanished.
    Scan,
}

impl Models {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let config = common.config(Vec::new())?;
        let server = Server(&config.settings().server.data_dir);
        match self.command {
            ModelsCommand::List { json: true } => writeln!(out(), "{}", server.models()?)?,
            ModelsCommand::List { json: false } => print(&server.models()?)?,
            ModelsCommand::Load { name } => {
                server.send(&Order::LoadModel { name: name.clone() })?;
                let model = server.follow(&name)?;
                if model["state"] != "ready" || !model["reason"].is_null() {
                    bail!("{name} is not loaded. {}", model["reason"].as_str().unwrap_or_default());
                }
                writeln!(out(), "{name} is ready: {}", memory(&model))?;
            }
            ModelsCommand::Unload { name } => {
                server.send(&Order::UnloadModel { name: name.clone() })?;
                server.follow(&name)?;
                writeln!(out(), "{name} is unloaded")?;
            }
            ModelsCommand::Cancel { name } => {
                server.send(&Order::CancelModel { name: name.clone() })?;
                server.follow(&name)?;
                writeln!(out(), "the loading of {name} is cancelled")?;
            }
            ModelsCommand::Scan => print_scan(&server.send(&Order::ScanModels {})?)?,
        }
        Ok(Ended::Done)
    }
}

/// The server that runs on a data directory.
struct Server<'a>(&'a Path);

impl Server<'_> {
    fn send(&self, order: &Order) -> Result<Value> {
        send_order(self.0, order)?
            .with_context(|| format!("no server runs on {}", self.0.display()))
    }

    fn models(&self) -> Result<Value> {
        self.send(&Order::Models {})
    }

    /// Waits until a model is neither being loaded nor unloaded; shows how far it is.
    fn follow(&self, name: &str) -> Result<Value> {
        let is_terminal = std::io::stderr().is_terminal();
        loop {
            let all = self.models()?;
            let mut models = all["models"].as_array().into_iter().flatten();
            let is_it = |model: &&Value| {
                let mut aliases = model["aliases"].as_array().into_iter().flatten();
                model["id"] == name || aliases.any(|alias| alias == name)
            };
            let model =
                models.find(is_it).with_context(|| format!("there is no model `{name}`"))?;
            let is_moving = !model["progress"].is_null() || model["state"] == "unloading";
            if is_terminal {
                let percent = model["progress"]["percent"].as_u64();
                let shown = percent.map_or(String::new(), |percent| format!("   {percent} %"));
                let state = model["state"].as_str().unwrap_or_default();
                let line =
                    if is_moving { format!("  {state}   {name}{shown}") } else { String::new() };
                write!(std::io::stderr(), "\r\x1b[2K{line}")?;
                std::io::stderr().flush()?;
            }
            if !is_moving {
                return Ok(model.clone());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

fn mib(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |bytes| format!("{} MiB", bytes >> 20))
}

fn memory(model: &Value) -> String {
    format!("{} of memory are set aside for it", mib(&model["memory_bytes"]))
}

fn print(all: &Value) -> Result<()> {
    let mut out = out();
    writeln!(out, "{:<32} {:<11} {:>10} {:>10}  reason", "model", "state", "file", "memory")?;
    for model in all["models"].as_array().into_iter().flatten() {
        let text = |field: &str| model[field].as_str().unwrap_or_default();
        writeln!(
            out,
            "{:<32} {:<11} {:>10} {:>10}  {}",
            text("id"),
            text("state"),
            mib(&model["file_bytes"]),
            mib(&model["memory_bytes"]),
            text("reason")
        )?;
    }
    Ok(())
}

fn print_scan(found: &Value) -> Result<()> {
    let mut out = out();
    for (field, words) in [("appeared", "new"), ("vanished", "gone")] {
        for name in found[field].as_array().into_iter().flatten().filter_map(Value::as_str) {
            writeln!(out, "{words:<9} {name}")?;
        }
    }
    for file in found["refused"].as_array().into_iter().flatten() {
        let text = |field: &str| file[field].as_str().unwrap_or_default();
        writeln!(out, "{:<9} {}: {}", "refused", text("file"), text("reason"))?;
    }
    Ok(())
}
