//! `strongroom serve`.

use std::path::PathBuf;

use clap::Args;

use super::Ended;
use super::options::{Common, out};
use super::secrets::secret_from_file;
use crate::{app, telemetry};

/// Serve people and programs.
#[derive(Args, Default, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  strongroom serve\n  strongroom serve --model models/qwen3-4b-q4_k_m.gguf\n  strongroom serve --data-dir /var/lib/strongroom --listen 0.0.0.0:8443 --set server.hosts=ai.example.org\n  strongroom serve --passphrase-file /dev/fd/3 3<passphrase"
)]
pub(super) struct Serve {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// A GGUF file to serve; may be given more than once.
    #[arg(long, value_name = "FILE")]
    model: Vec<PathBuf>,
    /// Speak plain HTTP; on loopback addresses only.
    #[arg(long)]
    plain_http: bool,
    /// A file, or file descriptor, with the passphrase of the root key; without it the server starts
    /// sealed and waits for it, at the terminal or from `strongroom unseal`.
    #[arg(id = "serve_passphrase_file", long = "passphrase-file", value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Ended> {
        let mut flags = Vec::new();
        if let Some(listen) = self.listen {
            flags.push(("server.listen".to_owned(), listen));
        }
        if !self.model.is_empty() {
            let list: Vec<toml::Value> =
                self.model.iter().map(|path| path.display().to_string().into()).collect();
            flags.push(("models.files".to_owned(), toml::Value::Array(list).to_string()));
        }
        if self.plain_http {
            flags.push(("server.plain_http".to_owned(), "true".to_owned()));
        }
        let config = common.config(flags)?;
        telemetry::start(&config.settings().logs);
        let passphrase = self.passphrase_file.as_deref().map(secret_from_file).transpose()?;
        app::run(&config, passphrase, &mut out())?;
        Ok(Ended::Done)
    }
}
