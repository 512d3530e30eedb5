//! Bodies while they arrive: each for a limited time and up to a limited size, all together up to a
//! limited memory. A body holds its share until it has been read. What strangers may send has bounds
//! of its own, so that it is never in the way of those who are known.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpMessage as _;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::web::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;

use super::network::household;
use super::patience::{Arriving, Pace};
use super::presence::Ended;
use super::programs::is_of_programs;

/// Bytes of all bodies that are arriving, over all connections.
const ALL_BYTES_MAX: usize = 256 << 20;
/// The longest body of a route that takes no long texts.
const SHORT_BYTES_MAX: usize = 64 << 10;
/// Where anybody may send a body before they have signed in: a link or a name, and a password.
const OPEN: [&str; 3] = ["/api/session", "/api/setup", "/api/invitation"];
const OPEN_BYTES_MAX: usize = 4 << 10;
/// Such bodies at once: of one household, and of all. HTTP/2 bounds no number of requests.
const OPEN_OF_ONE_MAX: usize = 16;
const OPEN_MAX: usize = 4_096;
/// Where long texts go, beside those of programs; whatever else a path looks like, it gets the short bound.
const LONG: [&str; 2] = ["/api/conversations/", "/api/admin/guard/test"];

/// The memory that bodies share. A handle.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    bytes: Arc<AtomicUsize>,
    open: Arc<Mutex<HashMap<String, usize>>>,
}

impl Arrivals {
    /// Bounds the body of a request from this address.
    pub(super) fn bound(
        &self,
        request: &mut ServiceRequest,
        address: Option<IpAddr>,
        limit: Duration,
        ended: Option<Ended>,
    ) {
        let is_long = is_of_programs(request.path())
            || LONG.iter().any(|path| request.path().starts_with(path));
        // As it is routed, that is with what was written as `%61` read.
        let is_open = OPEN.contains(&request.match_info().unprocessed());
        let (most, place) = match (is_open, is_long) {
            (true, _) => (OPEN_BYTES_MAX, Place::Open(self.place_of(address))),
            (false, true) => (usize::MAX, Place::Known),
            (false, false) => (SHORT_BYTES_MAX, Place::Known),
        };
        let inner = request.take_payload();
        let pace = request.conn_data::<Rc<Pace>>().filter(|_| !matches!(inner, Payload::None));
        let body = Body {
            arriving: pace.map(Pace::begin_body),
            inner,
            deadline: Box::pin(tokio::time::sleep(limit)),
            most,
            share: Share { all: self.clone(), place, bytes: 0 },
            ended,
        };
        request.set_payload(Payload::from(
            Box::pin(body) as Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>
        ));
    }

    /// A place for the body of a stranger.
    fn place_of(&self, address: Option<IpAddr>) -> Option<String> {
        let household = household(address);
        let mut open = self.open.lock();
        if open.values().sum::<usize>() >= OPEN_MAX {
            return None;
        }
        let count = open.entry(household.clone()).or_default();
        if *count >= OPEN_OF_ONE_MAX {
            return None;
        }
        *count += 1;
        Some(household)
    }
}

/// Where a body has its room.
enum Place {
    /// In the memory of all.
    Known,
    /// Among those of its household; none where that has enough, or all have.
    Open(Option<String>),
}

/// What one body holds of the memory.
struct Share {
    all: Arrivals,
    place: Place,
    bytes: usize,
}

impl Share {
    /// Takes so much more; false where there is no more to be had.
    fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        match &self.place {
            Place::Open(place) => place.is_some(),
            Place::Known => {
                let before = self.all.bytes.fetch_add(bytes, Ordering::Relaxed);
                before.saturating_add(bytes) <= ALL_BYTES_MAX
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        match &self.place {
            Place::Known => {
                self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
            }
            Place::Open(None) => {}
            Place::Open(Some(household)) => {
                let mut open = self.all.open.lock();
                if let Some(count) = open.get_mut(household) {
                    *count -= 1;
                    if *count == 0 {
                        open.remove(household);
                    }
                }
            }
        }
    }
}

struct Body {
    inner: Payload,
    /// Where it comes over a connection: that more of it may come.
    arriving: Option<Arriving>,
    deadline: Pin<Box<tokio::time::Sleep>>,
    most: usize,
    share: Share,
    /// Where it goes at its end, if anybody looks at it there.
    ended: Option<Ended>,
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            ended.take_if_ended(std::mem::replace(&mut self.inner, Payload::None));
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(item) = Pin::new(&mut self.inner).poll_next(context) {
            let Some(Ok(bytes)) = &item else {
                self.arriving = None;
                if let (None, Some(ended)) = (&item, self.ended.take()) {
                    ended.take(std::mem::replace(&mut self.inner, Payload::None));
                }
                return Poll::Ready(item);
            };
            let has_room = self.share.grow(bytes.len());
            return Poll::Ready(Some(if self.share.bytes > self.most {
                Err(PayloadError::Overflow)
            } else if has_room {
                return Poll::Ready(item);
            } else {
                Err(PayloadError::Io(std::io::ErrorKind::OutOfMemory.into()))
            }));
        }
        if self.deadline.as_mut().poll(context).is_ready() {
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            return Poll::Ready(Some(Err(PayloadError::Io(late))));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use futures_util::StreamExt as _;

    use super::*;

    async fn arrive(all: &Arrivals, path: &str, bytes: usize) -> (Payload, Option<PayloadError>) {
        let mut request =
            TestRequest::post().uri(path).set_payload(vec![b' '; bytes]).to_srv_request();
        all.bound(&mut request, None, Duration::from_mins(1), None);
        let mut payload = request.take_payload();
        let mut error = None;
        while let Some(item) = payload.next().await {
            if let Err(found) = item {
                error = Some(found);
                break;
            }
        }
        (payload, error)
    }

    #[actix_web::test]
    async fn bodies_are_bounded_by_their_path_and_all_together() {
        let all = Arrivals::default();
        for (path, bytes, fits) in [
            ("/api/me", SHORT_BYTES_MAX, true),
            ("/api/me", SHORT_BYTES_MAX + 1, false),
            ("/api/session", OPEN_BYTES_MAX, true),
            ("/api/session", OPEN_BYTES_MAX + 1, false),
            ("/%61pi/session", OPEN_BYTES_MAX + 1, false),
            ("/%76%31/chat/completions", SHORT_BYTES_MAX + 1, false),
            ("/v1/chat/completions", SHORT_BYTES_MAX + 1, true),
            ("/api/conversations/x/messages", SHORT_BYTES_MAX + 1, true),
        ] {
            let (_, error) = arrive(&all, path, bytes).await;
            let is_overflow = matches!(error, Some(PayloadError::Overflow));
            assert!(error.is_none() == fits && is_overflow != fits, "{path}: {error:?}");
        }
        assert_eq!(all.bytes.load(Ordering::Relaxed), 0, "all was given back");
        let (kept, error) = arrive(&all, "/v1/x", ALL_BYTES_MAX).await;
        assert!(error.is_none());
        let (_, error) = arrive(&all, "/v1/x", 1).await;
        assert!(matches!(error, Some(PayloadError::Io(_))), "{error:?}");
        drop(kept);
        assert!(arrive(&all, "/v1/x", 1).await.1.is_none());
    }

    #[actix_web::test]
    async fn strangers_who_send_slowly_are_in_nobody_elses_way() {
        let all = Arrivals::default();
        let begin = |path: &str, from: &str| {
            let mut request = TestRequest::post().uri(path).set_payload("{}").to_srv_request();
            let address = Some(from.parse().expect("address"));
            all.bound(&mut request, address, Duration::from_mins(1), None);
            request.take_payload()
        };
        let mut held: Vec<_> =
            (0..OPEN_OF_ONE_MAX).map(|_| begin("/api/session", "192.0.2.1")).collect();
        let is_in = async |mut payload: Payload| payload.next().await.is_some_and(|it| it.is_ok());
        assert!(!is_in(begin("/api/session", "192.0.2.1")).await, "one too many of one household");
        assert!(is_in(begin("/api/session", "192.0.2.2")).await);
        assert!(is_in(begin("/api/me", "192.0.2.1")).await);
        held.pop();
        assert!(is_in(begin("/api/session", "192.0.2.1")).await);
        drop(held);
        assert!(all.open.lock().is_empty(), "all was given back");
    }
}
