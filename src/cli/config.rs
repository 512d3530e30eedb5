//! `strongroom config`.

use std::io::Write;

use anyhow::Result;
use clap::Args;

use super::Ended;
use super::options::{Common, out};

/// Show the configuration in force, and where each value came from.
#[derive(Args)]
pub(super) struct Show {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let config = common.config(Vec::new())?;
        let mut out = out();
        for (key, value, origin) in config.rows() {
            if self.json {
                let row =
                    serde_json::json!({ "key": key, "value": value, "origin": origin.to_string() });
                writeln!(out, "{row}")?;
            } else {
                writeln!(out, "{key:<40} {value:<28} # {origin}")?;
            }
        }
        Ok(Ended::Done)
    }
}
