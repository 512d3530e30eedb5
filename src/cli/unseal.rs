//! `strongroom unseal`: hands the passphrase to the server that waits for it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::Ended;
use super::options::{Common, ask_secret, out, secret_from_file};
use crate::app::socket_path;

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
        let path = socket_path(&config.settings().server.data_dir);
        let passphrase = match &self.passphrase_file {
            Some(path) => secret_from_file(path)?,
            None => ask_secret("Passphrase: ")?,
        };
        let mut stream = UnixStream::connect(&path).with_context(|| {
            format!(
                "no sealed server waits at {}; is it running, and is it sealed?",
                path.display()
            )
        })?;
        stream.write_all(passphrase.expose().as_bytes())?;
        stream.write_all(b"\n")?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        match answer.trim_end() {
            "ok" => {
                writeln!(out(), "The server is open.")?;
                Ok(Ended::Done)
            }
            "" => bail!("the server went away without an answer"),
            refusal => bail!("{refusal}"),
        }
    }
}
