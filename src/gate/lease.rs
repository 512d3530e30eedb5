//! Who uses a loaded model: it is not taken out of memory under anybody's hands.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::clock::{Clock, Timestamp};

/// How many use one loaded model, and when somebody last did.
#[derive(Debug)]
pub(crate) struct InUse {
    clock: Clock,
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug)]
struct State {
    count: usize,
    last: Timestamp,
}

impl InUse {
    /// Nobody yet; idle from now on.
    pub(crate) fn new(clock: &Clock) -> Arc<Self> {
        let state = Mutex::new(State { count: 0, last: clock.now() });
        Arc::new(Self { clock: clock.clone(), state, left: Condvar::new() })
    }

    /// Uses the model as long as the lease lives.
    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        self.state.lock().count += 1;
        Lease(Arc::clone(self))
    }

    /// How many use it.
    pub(crate) fn count(&self) -> usize {
        self.state.lock().count
    }

    /// Since when nobody has used it; none where somebody does.
    pub(crate) fn idle_since(&self) -> Option<Timestamp> {
        let state = self.state.lock();
        (state.count == 0).then_some(state.last)
    }

    /// When somebody last used it, or does.
    pub(crate) fn last(&self) -> Timestamp {
        let state = self.state.lock();
        if state.count == 0 { state.last } else { self.clock.now() }
    }

    /// Waits until nobody uses it, or this long; says whether nobody does. Blocks.
    pub(crate) fn wait_unused(&self, limit: Duration) -> bool {
        let mut state = self.state.lock();
        let in_use = |state: &mut State| state.count > 0;
        !self.left.wait_while_for(&mut state, in_use, limit).timed_out()
    }
}

/// The use of a loaded model by one request.
#[derive(Debug)]
pub(crate) struct Lease(Arc<InUse>);

impl Drop for Lease {
    fn drop(&mut self) {
        let now = self.0.clock.now();
        let mut state = self.0.state.lock();
        state.count -= 1;
        state.last = now;
        if state.count == 0 {
            self.0.left.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_the_last_user_is_told() {
        let clock = Clock::manual(Timestamp::from_ms(1_000));
        let in_use = InUse::new(&clock);
        let (first, second) = (in_use.lease(), in_use.lease());
        assert_eq!((in_use.count(), in_use.idle_since()), (2, None));
        assert!(!in_use.wait_unused(Duration::ZERO));
        drop(first);
        let waiting = std::thread::spawn({
            let in_use = Arc::clone(&in_use);
            move || in_use.wait_unused(Duration::from_mins(5))
        });
        drop(second);
        assert!(waiting.join().expect("ends"));
        assert_eq!(in_use.idle_since(), Some(Timestamp::from_ms(1_000)));
    }
}
