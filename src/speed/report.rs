//! What was measured, beside its limits: as JSON with names that stay, and as a table for people.

use std::fmt::{Display, Formatter, Result};

use serde::Serialize;

use super::limits::Limits;
use super::machine::Machine;
use super::timing::{TimedAnswer, TimedPrompt};
use crate::engine::ModelInfo;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of this program.
    pub strongroom: &'static str,
    /// Where.
    pub machine: Machine,
    /// With which model.
    pub model: Model,
    /// What the machine gives at most.
    pub limits: MachineLimits,
    /// Seconds until the model was ready to answer. A file that was read before comes from memory.
    pub load_s: f64,
    /// The most memory that the program had, where the system tells.
    pub peak_rss_bytes: Option<u64>,
    /// The reading of prompts.
    pub prefill: Vec<Prompt>,
    /// The writing of answers.
    pub decode: Vec<Answer>,
    /// What was left out, in words.
    pub notes: Vec<String>,
}

/// The model that answered.
#[derive(Clone, Debug, Serialize)]
pub struct Model {
    /// The family, as GGUF calls it.
    pub architecture: String,
    /// The quantization that most of the weights have.
    pub quantization: String,
    /// How many weights it has.
    pub parameters: u64,
    /// The size of its file.
    pub file_bytes: u64,
    /// Whether its weights are of chance.
    pub is_chance: bool,
}

/// What the machine gives at most, to all threads together.
#[derive(Clone, Debug, Serialize)]
pub struct MachineLimits {
    /// Gigabytes of memory read in a second.
    pub read_gb_s: f64,
    /// Thousand million products and sums of bytes in a second.
    pub int8_gop_s: f64,
    /// By which instructions.
    pub int8_instructions: &'static str,
}

/// How fast a prompt is read.
#[derive(Clone, Debug, Serialize)]
pub struct Prompt {
    /// Tokens of the prompt.
    pub tokens: usize,
    /// Tokens read in a second.
    pub tok_s: f64,
    /// The same at most.
    pub limit_tok_s: f64,
    /// The share of that.
    pub of_limit: f64,
    /// How often it was measured.
    pub runs: usize,
}

/// How fast answers are written.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// Tokens that stand before the answer; 0: but for one.
    pub context: usize,
    /// How many answers at once.
    pub streams: usize,
    /// Tokens written in a second, of all streams together.
    pub tok_s: f64,
    /// The same at most.
    pub limit_tok_s: f64,
    /// The share of that.
    pub of_limit: f64,
    /// How often it was measured.
    pub runs: usize,
}

impl Model {
    pub(super) fn new(info: &ModelInfo, is_chance: bool) -> Self {
        Self {
            architecture: info.architecture.clone(),
            quantization: info.quantization.clone(),
            parameters: info.parameters,
            file_bytes: info.file_bytes,
            is_chance,
        }
    }
}

impl Prompt {
    pub(super) fn new(timed: &TimedPrompt, limit_tok_s: f64) -> Self {
        let TimedPrompt { tokens, tok_s, runs } = *timed;
        Self { tokens, tok_s, limit_tok_s, of_limit: tok_s / limit_tok_s, runs }
    }
}

impl Answer {
    pub(super) fn new(timed: &TimedAnswer, limit_tok_s: f64) -> Self {
        let TimedAnswer { context, streams, tok_s, runs } = *timed;
        Self { context, streams, tok_s, limit_tok_s, of_limit: tok_s / limit_tok_s, runs }
    }
}

impl From<Limits> for MachineLimits {
    fn from(limits: Limits) -> Self {
        Self {
            read_gb_s: limits.read / 1e9,
            int8_gop_s: limits.multiply / 1e9,
            int8_instructions: limits.instructions,
        }
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let Self { machine, model, limits, .. } = self;
        let threads = counted(machine.threads, "thread");
        write!(out, "machine     {}, {threads}", machine.processor)?;
        if let Some(bytes) = machine.memory_bytes {
            write!(out, ", {:.1} GiB of memory", bytes as f64 / f64::from(1 << 30))?;
        }
        writeln!(out, ", {}", limits.int8_instructions)?;
        let chance = if model.is_chance { ", made up for this" } else { "" };
        let Model { architecture, quantization, .. } = model;
        let (millions, megabytes) = (model.parameters / 1_000_000, model.file_bytes / 1_000_000);
        writeln!(
            out,
            "model       {architecture}, {millions} million weights, {quantization}, {megabytes} MB{chance}"
        )?;
        let (read, multiply) = (limits.read_gb_s, limits.int8_gop_s);
        writeln!(
            out,
            "limits      {read:.1} GB/s read from memory, {multiply:.0} Gop/s with bytes"
        )?;
        writeln!(out, "load        {:.2} s", self.load_s)?;
        let peak = self.peak_rss_bytes.map_or("not told by this system".to_owned(), |bytes| {
            format!("{} MiB of memory at most", bytes >> 20)
        });
        writeln!(out, "peak        {peak}\n")?;
        self.prompts(out)?;
        self.answers(out)?;
        for (number, note) in self.notes.iter().enumerate() {
            writeln!(out, "{}{note}", if number == 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl Report {
    fn prompts(&self, out: &mut Formatter<'_>) -> Result {
        writeln!(out, "{:<28} {:>10} {:>10} {:>9}", "reading", "tokens/s", "limit", "of limit")?;
        for one in &self.prefill {
            let name = format!("a prompt of {}", counted(one.tokens, "token"));
            let percent = 100.0 * one.of_limit;
            writeln!(
                out,
                "{name:<28} {:>10.1} {:>10.1} {percent:>7.0} %",
                one.tok_s, one.limit_tok_s
            )?;
        }
        Ok(())
    }

    fn answers(&self, out: &mut Formatter<'_>) -> Result {
        writeln!(
            out,
            "\n{:<28} {:>10} {:>10} {:>9} {:>10}",
            "writing", "tokens/s", "limit", "of limit", "each"
        )?;
        for one in &self.decode {
            let mut name = counted(one.streams, "answer");
            if one.context > 0 {
                name = format!("{name} after {} tokens", one.context);
            }
            let (percent, each) = (100.0 * one.of_limit, one.tok_s / one.streams as f64);
            writeln!(
                out,
                "{name:<28} {:>10.1} {:>10.1} {percent:>7.0} % {each:>10.1}",
                one.tok_s, one.limit_tok_s
            )?;
        }
        Ok(())
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
