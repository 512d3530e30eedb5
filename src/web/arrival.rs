//! Bodies while they arrive: each for a limited time and up to a limited size, all together up to a
//! limited memory. A body holds its share until it has been read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpMessage as _;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::web::Bytes;
use futures_util::Stream;

/// Bytes of all bodies that are arriving, over all connections.
const ALL_BYTES_MAX: usize = 256 << 20;
/// The longest body of a route that takes no long texts. The ones that anybody may send before they
/// have signed in are among them.
const SHORT_BYTES_MAX: usize = 64 << 10;
/// Where long texts go; whatever else a path looks like, it gets the short bound.
const LONG: [&str; 3] = ["/v1/", "/api/conversations/", "/api/admin/guard/test"];

/// The memory that bodies share. A handle.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    bytes: Arc<AtomicUsize>,
}

impl Arrivals {
    /// Bounds the body of a request.
    pub(super) fn bound(&self, request: &mut ServiceRequest, limit: Duration) {
        let is_long = LONG.iter().any(|path| request.path().starts_with(path));
        let body = Body {
            inner: request.take_payload(),
            deadline: Box::pin(tokio::time::sleep(limit)),
            most: if is_long { usize::MAX } else { SHORT_BYTES_MAX },
            share: Share { all: self.clone(), bytes: 0 },
        };
        request.set_payload(Payload::from(
            Box::pin(body) as Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>
        ));
    }
}

/// What one body holds of the memory.
struct Share {
    all: Arrivals,
    bytes: usize,
}

impl Share {
    /// Takes so much more; false where there is no more to be had.
    fn grow(&mut self, bytes: usize) -> bool {
        let before = self.all.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before.saturating_add(bytes) <= ALL_BYTES_MAX
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Body {
    inner: Payload,
    deadline: Pin<Box<tokio::time::Sleep>>,
    most: usize,
    share: Share,
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(item) = Pin::new(&mut self.inner).poll_next(context) {
            let Some(Ok(bytes)) = &item else { return Poll::Ready(item) };
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
        all.bound(&mut request, Duration::from_mins(1));
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
            ("/api/session", SHORT_BYTES_MAX, true),
            ("/api/session", SHORT_BYTES_MAX + 1, false),
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
}
