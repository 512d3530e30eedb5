//! What comes over a connection of HTTP/1.1, handed on in sips. Whoever parses it takes all requests that
//! have come as parsed requests, each a hundred times as large as its bytes; a client may send thousands
//! before it reads one answer. So while a request is under way no more is handed on than its body needs.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::patience::Pace;

/// Bytes that are handed on at once where no body is read: a head, or the first part of one.
const SIP_BYTES: usize = 2_048;

/// A stream that is read in sips.
pub(super) struct Sips<T> {
    io: T,
    pace: Rc<Pace>,
    /// What has come and is not handed on yet; it is read so that an end is seen.
    ahead: Vec<u8>,
    is_ended: bool,
    /// Whether a sip was handed on and is to be parsed before the next.
    was_given: bool,
    /// Whether what is written finds no room.
    is_blocked: bool,
}

impl<T> Sips<T> {
    pub(super) fn new(io: T, pace: Rc<Pace>) -> Self {
        let (is_ended, was_given, is_blocked) = (false, false, false);
        Self { io, pace, ahead: Vec::new(), is_ended, was_given, is_blocked }
    }

    /// What is under way on it.
    pub(super) fn pace(&self) -> &Rc<Pace> {
        &self.pace
    }

    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..count]);
        self.ahead.drain(..count);
    }

    fn wrote<R>(&mut self, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        let was_blocked = std::mem::replace(&mut self.is_blocked, result.is_pending());
        if was_blocked && !self.is_blocked {
            self.pace.wake_reader();
        }
        result
    }
}

impl<T: AsyncRead + Unpin> Sips<T> {
    /// Reads ahead, as far as a sip.
    fn fill(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let mut space = [0; SIP_BYTES];
        while !self.is_ended && self.ahead.len() < SIP_BYTES {
            let mut part = ReadBuf::new(&mut space[self.ahead.len()..]);
            if Pin::new(&mut self.io).poll_read(context, &mut part)?.is_pending() {
                break;
            }
            self.is_ended = part.filled().is_empty();
            self.ahead.extend_from_slice(part.filled());
        }
        Ok(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Sips<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.pace.reads_body() && self.ahead.is_empty() && !self.is_ended {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        self.fill(context)?;
        if self.is_ended || self.pace.reads_body() && !self.ahead.is_empty() {
            self.hand_on(buffer);
            return Poll::Ready(Ok(()));
        }
        let is_free = self.pace.is_idle() && !self.is_blocked;
        if is_free && !self.ahead.is_empty() {
            if !std::mem::replace(&mut self.was_given, true) {
                self.hand_on(buffer);
                return Poll::Ready(Ok(()));
            }
            // What was handed on is parsed now, and begins what it asks for.
            context.waker().wake_by_ref();
        }
        self.was_given = false;
        self.pace.await_reading(context.waker());
        Poll::Pending
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Sips<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(context, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(context, bytes);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(context);
        self.wrote(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    fn sips() -> (Sips<DuplexStream>, Rc<Pace>, DuplexStream) {
        let (near, far) = duplex(1 << 20);
        let pace = Pace::new(8);
        (Sips::new(near, Rc::clone(&pace)), pace, far)
    }

    /// What is handed on until there is nothing to be had at once.
    async fn handed_on(sips: &mut Sips<DuplexStream>) -> usize {
        let mut all = 0;
        poll_fn(|context| {
            let mut space = [0; 8_192];
            let mut buffer = ReadBuf::new(&mut space);
            while Pin::new(&mut *sips).poll_read(context, &mut buffer).is_ready() {
                if buffer.filled().is_empty() {
                    break;
                }
                all += buffer.filled().len();
                buffer.clear();
            }
            Poll::Ready(())
        })
        .await;
        all
    }

    #[tokio::test]
    async fn between_two_looks_at_it_there_is_a_sip_and_none_while_a_request_is_under_way() {
        let (mut sips, pace, mut far) = sips();
        far.write_all(&vec![b'x'; 100_000]).await.expect("room");
        for _ in 0..3 {
            assert_eq!(handed_on(&mut sips).await, SIP_BYTES);
        }
        let under = pace.begin();
        assert_eq!(handed_on(&mut sips).await, 0);
        // Its body is read as it comes.
        let body = pace.begin_body();
        assert!(handed_on(&mut sips).await > 50_000);
        drop(body);
        far.write_all(&[b'y'; 10]).await.expect("room");
        assert_eq!(handed_on(&mut sips).await, 0);
        // Whoever waits hears that it is over.
        let waits = tokio::task::LocalSet::new();
        let read = async {
            let mut space = [0; 64];
            sips.read(&mut space).await.expect("reads")
        };
        let both = waits.run_until(async {
            tokio::join!(timeout(Duration::from_secs(10), read), async {
                tokio::task::yield_now().await;
                drop(under);
            })
        });
        assert_eq!(both.await.0.expect("woken"), 10);
    }

    #[tokio::test]
    async fn an_end_is_seen_while_a_request_is_under_way() {
        let (mut sips, pace, mut far) = sips();
        let _under = pace.begin();
        far.write_all(b"more").await.expect("room");
        assert_eq!(handed_on(&mut sips).await, 0);
        drop(far);
        let mut space = [0; 64];
        assert_eq!(sips.read(&mut space).await.expect("what there was"), 4);
        assert_eq!(sips.read(&mut space).await.expect("the end"), 0);
    }

    #[tokio::test]
    async fn nothing_more_is_taken_from_who_takes_nothing() {
        let (near, mut far) = duplex(64);
        let mut sips = Sips::new(near, Pace::new(8));
        poll_fn(|context| {
            let full = Pin::new(&mut sips).poll_write(context, &[0; 64]);
            assert!(full.is_ready());
            let more = Pin::new(&mut sips).poll_write(context, &[0; 64]);
            assert!(more.is_pending());
            Poll::Ready(())
        })
        .await;
        far.write_all(b"asks").await.expect("room");
        assert_eq!(handed_on(&mut sips).await, 0);
        far.read_exact(&mut [0; 64]).await.expect("reads");
        sips.write_all(&[0; 8]).await.expect("room again");
        assert_eq!(handed_on(&mut sips).await, 4);
    }
}
