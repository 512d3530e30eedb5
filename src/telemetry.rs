//! Logs: set up once, on standard error. What people write never becomes part of one: spans and
//! events carry ids, sizes, counts and names of things alone.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{LogFormat, Logs};

/// Starts the log. A second call in one process changes nothing.
pub(crate) fn start(logs: &Logs) {
    // The engine's and the web server's own crates speak from `warn` up only.
    let filter = EnvFilter::new(format!("warn,strongroom={}", logs.level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match logs.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if started.is_err() {
        tracing::debug!("the log was already started");
    }
}
