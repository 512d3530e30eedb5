//! `strongroom sbom` and `strongroom advisories`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::Ended;
use super::options::out;
use crate::monitor::{advisories, sbom};

/// Print the list of crates inside this binary (CycloneDX).
#[derive(Args)]
pub(super) struct Sbom;

impl Sbom {
    pub(super) fn run() -> Result<Ended> {
        writeln!(out(), "{}", sbom::CYCLONEDX)?;
        Ok(Ended::Done)
    }
}

/// Hold this binary against a copy of the RustSec advisory database.
#[derive(Args)]
pub(super) struct Advisories {
    #[command(subcommand)]
    command: AdvisoriesCommand,
}

#[derive(Subcommand)]
enum AdvisoriesCommand {
    /// Check, without any network. Exit code 3 where a vulnerability is found.
    Check {
        /// The directory with the database (it holds `crates/`).
        #[arg(long, value_name = "DIR")]
        db: PathBuf,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

impl Advisories {
    pub(super) fn run(self) -> Result<Ended> {
        let AdvisoriesCommand::Check { db, json } = self.command;
        let report = advisories::check(&db)?;
        let mut out = out();
        if json {
            writeln!(out, "{}", serde_json::to_string(&report)?)?;
        } else {
            for one in report.vulnerabilities.iter().chain(&report.warnings) {
                writeln!(
                    out,
                    "{:<14} {} {} {}: {}",
                    one.kind, one.id, one.package, one.version, one.title
                )?;
                if !one.patched.is_empty() {
                    writeln!(out, "{:<14} mended in {}", "", one.patched.join(", "))?;
                }
            }
            writeln!(
                out,
                "{} crates held against {} advisories: {} vulnerabilities, {} warnings",
                report.crates,
                report.advisories,
                report.vulnerabilities.len(),
                report.warnings.len()
            )?;
        }
        Ok(if report.vulnerabilities.is_empty() { Ended::Done } else { Ended::Found })
    }
}
