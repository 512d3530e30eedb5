//! `strongroom backup`: make, verify and restore sealed backups.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::Ended;
use super::options::{Common, ask_secret, out, secret_from_file};
use crate::app::{App, BACKUP, Home, exchange_runtime, make_backup, socket_path};
use crate::audit::{Action, Actor, AuditLog, Event, Outcome};
use crate::backup::{self, Restore, Unlock};
use crate::clock::Clock;
use crate::config::{Config, Settings};
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
    },
    /// Open a whole file and hold every byte of it against its seal. The server must not be running.
    Verify {
        /// The file.
        file: PathBuf,
    },
    /// Restore a backup to the data directory, after all of it was verified.
    Restore {
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
    },
}

impl Backup {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let config = common.config(Vec::new())?;
        telemetry::start(&config.settings().logs);
        match self.command {
            BackupCommand::Create { to } => {
                let data = &config.settings().server.data_dir;
                let target = to.unwrap_or_else(|| data.join("backups"));
                match UnixStream::connect(socket_path(data)) {
                    Ok(server) => order(server, &target)?,
                    Err(_) => create(&config, &target)?,
                }
            }
            BackupCommand::Verify { file } => {
                let home = open_home(config.settings())?;
                let (kind, manifest) = backup::verify(&file, &home.vault)?;
                writeln!(out(), "verified: a {kind} file with {} files", manifest.files.len())?;
            }
            BackupCommand::Restore { data, keys, root_key, passphrase_file, replace } => {
                let passphrase = match (&root_key, passphrase_file) {
                    (Some(_), _) => None,
                    (None, Some(path)) => Some(secret_from_file(&path)?),
                    (None, None) => Some(ask_secret("Passphrase of the backup: ")?),
                };
                let unlock = match (&root_key, &passphrase) {
                    (Some(path), _) => Unlock::KeyFile(path),
                    (None, Some(passphrase)) => Unlock::Passphrase(passphrase),
                    (None, None) => anyhow::bail!("give --root-key or a passphrase"),
                };
                let target = &config.settings().server.data_dir;
                let request = Restore {
                    data: &data,
                    keys: keys.as_deref(),
                    unlock,
                    target,
                    is_replacing: replace,
                };
                restore(&request)?;
            }
        }
        Ok(Ended::Done)
    }
}

fn open_home(settings: &Settings) -> Result<Home> {
    let home = Home::open_or_create(settings)?;
    if !home.vault.is_open() {
        home.vault.unseal(&ask_secret("Passphrase: ")?)?;
    }
    Ok(home)
}

/// Makes a backup of a server that does not run.
fn create(config: &Config, target: &Path) -> Result<()> {
    let home = open_home(config.settings())?;
    let runtime = exchange_runtime()?;
    let app = App::build(&home, config, runtime.handle().clone())?;
    let made = make_backup(&home, &app, target)?;
    tell(&made.data.display().to_string(), &made.keys.display().to_string())
}

/// Has the running server make it.
fn order(mut server: UnixStream, target: &Path) -> Result<()> {
    let target = std::path::absolute(target)?;
    let target = target.to_str().context("the directory's name is not UTF-8")?;
    anyhow::ensure!(!target.contains('\n'), "the directory's name has a line break");
    server.write_all(format!("{BACKUP}{target}\n").as_bytes())?;
    let mut lines = BufReader::new(server).lines();
    let mut line = || lines.next().transpose().map(Option::unwrap_or_default);
    match line()?.as_str() {
        "ok" => tell(&line()?, &line()?),
        "" => {
            anyhow::bail!("the server went away without an answer; look for its reason in its log")
        }
        refusal => anyhow::bail!("{refusal}"),
    }
}

fn tell(data: &str, keys: &str) -> Result<()> {
    let mut out = out();
    writeln!(out, "data  {data}")?;
    writeln!(out, "keys  {keys}   (keep for a short time only)")?;
    writeln!(out, "Keep the root key elsewhere: without it nobody can open these files.")?;
    Ok(())
}

fn restore(request: &Restore<'_>) -> Result<()> {
    let clock = Clock::system();
    let restored = backup::restore(request, clock.now())?;
    record_restore(request, &clock).context("the backup is restored, but that is not on record")?;
    let mut out = out();
    writeln!(
        out,
        "Restored {} files from {} to {}, keys of {} people among them.",
        restored.files,
        restored.made_at,
        request.target.display(),
        restored.people_keys
    )?;
    if let Some(path) = restored.moved_aside {
        writeln!(out, "What was there before lies in {}.", path.display())?;
    }
    Ok(())
}

/// The restore is the first event of the log that goes on from the backup.
fn record_restore(request: &Restore<'_>, clock: &Clock) -> Result<()> {
    let keys = request.target.join("keys");
    let vault = crate::vault::Vault::load(&keys)?;
    if let Unlock::Passphrase(passphrase) = request.unlock {
        vault.unseal(passphrase)?;
    }
    let db = Db::open(&request.target.join(backup::DATABASE), DbOptions::default())?;
    let log = AuditLog::open(&db, &vault, &request.target.join("audit"), clock)?;
    log.record_blocking(Event::new(Action::BackupRestore, Outcome::Done, Actor::System))?;
    Ok(log.flush()?)
}
