//! How long a client may take to read what it asked for. A connection that takes nothing for longer is
//! closed: over HTTP/1.1 the socket itself stands still; over HTTP/2 the socket goes on and only the
//! window of a stream stays shut, which the body of the answer notices, since nobody asks it for more.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::connections::Place;
use super::presence::Presence;

/// What is handed out of a body at once, and has to be taken within the time.
const PIECE_BYTES: usize = 64 << 10;

/// What is under way on one connection.
#[derive(Debug)]
pub(super) struct Pace {
    /// Pieces of bodies that were handed out, and since when they are waited for; the oldest first.
    out: RefCell<BTreeMap<u64, Instant>>,
    next: Cell<u64>,
    requests: Cell<usize>,
    requests_max: usize,
    /// Those beyond, whose refusals are not read yet.
    refused: Cell<usize>,
    /// Bodies of requests that are not read to their end.
    bodies: Cell<usize>,
    /// Who waits for nothing to be under way.
    reader: RefCell<Option<Waker>>,
}

impl Pace {
    /// Nothing yet.
    pub(super) fn new(requests_max: usize) -> Rc<Self> {
        let (out, next, requests) = (RefCell::default(), Cell::default(), Cell::default());
        let (refused, bodies, reader) = (Cell::default(), Cell::default(), RefCell::default());
        Rc::new(Self { out, next, requests, requests_max, refused, bodies, reader })
    }

    /// Whether no request is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.get() == 0
    }

    /// Whether the body of a request is being read.
    pub(super) fn reads_body(&self) -> bool {
        self.bodies.get() > 0
    }

    /// Counts in a body that is to be read.
    pub(super) fn begin_body(self: &Rc<Self>) -> Arriving {
        self.bodies.set(self.bodies.get() + 1);
        Arriving(Rc::clone(self))
    }

    /// Wakes this one once there may be something to read again.
    pub(super) fn await_reading(&self, waker: &Waker) {
        self.reader.replace(Some(waker.clone()));
    }

    /// Wakes whoever waits to read.
    pub(super) fn wake_reader(&self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    /// Whether there are so many refusals that nobody reads that there is no sense in more.
    pub(super) fn is_flooded(&self) -> bool {
        self.refused.get() > self.requests_max
    }

    /// Counts a request in. Where there are as many as there may be, it is one to be refused.
    pub(super) fn begin(self: &Rc<Self>) -> Under {
        let is_refused = self.requests.get() >= self.requests_max;
        let under = Under { pace: Rc::clone(self), piece: None, is_refused };
        let count = under.count();
        count.set(count.get() + 1);
        under
    }

    fn is_stalled(&self, limit: Duration) -> bool {
        let out = self.out.borrow();
        out.first_key_value().is_some_and(|(_, since)| since.elapsed() >= limit)
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Under {
    pace: Rc<Pace>,
    piece: Option<u64>,
    is_refused: bool,
}

impl Under {
    /// Whether there were as many as there may be before it came.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// What it is counted in.
    fn count(&self) -> &Cell<usize> {
        if self.is_refused { &self.pace.refused } else { &self.pace.requests }
    }

    /// What was handed out before has been taken.
    fn taken(&mut self) {
        if let Some(piece) = self.piece.take() {
            self.pace.out.borrow_mut().remove(&piece);
        }
    }

    fn hand_out(&mut self) {
        let piece = self.pace.next.get();
        self.pace.next.set(piece + 1);
        self.pace.out.borrow_mut().insert(piece, Instant::now());
        self.piece = Some(piece);
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        self.taken();
        let count = self.count();
        count.set(count.get().saturating_sub(1));
        if self.pace.is_idle() {
            self.pace.wake_reader();
        }
    }
}

/// The body of a request that is not read to its end yet.
#[derive(Debug)]
pub(super) struct Arriving(Rc<Pace>);

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.bodies.set(self.0.bodies.get().saturating_sub(1));
    }
}

/// The body of an answer, handed out in pieces and watched until it is whole.
pub struct Watched<B> {
    inner: Pin<Box<B>>,
    /// Of the last chunk.
    rest: Bytes,
    under: Option<Under>,
    presence: Presence,
    /// What is done where it is dropped before its end.
    on_leave: Option<Box<dyn FnOnce()>>,
}

impl<B: MessageBody> Watched<B> {
    /// Watches a body. `under`: the request on its connection, where it is served on one.
    pub(super) fn new(
        body: B,
        under: Option<Under>,
        presence: Presence,
        on_leave: impl FnOnce() + 'static,
    ) -> Self {
        // What has no body has no end to be waited for.
        let has_end = !body.size().is_eof();
        let on_leave = has_end.then(|| Box::new(on_leave) as Box<dyn FnOnce()>);
        Self { inner: Box::pin(body), rest: Bytes::new(), under, presence, on_leave }
    }
}

impl<B: MessageBody> MessageBody for Watched<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.inner.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, B::Error>>> {
        if let Some(under) = &mut self.under {
            under.taken();
        }
        while self.rest.is_empty() {
            match self.inner.as_mut().poll_next(context) {
                Poll::Pending => {
                    // Whoever sends it looks at the stream before even nothing is sent, and drops the
                    // body where that has ended.
                    ready!(self.presence.poll_left(context));
                    return Poll::Ready(Some(Ok(Bytes::new())));
                }
                Poll::Ready(Some(Ok(chunk))) => self.rest = chunk,
                Poll::Ready(last) => {
                    self.on_leave = None;
                    return Poll::Ready(last);
                }
            }
        }
        let piece = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(piece);
        if let Some(under) = &mut self.under {
            under.hand_out();
        }
        Poll::Ready(Some(Ok(piece)))
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        if let Some(on_leave) = self.on_leave.take() {
            on_leave();
        }
    }
}

/// A socket that gives up on whoever does not read.
pub(super) struct Patient<T> {
    io: T,
    limit: Duration,
    pace: Rc<Pace>,
    /// Runs out where the socket takes nothing.
    blocked: Option<Pin<Box<Sleep>>>,
    /// Runs out now and then, to look at the pieces that were handed out.
    look: Pin<Box<Sleep>>,
    _place: Place,
}

impl<T> Patient<T> {
    pub(super) fn new(io: T, limit: Duration, pace: Rc<Pace>, place: Place) -> Self {
        let look = Box::pin(sleep(limit / 4));
        Self { io, limit, pace, blocked: None, look, _place: place }
    }

    /// What is under way on it.
    pub(super) fn pace(&self) -> &Rc<Pace> {
        &self.pace
    }

    fn look(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.look.as_mut().poll(context).is_ready() {
            if self.pace.is_stalled(self.limit) {
                return Err(gone());
            }
            self.look.as_mut().reset(Instant::now() + self.limit / 4);
        }
        Ok(())
    }

    /// A write that stands still does so for a limited time.
    fn hold<R>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if result.is_ready() {
            self.blocked = None;
            return result;
        }
        let limit = self.limit;
        let blocked = self.blocked.get_or_insert_with(|| Box::pin(sleep(limit)));
        match blocked.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(gone())),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn gone() -> io::Error {
    tracing::debug!("a connection is closed: what was sent is not read");
    io::Error::new(ErrorKind::TimedOut, "what was sent is not read")
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.look(context)?;
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.look(context)?;
        let result = Pin::new(&mut self.io).poll_write(context, bytes);
        self.hold(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.look(context)?;
        let result = Pin::new(&mut self.io).poll_write_vectored(context, bytes);
        self.hold(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::super::connections::Connections;
    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    async fn patient(bytes: usize) -> (Patient<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (near, far) = duplex(bytes);
        let place = Connections::new(1, 0, [].into()).enter(None).await.expect("a place");
        (Patient::new(near, LIMIT, Pace::new(2), place), far)
    }

    #[tokio::test]
    async fn a_socket_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let (mut near, mut far) = patient(8).await;
        let begun = Instant::now();
        let (wrote, ()) = tokio::join!(near.write_all(&[0; 48]), async {
            for _ in 0..6 {
                sleep(LIMIT / 4).await;
                far.read_exact(&mut [0; 8]).await.expect("reads");
            }
        });
        wrote.expect("it was read in time");
        assert!(begun.elapsed() > LIMIT);
        let error = near.write_all(&[0; 32]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_piece_that_is_not_taken_ends_the_connection_and_a_silent_one_does_not() {
        let (mut near, _far) = patient(8).await;
        let under = Some(near.pace().begin());
        let body = Bytes::from(vec![1; PIECE_BYTES + 1]);
        let mut body = Box::pin(Watched::new(body, under, Presence::default(), || ()));
        let mut next = async || poll_fn(|context| body.as_mut().poll_next(context)).await;
        let waits = tokio::time::timeout(LIMIT * 3 / 2, near.read_u8()).await;
        assert!(waits.is_err(), "nothing is under way");
        let first = next().await.expect("a piece").expect("no error");
        assert_eq!(first.len(), PIECE_BYTES);
        let waits = tokio::time::timeout(LIMIT / 4, near.read_u8()).await;
        assert!(waits.is_err(), "there is time yet");
        assert_eq!(next().await.expect("the rest").expect("no error").len(), 1);
        assert!(next().await.is_none());
        let waits = tokio::time::timeout(LIMIT * 3 / 2, near.read_u8()).await;
        assert!(waits.is_err(), "all of it was taken");

        let under = Some(near.pace().begin());
        let mut body = Box::pin(Watched::new("x", under, Presence::default(), || ()));
        poll_fn(|context| body.as_mut().poll_next(context)).await.expect("a piece").expect("it");
        let ended = tokio::time::timeout(LIMIT * 9, near.read_u8()).await.expect("in time");
        assert_eq!(ended.expect_err("closed").kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn requests_of_one_connection_are_bounded_until_their_bodies_are_gone() {
        let pace = Pace::new(2);
        let first = Watched::new("x", Some(pace.begin()), Presence::default(), || ());
        let second = pace.begin();
        assert!(!second.is_refused());
        let refused = [pace.begin(), pace.begin()];
        assert!(refused.iter().all(Under::is_refused) && !pace.is_flooded());
        let third = pace.begin();
        assert!(third.is_refused() && pace.is_flooded());
        drop(first);
        assert!(!pace.begin().is_refused());
        drop(third);
        assert!(!pace.is_flooded(), "it was read");
    }

    #[tokio::test]
    async fn who_leaves_before_the_end_is_noticed() {
        let left = Rc::new(Cell::new(0));
        let body = |text: &'static str| {
            let left = Rc::clone(&left);
            let on_leave = move || left.set(left.get() + 1);
            Box::pin(Watched::new(text, None, Presence::default(), on_leave))
        };
        let mut read = body("x");
        while poll_fn(|context| read.as_mut().poll_next(context)).await.is_some() {}
        drop(read);
        drop(body(""));
        assert_eq!(left.get(), 0);
        drop(body("x"));
        assert_eq!(left.get(), 1);
    }

    #[tokio::test]
    async fn a_silent_answer_hands_out_nothing_once_nobody_waits_for_it() {
        use actix_web::body::BodyStream;
        let (presence, is_broken) = super::super::presence::tests::present();
        let silent = futures_util::stream::pending::<Result<Bytes, io::Error>>();
        let mut body = Box::pin(Watched::new(BodyStream::new(silent), None, presence, || ()));
        let mut next = poll_fn(|context| body.as_mut().poll_next(context));
        assert!(tokio::time::timeout(LIMIT / 4, &mut next).await.is_err(), "they are there yet");
        is_broken.set(true);
        let piece = tokio::time::timeout(LIMIT * 9, &mut next).await.expect("in time");
        assert!(piece.expect("a piece").expect("no error").is_empty());
        assert!(tokio::time::timeout(LIMIT / 4, &mut next).await.is_err(), "once is enough");
    }
}
