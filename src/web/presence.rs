//! Whether whoever asked is still there, over HTTP/2. Over HTTP/1.1 the work of a client who has gone is
//! dropped with the connection; over HTTP/2 each request runs by itself, and its end is only noticed when
//! something is to be sent. What knows of it before is the body of the request: once it has been read to its
//! end it has nothing more to say, unless the stream was reset or the connection has ended.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::Version;
use futures_util::Stream as _;
use tokio::time::{Instant, Sleep, sleep};

/// How often is looked: nothing wakes who waits for a stream that says no more. About a step of a model.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Whether whoever asked is still there. Never says otherwise where that is noticed by itself.
#[derive(Debug, Default)]
pub(super) struct Presence {
    stream: Option<Ended>,
    look: Option<Pin<Box<Sleep>>>,
}

/// Where the body of a request goes once it has been read. A handle.
#[derive(Clone, Default)]
pub(super) struct Ended(Rc<RefCell<Option<Payload>>>);

impl std::fmt::Debug for Ended {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Ended")
    }
}

impl Presence {
    /// Of whoever sent this request.
    pub(super) fn of(request: &ServiceRequest) -> Self {
        let has_stream = request.version() == Version::HTTP_2;
        Self { stream: has_stream.then(Ended::default), look: None }
    }

    /// Where the body is to go at its end; none where nobody looks at it there.
    pub(super) fn ended(&self) -> Option<Ended> {
        self.stream.clone()
    }

    /// Is ready once they have left.
    pub(super) fn poll_left(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(stream) = &self.stream else { return Poll::Pending };
        let look = self.look.get_or_insert_with(|| Box::pin(sleep(LOOK_EVERY)));
        while look.as_mut().poll(context).is_ready() {
            if stream.is_broken() {
                // Said once.
                self.stream = None;
                return Poll::Ready(());
            }
            look.as_mut().reset(Instant::now() + LOOK_EVERY);
        }
        Poll::Pending
    }
}

impl Ended {
    /// Takes a body that has been read to its end.
    pub(super) fn take(&self, body: Payload) {
        *self.0.borrow_mut() = Some(body);
    }

    /// Takes a body that nobody reads any more, if it has ended.
    pub(super) fn take_if_ended(&self, mut body: Payload) {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(None) = Pin::new(&mut body).poll_next(&mut context) {
            self.take(body);
        }
    }

    fn is_broken(&self) -> bool {
        let mut body = self.0.borrow_mut();
        let Some(body) = body.as_mut() else { return false };
        let mut context = Context::from_waker(Waker::noop());
        matches!(Pin::new(body).poll_next(&mut context), Poll::Ready(Some(Err(_))))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;

    use actix_web::error::PayloadError;
    use actix_web::test::TestRequest;
    use actix_web::web::Bytes;
    use futures_util::Stream;
    use futures_util::stream;

    use super::*;

    /// A request over HTTP/2 that has ended, until it is broken.
    pub(in crate::web) fn present() -> (Presence, Rc<Cell<bool>>) {
        let request = TestRequest::post().version(Version::HTTP_2).to_srv_request();
        let presence = Presence::of(&request);
        let is_broken = Rc::new(Cell::new(false));
        let seen = Rc::clone(&is_broken);
        let body = stream::poll_fn(move |_| {
            Poll::Ready(seen.get().then(|| Err(PayloadError::Incomplete(None))))
        });
        let body: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(body);
        presence.ended().expect("over HTTP/2").take_if_ended(Payload::from(body));
        (presence, is_broken)
    }

    #[tokio::test]
    async fn a_stream_that_breaks_after_its_end_is_somebody_who_left() {
        let (mut presence, is_broken) = present();
        let mut left = async |limit: Duration| {
            let left = poll_fn(|context| presence.poll_left(context));
            tokio::time::timeout(limit, left).await.is_ok()
        };
        assert!(!left(LOOK_EVERY * 3).await, "there yet");
        is_broken.set(true);
        assert!(left(Duration::from_secs(30)).await);
        assert!(!left(LOOK_EVERY * 3).await, "said once");
    }

    #[tokio::test]
    async fn what_has_not_been_read_to_its_end_and_what_is_no_stream_says_nothing() {
        let unread: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> =
            Box::pin(stream::pending());
        let request = TestRequest::post().version(Version::HTTP_2).to_srv_request();
        let mut presence = Presence::of(&request);
        let ended = presence.ended().expect("over HTTP/2");
        ended.take_if_ended(Payload::from(unread));
        assert!(ended.0.borrow().is_none());
        let left = poll_fn(|context| presence.poll_left(context));
        assert!(tokio::time::timeout(LOOK_EVERY * 3, left).await.is_err());
        let request = TestRequest::post().version(Version::HTTP_11).to_srv_request();
        assert!(Presence::of(&request).ended().is_none());
    }
}
