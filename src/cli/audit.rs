//! `strongroom audit`: verification and export, while the server runs or not. Both go on record: by
//! the server that runs, or here where none does.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};

use super::Ended;
use super::options::{Common, out, warn};
use super::orders::{Hand, carry_out};
use super::secrets::create_private;
use crate::app::{Order, send_order};
use crate::audit::verify::{KeptHead, Trust, Verification, verify};
use crate::audit::{Format, export, read_public_key};
use crate::config::Settings;
use crate::db::{Connection, open_to_read};
use crate::telemetry;
use crate::vault::{SourceKind, Vault};

/// Verify or export the audit log.
#[derive(Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Hold every event against its hash, and every signed head against the events.
    Verify(VerifyCommand),
    /// Write the log out for other programs.
    Export(ExportCommand),
}

#[derive(Args)]
struct VerifyCommand {
    /// A head that was kept elsewhere, as SIZE:ROOT; may be given more than once.
    #[arg(long, value_name = "SIZE:ROOT")]
    head: Vec<String>,
    /// A copy of audit/public.key that was kept elsewhere.
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    public_key: Option<PathBuf>,
    /// The fingerprint of the log's key, as an earlier `audit verify` printed it.
    #[arg(long, value_name = "DIGITS")]
    fingerprint: Option<String>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
    /// A file with the passphrase of the root key, where it has one and no server runs: the
    /// verification goes on record then. It needs no passphrase itself.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Args)]
struct ExportCommand {
    /// How to write it.
    #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
    format: ExportFormat,
    /// Only what comes after this event.
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// Where to (a new file of mode 0600); without it, standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A file with the passphrase of the root key, where it has one and no server runs: an export
    /// goes on record.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ExportFormat {
    Jsonl,
    Csv,
}

impl ExportFormat {
    const fn name(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
    }

    const fn format(self) -> Format {
        match self {
            Self::Jsonl => Format::Jsonl,
            Self::Csv => Format::Csv,
        }
    }
}

impl Audit {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let config = common.config(Vec::new())?;
        telemetry::start(&config.settings().logs);
        match self.command {
            AuditCommand::Verify(command) => command.run(config.settings()),
            AuditCommand::Export(command) => command.run(config.settings()),
        }
    }
}

/// One view of the log, however long it takes and whatever is added meanwhile.
fn open_log(settings: &Settings) -> Result<Connection> {
    let path = settings.server.data_dir.join("strongroom.db");
    let db = open_to_read(&path).context("the database cannot be opened")?;
    db.execute_batch("BEGIN")?;
    Ok(db)
}

impl VerifyCommand {
    fn run(self, settings: &Settings) -> Result<Ended> {
        let mut kept = Vec::new();
        for text in &self.head {
            let Some(one) = KeptHead::parse(text) else {
                bail!("--head takes SIZE:ROOT, as an earlier `audit verify` printed them");
            };
            kept.push(one);
        }
        let trust = self.trust()?;
        let directory = settings.server.data_dir.join("audit");
        let found = verify(&open_log(settings)?, &directory, &kept, &trust)?;
        if self.json {
            writeln!(out(), "{}", serde_json::to_string(&found)?)?;
        } else {
            print(&found, &trust)?;
        }
        let order = Order::Verified {
            ok: found.ok,
            size: found.size,
            root: found.root.clone(),
            problems: found.problems.len(),
        };
        if let Err(error) = self.record(settings, order) {
            warn(&format!("the verification is not on record: {error:#}"));
        }
        Ok(if found.ok { Ended::Done } else { Ended::Found })
    }

    /// Puts it on record where that can be done without asking: verification itself needs no
    /// passphrase, and works on a copy.
    fn record(&self, settings: &Settings, order: Order) -> Result<()> {
        let data = &settings.server.data_dir;
        let (source, _) = Vault::root_facts(&data.join("keys"))?;
        if source == SourceKind::Passphrase && self.passphrase_file.is_none() {
            let recorded = send_order(data, &order)?;
            recorded.context("the vault is sealed, and no server runs; see --passphrase-file")?;
            return Ok(());
        }
        carry_out(settings, self.passphrase_file.as_ref(), order).map(drop)
    }

    fn trust(&self) -> Result<Trust> {
        if let Some(path) = &self.public_key {
            let key = read_public_key(path);
            return key.map(Trust::Key).with_context(|| {
                format!("{} holds no public key of an audit log", path.display())
            });
        }
        match &self.fingerprint {
            Some(text) if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Ok(Trust::Fingerprint(text.clone()))
            }
            Some(_) => bail!("--fingerprint takes the 64 digits that `audit verify` prints"),
            None => Ok(Trust::Beside),
        }
    }
}

fn print(found: &Verification, trust: &Trust) -> Result<()> {
    let mut out = out();
    for problem in &found.problems {
        writeln!(out, "PROBLEM  {problem}")?;
    }
    let verdict = if found.ok { "verified" } else { "NOT VERIFIED" };
    writeln!(out, "{verdict}: {} events, {} signed heads", found.size, found.heads)?;
    if let Some(key) = &found.key {
        let note = match trust {
            Trust::Beside => "   (as it lies beside the log: compare it with the one you kept)",
            Trust::Key(_) | Trust::Fingerprint(_) => "",
        };
        writeln!(out, "key      {key}{note}")?;
    }
    writeln!(out, "head     {}:{}", found.size, found.root)?;
    writeln!(
        out,
        "Keep head and key elsewhere; `audit verify --head --fingerprint` then finds a roll-back and a log that was signed anew."
    )?;
    Ok(())
}

impl ExportCommand {
    fn run(self, settings: &Settings) -> Result<Ended> {
        let hand = Hand::reach(settings, self.passphrase_file.as_ref());
        let refused = "the export cannot be put on record, so nothing is exported";
        let hand = hand.context(refused)?;
        let record = |events| {
            let (format, after) = (self.format.name().to_owned(), self.after);
            hand.perform(Order::Exported { format, after, events })
        };
        // On record first: a copy that is not on record must not be.
        record(None).context(refused)?;
        let db = open_log(settings)?;
        let format = self.format.format();
        let count = match &self.out {
            Some(path) => to_file(&db, self.after, format, path)?,
            None => export(&db, self.after, format, BufWriter::new(out()))?,
        };
        record(Some(count)).context("the export is made, but its end is not on record")?;
        Ok(Ended::Done)
    }
}

fn to_file(db: &Connection, after: u64, format: Format, path: &Path) -> Result<u64> {
    let file = create_private(path)?;
    let count = export(db, after, format, BufWriter::new(&file))?;
    file.sync_all()?;
    writeln!(out(), "Wrote {count} events to {}", path.display())?;
    Ok(count)
}
