//! The exchanges that are under way: to end those whose caller lost access, and to let all end
//! when the server does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::error::GateError;
use super::lease::Lease;
use crate::access::{Caller, Revocation};

/// Why an exchange is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Revoked,
    ShuttingDown,
}

impl From<End> for GateError {
    fn from(end: End) -> Self {
        match end {
            End::Revoked => Self::Revoked,
            End::ShuttingDown => Self::ShuttingDown,
        }
    }
}

/// Everything that is under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Running {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    next: u64,
    places: HashMap<u64, (Caller, watch::Sender<Option<End>>)>,
}

impl Running {
    /// Takes a place, unless the server is ending.
    pub(super) fn enter(&self, caller: &Caller) -> Result<Place, GateError> {
        let mut state = self.shared.state.lock();
        if state.is_closed {
            return Err(GateError::ShuttingDown);
        }
        let number = state.next;
        state.next += 1;
        let (sender, end) = watch::channel(None);
        state.places.insert(number, (caller.clone(), sender));
        Ok(Place { number, end, running: self.clone(), lease: None })
    }

    /// Ends what the withdrawn thing had let in; says how many.
    pub(super) fn revoke(&self, what: &Revocation) -> usize {
        let state = self.shared.state.lock();
        let mut count = 0;
        for (_, end) in state.places.values().filter(|(caller, _)| what.concerns(caller)) {
            end.send_replace(Some(End::Revoked));
            count += 1;
        }
        count
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.shared.state.lock().is_closed = true;
    }

    /// Waits until all have left; after the limit ends those that have not, and waits a little
    /// longer for their records.
    pub(super) async fn drain(&self, limit: Duration, last: Duration) {
        self.close();
        if tokio::time::timeout(limit, self.emptied()).await.is_ok() {
            return;
        }
        for (_, end) in self.shared.state.lock().places.values() {
            end.send_replace(Some(End::ShuttingDown));
        }
        if tokio::time::timeout(last, self.emptied()).await.is_err() {
            tracing::warn!(count = self.count(), "exchanges did not end in time");
        }
    }

    /// How many are under way.
    pub(super) fn count(&self) -> usize {
        self.shared.state.lock().places.len()
    }

    async fn emptied(&self) {
        loop {
            let left = self.shared.left.notified();
            if self.count() == 0 {
                return;
            }
            left.await;
        }
    }
}

/// A place among those under way; dropped when the exchange is over.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    end: watch::Receiver<Option<End>>,
    running: Running,
    /// Keeps the model in memory.
    lease: Option<Lease>,
}

impl Place {
    /// Keeps a model in memory as long as the place.
    pub(super) fn keep(&mut self, lease: Lease) {
        self.lease = Some(lease);
    }

    /// Waits until the exchange is to end.
    pub(super) async fn ended(&mut self) -> End {
        if self.end.wait_for(Option::is_some).await.is_err() {
            // The sender lives in the table as long as this place does.
            std::future::pending::<()>().await;
        }
        self.end.borrow().unwrap_or(End::ShuttingDown)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.shared.state.lock().places.remove(&self.number);
        self.running.shared.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::testing::{caller, caller_with_key};
    use crate::ids::KeyId;

    #[tokio::test]
    async fn only_what_the_withdrawn_thing_let_in_is_ended() {
        let running = Running::default();
        let with_key = caller_with_key(KeyId::new(), None);
        let key = with_key.key().map(|key| key.id).expect("has a key");
        let other = caller();
        let mut place = running.enter(&with_key).expect("open");
        let mut untouched = running.enter(&other).expect("open");
        assert_eq!(running.revoke(&Revocation::Key(KeyId::new())), 0);
        assert_eq!(running.revoke(&Revocation::Key(key)), 1);
        assert_eq!(place.ended().await, End::Revoked);
        let waited = tokio::time::timeout(Duration::from_millis(1), untouched.ended()).await;
        assert!(waited.is_err());
        assert_eq!(running.revoke(&Revocation::Person(other.user)), 1);
        assert_eq!(untouched.ended().await, End::Revoked);
    }

    #[tokio::test]
    async fn draining_waits_then_ends_the_rest_and_lets_nobody_in() {
        let running = Running::default();
        let mut place = running.enter(&caller()).expect("open");
        let drained = tokio::spawn({
            let running = running.clone();
            async move {
                running.drain(Duration::from_millis(5), Duration::from_secs(5)).await;
                running.count()
            }
        });
        assert_eq!(place.ended().await, End::ShuttingDown);
        assert!(matches!(running.enter(&caller()), Err(GateError::ShuttingDown)));
        drop(place);
        assert_eq!(drained.await.expect("drains"), 0);
    }
}
