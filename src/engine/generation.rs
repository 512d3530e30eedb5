//! The reader's end of a running generation.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use super::request::GenerationEvent;

/// Wakes the engine thread when a reader makes room or leaves.
pub(super) trait Wake: Send + Sync {
    /// Called after an event was taken, and when the reader is dropped.
    fn wake(&self);
}

/// A running generation. Dropping it cancels the work within one step.
pub struct Generation {
    id: u64,
    events: mpsc::Receiver<GenerationEvent>,
    engine: Arc<dyn Wake>,
}

impl Generation {
    pub(super) fn new(
        id: u64,
        events: mpsc::Receiver<GenerationEvent>,
        engine: Arc<dyn Wake>,
    ) -> Self {
        Self { id, events, engine }
    }

    /// Its number, unlike that of every other generation of this engine.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The next event; `None` after `Finished` or `Failed`.
    pub async fn next(&mut self) -> Option<GenerationEvent> {
        let event = self.events.recv().await;
        self.engine.wake();
        event
    }

    /// The next event without waiting for it, for use in a stream.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<GenerationEvent>> {
        let polled = self.events.poll_recv(context);
        if polled.is_ready() {
            self.engine.wake();
        }
        polled
    }

    /// The next event; blocks the thread. For the command line and tests.
    pub fn next_blocking(&mut self) -> Option<GenerationEvent> {
        let event = self.events.blocking_recv();
        self.engine.wake();
        event
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.events.close();
        self.engine.wake();
    }
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Generation").field("id", &self.id).finish_non_exhaustive()
    }
}
