//! `strongroom backup`: make, verify and restore sealed backups.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::Ended;
use super::options::{Common, out, warn};
use super::orders::carry_out;
use super::secrets::{ask_secret, secret_or};
use crate::app::Order;
use crate::audit::AuditLog;
use crate::backup::{self, BackupError, DamagedLog, Keys, Restore, Restored, Settled, Unlock};
use crate::clock::Clock;
use crate::db::{Db, DbOptions};
use crate::telemetry;

/// Make, verify or restore a sealed backup.
#[derive(Args)]
#[command(
    after_help = "A backup is two files: the data, to keep for as long as you like, and the keys of people, to keep for a short time, because as long as a key file from before a person's deletion exists, so does what they wrote. Restore any data file with the newest key file. The root key (or its passphrase) opens both: keep it elsewhere."
)]
pub(super) struct Backup {
    #[command(subcommand)]
    command: BackupCommand,
}

#[derive(Subcommand)]
enum BackupCommand {
    /// Make a backup, beside a running server or of one that is stopped.
    Create {
        /// The directory to put it in; without it, `backups` in the data directory.
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// A file with the passphrase of the root key, where it has one and no server runs; without
        /// it, it is asked for.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Open a whole file and hold every byte of it against its seal, beside a running server or
    /// with the keys of one that is stopped.
    Verify {
        /// The file.
        file: PathBuf,
        /// A file with the passphrase of the root key, where it has one and no server runs; without
        /// it, it is asked for.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Restore a backup to the data directory, after all of it was verified. Sessions, one-time
    /// links and API keys of its day end.
    Restore(RestoreCommand),
}

#[derive(Args)]
struct RestoreCommand {
    /// The data file.
    data: PathBuf,
    /// The newest key file; without one, what people wrote stays closed.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The file with the root key; without it, a passphrase is needed.
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
    /// A file with the passphrase; without it, it is asked for.
    #[arg(long, value_name = "FILE", conflicts_with = "root_key")]
    passphrase_file: Option<PathBuf>,
    /// Move the data that is there aside.
    #[arg(long)]
    replace: bool,
    /// Let API keys work as they did when the backup was made, those too that were revoked since.
    #[arg(long)]
    keep_keys: bool,
    /// Restore although the audit log in the backup does not verify.
    #[arg(long)]
    accept_damaged_log: bool,
}

impl Backup {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let config = common.config(Vec::new())?;
        let settings = config.settings();
        telemetry::start(&settings.logs);
        match self.command {
            BackupCommand::Create { to, passphrase_file } => {
                let to = to.unwrap_or_else(|| settings.server.data_dir.join("backups"));
                let order = Order::Backup { to: std::path::absolute(to)? };
                tell_made(&carry_out(settings, passphrase_file.as_ref(), order)?)?;
            }
            BackupCommand::Verify { file, passphrase_file } => {
                let order = Order::VerifyBackup { file: std::path::absolute(file)? };
                let found = carry_out(settings, passphrase_file.as_ref(), order)?;
                let kind = found["kind"].as_str().unwrap_or_default();
                writeln!(out(), "verified: a {kind} file with {} files", found["files"])?;
            }
            BackupCommand::Restore(restore) => restore.run(&settings.server.data_dir)?,
        }
        Ok(Ended::Done)
    }
}

fn tell_made(made: &Value) -> Result<()> {
    let text = |name: &str| made[name].as_str().unwrap_or_default();
    let mut out = out();
    writeln!(out, "data  {}", text("data"))?;
    writeln!(out, "keys  {}   (keep for a short time only)", text("keys"))?;
    writeln!(out, "Keep the root key elsewhere: without it nobody can open these files.")?;
    let problems = made["log_problems"].as_array().map(Vec::as_slice).unwrap_or_default();
    if let Some(first) = problems.first().and_then(Value::as_str) {
        warn(&format!(
            "the audit log in this backup does not verify ({} problems; the first: {first}). A restore will ask for --accept-damaged-log",
            problems.len()
        ));
    }
    Ok(())
}

impl RestoreCommand {
    fn run(self, target: &Path) -> Result<()> {
        let passphrase = match &self.root_key {
            Some(_) => None,
            None => Some(secret_or(self.passphrase_file.as_ref(), || {
                ask_secret("Passphrase of the backup: ")
            })?),
        };
        let unlock = match (&self.root_key, &passphrase) {
            (Some(path), _) => Unlock::KeyFile(path),
            (None, Some(passphrase)) => Unlock::Passphrase(passphrase),
            (None, None) => anyhow::bail!("give --root-key or a passphrase"),
        };
        let damaged_log =
            if self.accept_damaged_log { DamagedLog::Accept } else { DamagedLog::Refuse };
        let request = Restore {
            data: &self.data,
            keys: self.keys.as_deref(),
            unlock,
            target,
            is_replacing: self.replace,
            damaged_log,
        };
        let keys = if self.keep_keys { Keys::Keep } else { Keys::End };
        let clock = Clock::system();
        let settle = |directory: &Path| settle(directory, request.unlock, keys, &clock);
        let (restored, settled) = backup::restore(&request, clock.now(), settle)?;
        tell_restored(&request, &restored, keys, &settled)
    }
}

/// The restore is the first event of the log that goes on from the backup, and what must not come
/// back ends with it.
fn settle(
    directory: &Path,
    unlock: Unlock<'_>,
    keys: Keys,
    clock: &Clock,
) -> Result<Settled, BackupError> {
    let vault = crate::vault::Vault::load(&directory.join("keys"))?;
    if let Unlock::Passphrase(passphrase) = unlock {
        vault.unseal(passphrase)?;
    }
    let db = Db::open(&directory.join(backup::DATABASE), DbOptions::default())?;
    let log = AuditLog::open(&db, &vault, &directory.join("audit"), &clock.ordered())?;
    backup::settle(&db, &vault, &log, keys, clock.now())
}

fn tell_restored(
    request: &Restore<'_>,
    restored: &Restored,
    keys: Keys,
    settled: &Settled,
) -> Result<()> {
    let mut out = out();
    writeln!(
        out,
        "Restored {} files from {} to {}, keys of {} people among them.",
        restored.files,
        restored.made_at,
        request.target.display(),
        restored.people_keys
    )?;
    if let Some(path) = &restored.moved_aside {
        writeln!(out, "What was there before lies in {}.", path.display())?;
    }
    writeln!(
        out,
        "Ended {} sessions and {} one-time links of that day.",
        settled.sessions, settled.links
    )?;
    if settled.people_with_new_keys > 0 {
        writeln!(
            out,
            "{} people have a new data key, for theirs was not in what was given: what they wrote before stays closed.",
            settled.people_with_new_keys
        )?;
    }
    for warning in &restored.warnings {
        writeln!(out, "Restored, but {warning}.")?;
    }
    let (what, advice) = match keys {
        Keys::End => ("ended", "Their people make new ones; --keep-keys would have kept them."),
        Keys::Keep => {
            ("works as it did then", "Revoke those that were revoked since, or should have been.")
        }
    };
    for key in &settled.keys {
        writeln!(out, "API key {} (…{}) of {}: {what}", key.id, key.hint, key.username)?;
    }
    if !settled.keys.is_empty() {
        writeln!(out, "{advice}")?;
    }
    writeln!(
        out,
        "Accounts, roles and passwords are as they were then: look through People for whom to disable."
    )?;
    Ok(())
}
