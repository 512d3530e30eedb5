//! The signals that end the server: SIGTERM, and Ctrl+C.

use anyhow::{Context, Result};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from before the server is reachable until it ends, so that none comes to nothing.
pub(crate) struct StopSignals {
    term: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Begins to listen, by a runtime that lives as long as the server.
    pub(crate) fn listen(runtime: &Handle) -> Result<Self> {
        let _inside = runtime.enter();
        let on = |kind| signal(kind).context("signals cannot be listened for");
        Ok(Self { term: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    /// Waits until the process is told to stop.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
