//! `strongroom bench`: how fast a model answers on this machine, beside what the machine could give.
//! Needs no server and no data directory; of a configuration, what the processor computes with counts.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::Ended;
use super::options::{Common, out};
use crate::app;
use crate::engine::{KvPrecision, Weights, set_instructions, set_threads, threads};
use crate::speed::chance::{self, Kind, Shape};
use crate::speed::{self, Asked, Expectation, Nameless, write_new};

/// The longest text that is judged: hours, on a small machine.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// Measure how fast models answer on this machine.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  strongroom bench\n  strongroom bench --model models/qwen3-4b-q4_k_m.gguf --threads 8\n  strongroom bench --shape 8b --json > here.json\n  strongroom bench --model models/qwen3-4b-q4_k_m.gguf --text report.txt\n  strongroom bench --set engine.instructions=avx2\n\nEach figure stands beside its limit: what no program can pass that reads each weight once for a token, or multiplies it once. Nothing else should run meanwhile. It takes some minutes on a small machine."
)]
pub(super) struct Bench {
    /// The model to measure with; without it, one of a usual shape with weights of chance is made and
    /// removed again.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["shape", "kind", "layers", "write"])]
    model: Option<PathBuf>,
    /// How many threads compute; without it, one for each core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    threads: Option<u16>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// The shape of the model that is made: 0.6b (Qwen3), 1b, 8b (Llama 3).
    #[arg(long, default_value = "0.6b", value_parser = shape)]
    shape: Shape,
    /// Its weights: f16, q8_0, q4_0, q4_k, q4_k_m.
    #[arg(long = "type", value_name = "TYPE", default_value = "q4_k_m", value_parser = kind)]
    kind: Kind,
    /// Layers of it, for a quick look.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    layers: Option<u32>,
    /// The directory in which the file of it lies meanwhile; without it, the first that is on a disk and
    /// has room: that of temporary files, /var/tmp, or this one.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "write"])]
    dir: Option<PathBuf>,
    /// Write it to a new file, and measure nothing.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Tokens of the prompts. After the longest, an answer is timed as well.
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_value = "512,4096")]
    prompts: Vec<NonZero<u32>>,
    /// Answers at once.
    #[arg(long, value_name = "COUNTS", value_delimiter = ',', default_value = "1,2,4,8,16")]
    streams: Vec<NonZero<u16>>,
    /// In which precision keys and values are kept: f16, q8_0 (`engine.kv_precision` of a server).
    #[arg(long = "kv", value_name = "PRECISION", default_value = "f16", value_parser = precision)]
    kv_precision: KvPrecision,
    /// Measure something else: the perplexity of the model over the text of this file, that is, of how
    /// many tokens it is undecided between. Lower is better; only values of one text and one tokenizer
    /// can be compared, such as those of two quantizations.
    #[arg(long, value_name = "FILE", requires = "model", conflicts_with_all = ["prompts", "streams", "runs"])]
    text: Option<PathBuf>,
    /// How often each is measured, at most; the middle one counts. What takes long is measured once.
    #[arg(long, value_name = "N", default_value = "3")]
    runs: NonZero<u16>,
}

fn shape(name: &str) -> Result<Shape, String> {
    Shape::named(name).ok_or_else(|| names(&Shape::ALL))
}

fn kind(name: &str) -> Result<Kind, String> {
    Kind::named(name).ok_or_else(|| names(&Kind::ALL))
}

fn precision(name: &str) -> Result<KvPrecision, String> {
    let named = KvPrecision::NAMED.iter().find(|(known, _)| *known == name);
    named.map(|(_, precision)| *precision).ok_or_else(|| names(&KvPrecision::NAMED))
}

fn names<T>(all: &[(&str, T)]) -> String {
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    format!("there are {}", names.join(", "))
}

impl Bench {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let config = common.config(Vec::new())?;
        // Before anything else: a second thread would be too late.
        set_threads(self.threads.unwrap_or(0).into())?;
        set_instructions(app::instructions(config.settings())).context("engine.instructions")?;
        if let Some(path) = &self.write {
            write_new(path, |file| chance::write(file, &self.shape(), self.kind))
                .with_context(|| format!("{} cannot be made", path.display()))?;
            return Ok(Ended::Done);
        }
        let mut shown = Shown::new();
        if let (Some(model), Some(text)) = (&self.model, &self.text) {
            return self.judge(model, text, &mut shown);
        }
        let made = if self.model.is_none() { Some(self.made(&mut shown)?) } else { None };
        let path = self.model.clone().or_else(|| made.as_ref().map(Nameless::path));
        let path = path.unwrap_or_default();
        let report = speed::measure(Weights::File(path.clone()), &self.asked(), &mut |what| {
            shown.say(what);
        });
        shown.clear();
        let mut report = report.with_context(|| match &self.model {
            Some(path) => format!("{} cannot be measured", path.display()),
            None => "the model of chance weights cannot be measured".to_owned(),
        })?;
        if let Some(made) = made.filter(Nameless::is_memory) {
            report.notes.push(format!(
                "the file of the model lay in memory ({}), and took of it what it is large: --dir names another directory",
                made.directory().display()
            ));
        }
        if self.json {
            writeln!(out(), "{}", serde_json::to_string_pretty(&report)?)?;
        } else {
            write!(out(), "{report}")?;
        }
        Ok(Ended::Done)
    }

    /// Lets the model judge a text.
    fn judge(&self, model: &Path, text: &Path, shown: &mut Shown) -> Result<Ended> {
        let told = || format!("{} cannot be read", text.display());
        let file = File::open(text).with_context(told)?;
        let mut read = String::new();
        file.take(TEXT_BYTES_MAX + 1).read_to_string(&mut read).with_context(told)?;
        ensure!(
            read.len() as u64 <= TEXT_BYTES_MAX,
            "{} is longer than {} MiB: take a part of it",
            text.display(),
            TEXT_BYTES_MAX >> 20
        );
        let weights = Weights::File(model.to_owned());
        let found = speed::expectation(weights, &read, self.kv_precision, &mut |what| {
            shown.say(what);
        });
        shown.clear();
        let found = found.with_context(|| format!("{} cannot be measured", model.display()))?;
        if self.json {
            writeln!(out(), "{}", serde_json::to_string_pretty(&found)?)?;
        } else {
            let Expectation { perplexity, tokens, window } = found;
            writeln!(
                out(),
                "perplexity {perplexity:.4}, over {tokens} tokens in windows of {window}"
            )?;
        }
        Ok(Ended::Done)
    }

    fn shape(&self) -> Shape {
        let mut shape = self.shape;
        shape.layers = self.layers.unwrap_or(shape.layers);
        shape
    }

    fn made(&self, shown: &mut Shown) -> Result<Nameless> {
        let shape = self.shape();
        let size = chance::size(&shape, self.kind);
        let made = Nameless::new(size, self.dir.as_deref()).and_then(|file| {
            let directory = file.directory().display();
            let memory = if file.is_memory() { ", which is memory" } else { "" };
            shown.say(&format!("making a model of chance weights in {directory}{memory}"));
            chance::write(file.file(), &shape, self.kind)?;
            Ok(file)
        });
        made.context("a model of chance weights cannot be written to a temporary file")
    }

    fn asked(&self) -> Asked {
        Asked {
            prompts: self.prompts.iter().map(|tokens| tokens.get() as usize).collect(),
            streams: self.streams.iter().map(|streams| streams.get().into()).collect(),
            runs: self.runs.get().into(),
            threads: threads(),
            is_chance: self.model.is_none(),
            kv_precision: self.kv_precision,
        }
    }
}

/// What is being done, on standard error: in one line that changes where somebody looks.
struct Shown {
    is_terminal: bool,
}

impl Shown {
    fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal() }
    }

    fn say(&mut self, what: &str) {
        let mut stderr = std::io::stderr();
        // Nothing can be said where standard error is closed.
        let _ = if self.is_terminal {
            write!(stderr, "\r\x1b[2K  {what}").and_then(|()| stderr.flush())
        } else {
            writeln!(stderr, "{what}")
        };
    }

    fn clear(&mut self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}
