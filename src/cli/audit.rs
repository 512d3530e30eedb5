//! `strongroom audit`: verification and export, offline, while the server runs or not.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use rusqlite::{Connection, OpenFlags};

use super::Ended;
use super::options::{Common, out};
use crate::audit::verify::{KeptHead, verify};
use crate::audit::{Format, export};

/// Verify or export the audit log.
#[derive(Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Hold every event against its hash, and every signed head against the events.
    Verify {
        /// A head that was kept elsewhere, as SIZE:ROOT; may be given more than once.
        #[arg(long, value_name = "SIZE:ROOT")]
        head: Vec<String>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Write the log out for other programs.
    Export {
        /// How to write it.
        #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
        format: ExportFormat,
        /// Only what comes after this event.
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: u64,
        /// Where to; without it, standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum ExportFormat {
    Jsonl,
    Csv,
}

impl Audit {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let config = common.config(Vec::new())?;
        let data = &config.settings().server.data_dir;
        let path = data.join("strongroom.db");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&path, flags)
            .with_context(|| format!("{} cannot be opened", path.display()))?;
        // One view of the log, however long it takes and whatever is added meanwhile.
        db.execute_batch("BEGIN")?;
        match self.command {
            AuditCommand::Verify { head, json } => {
                let mut kept = Vec::new();
                for text in &head {
                    let Some(one) = KeptHead::parse(text) else {
                        bail!("--head takes SIZE:ROOT, as an earlier `audit verify` printed them");
                    };
                    kept.push(one);
                }
                let found = verify(&db, &data.join("audit"), &kept)?;
                let mut out = out();
                if json {
                    writeln!(out, "{}", serde_json::to_string(&found)?)?;
                } else {
                    for problem in &found.problems {
                        writeln!(out, "PROBLEM  {problem}")?;
                    }
                    let verdict = if found.ok { "verified" } else { "NOT VERIFIED" };
                    writeln!(
                        out,
                        "{verdict}: {} events, {} signed heads",
                        found.size, found.heads
                    )?;
                    writeln!(out, "head     {}:{}", found.size, found.root)?;
                    writeln!(
                        out,
                        "Keep this head elsewhere; `audit verify --head` then finds a roll-back."
                    )?;
                }
                Ok(if found.ok { Ended::Done } else { Ended::Found })
            }
            AuditCommand::Export { format, after, out: path } => {
                let format = match format {
                    ExportFormat::Jsonl => Format::Jsonl,
                    ExportFormat::Csv => Format::Csv,
                };
                match path {
                    Some(path) => {
                        let file = File::create_new(&path)
                            .with_context(|| format!("{} cannot be made", path.display()))?;
                        let count = export(&db, after, format, BufWriter::new(&file))?;
                        file.sync_all()?;
                        writeln!(out(), "Wrote {count} events to {}", path.display())?;
                    }
                    None => {
                        export(&db, after, format, BufWriter::new(out()))?;
                    }
                }
                Ok(Ended::Done)
            }
        }
    }
}
