//! `strongroom key`: where the root key is kept, its passphrase, its replacement, and API keys, which are
//! made here.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};

use super::Ended;
use super::api_keys::ApiKeys;
use super::group::LimitFlags;
use super::options::{Common, out};
use super::secrets::{ask_new_secret, open_home, secret_or, write_made};
use crate::app::{App, Home, exchange_runtime, prepare_certificate};
use crate::audit::{Action, Actor, Event, Outcome};
use crate::keys::KeyRequest;
use crate::secret::SecretText;
use crate::telemetry;
use crate::vault::{KeySource, SourceKind, VaultError};

/// Where the root key is kept, and API keys. Where it is not said otherwise, the server must not be
/// running.
#[derive(Args)]
pub(super) struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    #[command(flatten)]
    Alone(AloneCommand),
    #[command(flatten)]
    ApiKeys(ApiKeys),
}

/// What is done while no server runs.
#[derive(Subcommand)]
enum AloneCommand {
    /// Keep the root key under a passphrase from now on: the server then starts sealed.
    Move {
        /// A file with the new passphrase; without it, it is asked for twice.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Replace the root key by a new one, kept as the old one is. Backups that were made before
    /// open with the old root key, or its passphrase, alone.
    Rotate {
        /// A file with the passphrase of the root key; without it, it is asked for.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Change the passphrase of the root key. Backups that were made before open with the old one.
    Passphrase {
        /// A file with the passphrase as it is; without it, it is asked for.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// A file with the new passphrase; without it, it is asked for twice.
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
    /// Make an API key for a person.
    Create {
        /// The person's sign-in name.
        #[arg(long, value_name = "NAME")]
        user: String,
        /// What the key is called.
        #[arg(long, value_name = "NAME", default_value = "made at the console")]
        name: String,
        #[command(flatten)]
        limits: LimitFlags,
        /// An address or a prefix that the key is let in from, such as 192.0.2.7 or 10.0.0.0/8; may be
        /// given again, up to 16 times. Without it, the key is let in from everywhere.
        #[arg(long = "network", value_name = "NETWORK")]
        networks: Vec<String>,
        /// What the key is for: api.use, metrics.read or usage.read; may be given again. Without it, the
        /// key is for models alone (api.use).
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// After how many days the key stops working; without it, never.
        #[arg(long, value_name = "DAYS")]
        expires_in_days: Option<u32>,
        /// The new file (mode 0600) that the key is written to.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// A file with the passphrase of the root key, where it has one; without it, it is asked
        /// for.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

impl AloneCommand {
    /// The file with the passphrase that opens the vault as it is.
    fn opens_with(&self) -> Option<&PathBuf> {
        match self {
            Self::Move { .. } => None,
            Self::Rotate { passphrase_file }
            | Self::Passphrase { passphrase_file, .. }
            | Self::Create { passphrase_file, .. } => passphrase_file.as_ref(),
        }
    }
}

impl Key {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let config = common.config(Vec::new())?;
        telemetry::start(&config.settings().logs);
        let command = match self.command {
            KeyCommand::Alone(command) => command,
            KeyCommand::ApiKeys(command) => {
                command.run(config.settings())?;
                return Ok(Ended::Done);
            }
        };
        let (home, passphrase) = open_home(config.settings(), command.opens_with())?;
        let runtime = exchange_runtime()?;
        let app = App::build(&home, &config, runtime.handle().clone())?;
        match command {
            AloneCommand::Move { passphrase_file } => {
                ensure!(
                    home.vault.source()? == SourceKind::File,
                    "the root key is under a passphrase already: `strongroom key passphrase` changes it"
                );
                let new = secret_or(passphrase_file.as_ref(), ask_new_secret)?;
                prepare_certificate(&home, config.settings())?;
                recorded(&app, Action::KeyMove, || home.vault.move_to_passphrase(&new))?;
                writeln!(
                    out(),
                    "The root key is under the passphrase now. The server will start sealed."
                )?;
            }
            AloneCommand::Rotate { .. } => rotate(&app, &home, passphrase)?,
            AloneCommand::Passphrase { new_passphrase_file, .. } => {
                let current = passphrase.ok_or(VaultError::NoPassphrase)?;
                let new = secret_or(new_passphrase_file.as_ref(), ask_new_secret)?;
                let change = || home.vault.change_passphrase(&current, &new);
                recorded(&app, Action::PassphraseChange, change)?;
                writeln!(
                    out(),
                    "The passphrase is changed. Backups that were made before open with the old one."
                )?;
            }
            AloneCommand::Create {
                user,
                name,
                limits,
                networks,
                scopes,
                expires_in_days,
                out: path,
                passphrase_file: _,
            } => {
                let people = app.accounts.people_at_console()?;
                let person = people.iter().find(|person| person.username == user);
                let person = person.with_context(|| format!("there is nobody called `{user}`"))?;
                let limits = limits.set();
                let scopes = (!scopes.is_empty()).then_some(scopes);
                let request =
                    KeyRequest { name, scopes, models: None, limits, networks, expires_in_days };
                let view = write_made(&path, || {
                    Ok(runtime.block_on(app.keys.create_at_console(person.id, request))?)
                })?;
                writeln!(out(), "Wrote {} to {}", view.id, path.display())?;
            }
        }
        Ok(Ended::Done)
    }
}

fn rotate(app: &App, home: &Home, passphrase: Option<SecretText>) -> Result<()> {
    let source = passphrase.map_or(KeySource::File, KeySource::Passphrase);
    recorded(app, Action::VaultRotate, || home.vault.rotate_root(&source))?;
    let old = match source {
        KeySource::File => "a copy of the old key file, if you kept one",
        KeySource::Passphrase(_) => "the passphrase that they were made under",
    };
    writeln!(
        out(),
        "The root key is replaced, and the old one destroyed. Backups that were made before open only with {old}. Make a new backup now."
    )?;
    Ok(())
}

/// Does what changes the root key, on record before and after: what is not on record must not be.
fn recorded(app: &App, action: Action, act: impl FnOnce() -> Result<(), VaultError>) -> Result<()> {
    let event = |outcome| Event::new(action, outcome, Actor::System);
    app.audit.record_blocking(event(Outcome::Started))?;
    let done = act();
    let outcome = if done.is_ok() { Outcome::Done } else { Outcome::Failed };
    app.audit.record_blocking(event(outcome))?;
    app.audit.flush()?;
    Ok(done?)
}
