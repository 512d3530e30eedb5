//! `strongroom key`: where the root key is kept, and API keys made at the console.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::Ended;
use super::options::{Common, ask_secret, out, secret_from_file, write_secret};
use crate::app::{App, Home, exchange_runtime, prepare_certificate};
use crate::audit::{Action, Actor, Event, Outcome};
use crate::keys::KeyRequest;
use crate::telemetry;

/// Where the root key is kept, and API keys. The server must not be running.
#[derive(Args)]
pub(super) struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Keep the root key under a passphrase from now on: the server then starts sealed.
    Move {
        /// A file with the new passphrase; without it, it is asked for.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Make an API key for a person.
    Create {
        /// The person's sign-in name.
        #[arg(long, value_name = "NAME")]
        user: String,
        /// What the key is called.
        #[arg(long, value_name = "NAME", default_value = "made at the console")]
        name: String,
        /// The new file (mode 0600) that the key is written to.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

impl Key {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let config = common.config(Vec::new())?;
        telemetry::start(&config.settings().logs);
        let home = Home::open_or_create(config.settings())?;
        if !home.vault.is_open() {
            home.vault.unseal(&ask_secret("Passphrase: ")?)?;
        }
        let runtime = exchange_runtime()?;
        let app = App::build(&home, &config, runtime.handle().clone())?;
        match self.command {
            KeyCommand::Move { passphrase_file } => {
                let passphrase = match passphrase_file {
                    Some(path) => secret_from_file(&path)?,
                    None => ask_secret("New passphrase: ")?,
                };
                prepare_certificate(&home, config.settings())?;
                // On record first: a move that is not on record must not be.
                let event = Event::new(Action::KeyMove, Outcome::Started, Actor::System);
                app.audit.record_blocking(event)?;
                home.vault.move_to_passphrase(&passphrase)?;
                let event = Event::new(Action::KeyMove, Outcome::Done, Actor::System);
                app.audit.record_blocking(event)?;
                writeln!(
                    out(),
                    "The root key is under the passphrase now. The server will start sealed."
                )?;
            }
            KeyCommand::Create { user, name, out: path } => {
                let people = app.accounts.people_at_console()?;
                let person = people.iter().find(|person| person.username == user);
                let person = person.with_context(|| format!("there is nobody called `{user}`"))?;
                let request = KeyRequest { name, ..KeyRequest::default() };
                let (view, secret) =
                    runtime.block_on(app.keys.create_at_console(person.id, request))?;
                write_secret(&path, &secret)?;
                writeln!(out(), "Wrote {} to {}", view.id, path.display())?;
            }
        }
        Ok(Ended::Done)
    }
}
