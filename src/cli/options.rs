//! Options that several commands share, and how they speak to people.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use crate::config::Config;

/// Options of every command.
#[derive(Args, Default)]
pub(super) struct Common {
    /// A configuration file; what it leaves out has its default.
    #[arg(long, global = true, env = "STRONGROOM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Any setting, such as `server.workers=2`.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Common {
    /// The configuration in force, with further settings from a command's own flags.
    pub(super) fn config(&self, own: Vec<(String, String)>) -> Result<Config> {
        let mut flags = Vec::new();
        for pair in &self.set {
            let Some((key, value)) = pair.split_once('=') else {
                bail!("--set takes KEY=VALUE, not `{pair}`");
            };
            flags.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        if let Some(data) = &self.data_dir {
            flags.push(("server.data_dir".to_owned(), data.display().to_string()));
        }
        flags.extend(own);
        Ok(Config::load(self.config.as_deref(), &flags)?)
    }
}

/// Standard output, for what a command is asked to print.
pub(super) fn out() -> std::io::StdoutLock<'static> {
    std::io::stdout().lock()
}

/// Warns a person, beside what was asked for.
pub(super) fn warn(text: &str) {
    // Nothing can be said where standard error is closed.
    let _ = writeln!(std::io::stderr(), "strongroom: {text}");
}

/// Tells a person what went wrong, cause by cause.
pub(super) fn complain(error: &anyhow::Error) {
    let mut text = format!("strongroom: {error}");
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    // Nothing can be said where standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}
