//! `strongroom init`: everything that the first start in a browser does, without one.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::Ended;
use super::options::{Common, out};
use super::secrets::{ask_secret, secret_from_file, secret_or, write_made};
use crate::accounts::NewOwner;
use crate::app::{App, Home, exchange_runtime, prepare_certificate};
use crate::keys::KeyRequest;
use crate::telemetry;

/// Make a data directory with its owner, without a browser.
#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom init --data-dir D --owner olivia --password-file password.txt --api-key-file key.txt"
)]
pub(super) struct Init {
    /// The owner's sign-in name.
    #[arg(long, value_name = "NAME")]
    owner: String,
    /// The owner's name, as others see it.
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// A file with the owner's password; without it, it is asked for.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Make an API key too, and write it to this new file (mode 0600).
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Keep the root key under the passphrase in this file.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Init {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let mut flags = Vec::new();
        if self.passphrase_file.is_some() {
            flags.push(("vault.key_source".to_owned(), "passphrase".to_owned()));
        }
        let config = common.config(flags)?;
        telemetry::start(&config.settings().logs);
        let password =
            secret_or(self.password_file.as_ref(), || ask_secret("The owner's password: "))?;
        let owner = NewOwner::parse(&self.owner, self.display_name.as_deref(), password)?;
        let home = match &self.passphrase_file {
            Some(path) => {
                let passphrase = secret_from_file(path)?;
                let home = Home::open_with(config.settings(), || Ok(passphrase.clone()))?;
                home.require_passphrase()?;
                home.vault.unseal(&passphrase)?;
                home
            }
            None => Home::open_or_create(config.settings())?,
        };
        prepare_certificate(&home, config.settings())?;
        let runtime = exchange_runtime()?;
        let app = App::build(&home, &config, runtime.handle().clone())?;
        let user = runtime.block_on(app.accounts.init_owner(owner))?;
        let mut out = out();
        writeln!(out, "Made {} in {}", self.owner, home.data().display())?;
        if let Some(path) = &self.api_key_file {
            let request = KeyRequest { name: "made by init".to_owned(), ..KeyRequest::default() };
            write_made(path, || Ok(runtime.block_on(app.keys.create_at_console(user, request))?))?;
            writeln!(out, "Wrote an API key to {}", path.display())?;
        }
        Ok(Ended::Done)
    }
}
