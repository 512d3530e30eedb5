//! How far the reading of a model is, and the wish to end it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::error::LoadError;

/// Shared between the reader of a model and whoever watches it. A handle.
#[derive(Clone, Debug, Default)]
pub struct LoadProgress {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    done: AtomicU64,
    total: AtomicU64,
    is_cancelled: Arc<AtomicBool>,
    admit: Option<Box<Admit>>,
}

/// Asked before any memory is taken, with the bytes that will be; again where the model goes elsewhere
/// than it was to go at first.
type Admit = dyn Fn(u64) -> Result<(), LoadError> + Send + Sync;

impl std::fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LoadProgress").field("done", &self.done).finish_non_exhaustive()
    }
}

impl LoadProgress {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of nothing yet, under somebody who says whether the memory may be taken.
    pub fn admitted_by(
        admit: impl Fn(u64) -> Result<(), LoadError> + Send + Sync + 'static,
    ) -> Self {
        let inner = Inner { admit: Some(Box::new(admit)), ..Inner::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Of another file that belongs to this load: with counts of its own, and ended with it.
    pub(in crate::engine) fn beside(&self) -> Self {
        let is_cancelled = Arc::clone(&self.inner.is_cancelled);
        Self { inner: Arc::new(Inner { is_cancelled, ..Inner::default() }) }
    }

    /// Whether this much memory may be taken; none where nobody is there to say.
    pub(in crate::engine) fn admit(&self, bytes: u64) -> Option<Result<(), LoadError>> {
        self.inner.admit.as_ref().map(|admit| admit(bytes))
    }

    /// Says how many bytes of tensors there are to read, from the first on.
    pub(in crate::engine) fn begin(&self, total_bytes: u64) {
        self.inner.done.store(0, Ordering::Relaxed);
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

    /// How much of the tensors was read, from 0 to 100; none before the file was opened.
    pub fn percent(&self) -> Option<u8> {
        let (done, total) = self.bytes();
        (total > 0).then(|| (u128::from(done) * 100 / u128::from(total)).min(100) as u8)
    }

    /// Bytes of tensors that were read, and that there are; 0 and 0 before the file was opened.
    pub fn bytes(&self) -> (u64, u64) {
        (self.inner.done.load(Ordering::Relaxed), self.inner.total.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_beside_is_counted_apart_and_ends_with_the_load() {
        let load = LoadProgress::new();
        load.begin(100);
        let beside = load.beside();
        beside.begin(10);
        beside.advance(10).expect("nobody ended it");
        assert_eq!((load.bytes(), beside.bytes()), ((0, 100), (10, 10)));
        load.cancel();
        assert!(matches!(beside.advance(1), Err(LoadError::Cancelled)));
    }
}
