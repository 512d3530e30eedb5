//! Who is connected: one count of all connections, whichever worker has them, and one of those of each
//! address, so that nobody fills the server alone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::network::household;

/// The log tells of refused connections this often, and of how many there were.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// The connections of a server. A handle.
#[derive(Clone, Debug)]
pub struct Connections {
    all: Arc<Semaphore>,
    of_one_max: Option<usize>,
    trusted: Arc<[IpAddr]>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<String, usize>,
    refused: u64,
    told: Option<Instant>,
}

impl Connections {
    /// Nobody is connected yet. `of_one_max`: what one address may have, 0 for no bound of its own; the
    /// trusted proxies have none, since many people stand behind them.
    pub fn new(all_max: usize, of_one_max: usize, trusted: Arc<[IpAddr]>) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all_max)),
            of_one_max: (of_one_max > 0).then_some(of_one_max),
            trusted,
            state: Arc::default(),
        }
    }

    /// Whether this is a proxy for whom no bound of one holds.
    pub(super) fn is_trusted(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.trusted.contains(&address.to_canonical()))
    }

    /// A place for a connection from this address, once there is one; none where the address has as
    /// many as it may.
    pub(super) async fn enter(&self, address: Option<IpAddr>) -> Option<Place> {
        let share = self.share(address)?;
        // Never closed.
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Place { _of_all: of_all, _share: share })
    }

    fn share(&self, address: Option<IpAddr>) -> Option<Share> {
        let Some(most) = self.of_one_max.filter(|_| !self.is_trusted(address)) else {
            return Some(Share { connections: self.clone(), household: None });
        };
        let household = household(address);
        let mut state = self.state.lock();
        let open = state.open.get(&household).copied().unwrap_or_default();
        if open >= most {
            state.refuse();
            return None;
        }
        state.open.insert(household.clone(), open + 1);
        Some(Share { connections: self.clone(), household: Some(household) })
    }
}

impl State {
    /// Counts one that was refused. The log is told now and then: a flood must not fill it.
    fn refuse(&mut self) {
        self.refused += 1;
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            let refused = std::mem::take(&mut self.refused);
            tracing::warn!(refused, "connections were closed: their address has as many as it may");
            self.told = Some(Instant::now());
        }
    }
}

/// A connection's place among all, and among those of its address.
#[derive(Debug)]
pub(super) struct Place {
    _of_all: OwnedSemaphorePermit,
    _share: Share,
}

#[derive(Debug)]
struct Share {
    connections: Connections,
    /// None: it is not counted by address.
    household: Option<String>,
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(household) = &self.household else { return };
        let mut state = self.connections.state.lock();
        if let Some(open) = state.open.get_mut(household) {
            *open -= 1;
            if *open == 0 {
                state.open.remove(household);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn one_address_has_its_bound_and_a_trusted_proxy_none() {
        let trusted = [at("10.0.0.9")].into();
        let all = Connections::new(8, 2, trusted);
        let mut held = Vec::new();
        for (address, has_place) in [
            ("192.0.2.1", true),
            ("192.0.2.1", true),
            ("192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
            ("192.0.2.2", true),
            ("10.0.0.9", true),
            ("10.0.0.9", true),
            ("::ffff:10.0.0.9", true),
            ("2001:db8::1", true),
        ] {
            let place = all.enter(Some(at(address))).await;
            assert_eq!(place.is_some(), has_place, "{address}");
            held.extend(place);
        }
        drop(held.remove(0));
        held.extend(all.enter(Some(at("192.0.2.1"))).await);
        assert_eq!(held.len(), 7, "a place that was given back is there again");
        held.clear();
        assert!(all.state.lock().open.is_empty(), "nobody is left in the books");
        assert_eq!(all.all.available_permits(), 8);
    }

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_waits_for_one() {
        let all = Connections::new(2, 0, [].into());
        let first = all.enter(Some(at("192.0.2.1"))).await.expect("a place");
        let _second = all.enter(Some(at("192.0.2.1"))).await.expect("no bound of one");
        let mut third = Box::pin(all.enter(Some(at("192.0.2.1"))));
        assert!((&mut third).now_or_never().is_none());
        drop(first);
        assert!(third.await.is_some());
    }
}
