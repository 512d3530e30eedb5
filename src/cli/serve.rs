//! `strongroom serve`.

use std::path::PathBuf;

use clap::Args;

use super::Ended;
use super::options::{Common, out};
use crate::{app, telemetry};

/// Serve people and programs.
#[derive(Args, Default)]
#[command(
    after_help = "Examples:\n  strongroom serve\n  strongroom serve --model models/qwen3-4b-q4_k_m.gguf\n  strongroom serve --data-dir /var/lib/strongroom --listen 0.0.0.0:8443 --set server.hosts=ai.example.org"
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
        harden();
        app::run(&config, &mut out())?;
        Ok(Ended::Done)
    }
}

/// Keeps keys out of core dumps, and other processes of the same user out of this one's memory.
fn harden() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if setrlimit(Resource::Core, none).is_err()
        || rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err()
    {
        tracing::warn!("core dumps could not be switched off");
    }
}
