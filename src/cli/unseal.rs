//! `strongroom unseal`: hands the passphrase to the server that waits for it.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::Ended;
use super::options::{Common, out};
use super::secrets::{ask_secret, secret_or};
use crate::app::send_passphrase;

/// Open a sealed server that is running.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  strongroom unseal --data-dir D\n  strongroom unseal --data-dir D --passphrase-file /dev/fd/3 3<passphrase"
)]
pub(super) struct Unseal {
    /// A file, or file descriptor, with the passphrase; without it, it is asked for.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Unseal {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let config = common.config(Vec::new())?;
        let passphrase = secret_or(self.passphrase_file.as_ref(), || ask_secret("Passphrase: "))?;
        send_passphrase(&config.settings().server.data_dir, &passphrase)?;
        writeln!(out(), "The server is open.")?;
        Ok(Ended::Done)
    }
}
