//! `strongroom sbom` and `strongroom advisories`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::Ended;
use super::options::{Common, out};
use crate::app::Home;
use crate::audit::AuditLog;
use crate::db::{Db, DbOptions};
use crate::monitor::advisories::AdvisoryReport;
use crate::monitor::{advisories, advisory_event, sbom};

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
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let AdvisoriesCommand::Check { db, json } = self.command;
        let report = advisories::check(&db)?;
        record(common, &report)?;
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

/// Puts the check on record in the data directory, where there is one that is free and open: the
/// posture page goes by it. Elsewhere the check is none the worse for it.
fn record(common: &Common, report: &AdvisoryReport) -> Result<()> {
    let config = common.config(Vec::new())?;
    let settings = config.settings();
    if !settings.server.data_dir.join("strongroom.db").exists() {
        return Ok(());
    }
    let outcome = Home::open_or_create(settings).and_then(|home| {
        anyhow::ensure!(home.vault.is_open(), "its vault is sealed");
        let db = Db::open(&home.database(), DbOptions::default())?;
        let log = AuditLog::open(&db, &home.vault, &home.audit_directory(), &home.clock.ordered())?;
        log.record_blocking(advisory_event(report))?;
        Ok(log.flush()?)
    });
    if let Err(error) = outcome {
        // A warning beside what was asked for; nothing is to be done where it cannot be written.
        let _ = writeln!(
            std::io::stderr(),
            "strongroom: the check is not on record ({error}); a running server makes its own, once a day, with monitor.advisory_db set"
        );
    }
    Ok(())
}
