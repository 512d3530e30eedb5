//! How far the reading of a model is, and the wish to end it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::error::LoadError;

/// Shared between the reader of a model and whoever watches it. A handle.
#[derive(Clone, Debug, Default)]
pub struct LoadProgress {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    done: AtomicU64,
    total: AtomicU64,
    is_cancelled: AtomicBool,
}

impl LoadProgress {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says how many bytes of tensors there are to read.
    pub(in crate::engine) fn begin(&self, total_bytes: u64) {
        self.inner.total.store(total_bytes, Ordering::Relaxed);
    }

    /// Counts bytes that were read. An error where somebody wants the reading to end.
    pub(in crate::engine) fn advance(&self, bytes: u64) -> Result<(), LoadError> {
        self.inner.done.fetch_add(bytes, Ordering::Relaxed);
        if self.is_cancelled() { Err(LoadError::Cancelled) } else { Ok(()) }
    }

    /// Asks the reader to end; it does within one tensor.
    pub fn cancel(&self) {
        self.inner.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether somebody wants the reading to end.
    pub fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled.load(Ordering::Relaxed)
    }

    /// Bytes of tensors that were read, and that there are; 0 and 0 before the file was opened.
    pub fn bytes(&self) -> (u64, u64) {
        (self.inner.done.load(Ordering::Relaxed), self.inner.total.load(Ordering::Relaxed))
    }
}
