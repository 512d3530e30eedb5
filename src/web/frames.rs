//! What comes over a connection of HTTP/2, looked at before it is parsed. The block of fields of a request
//! (HPACK, RFC 7541) names a field in one byte, and whoever parses it makes a hundred times as much of it:
//! some kilobytes of nothing else, with more of them behind (CONTINUATION), take a server's memory before
//! anybody has asked who sends them. So a block is one frame, and has so many fields.
//!
//! Nor does the parser stop before it has made requests of all that has come. So it is handed a few at a
//! time, and goes on once these have begun; and nothing from who does not read what is sent, or leaves more
//! refusals unread than there may be requests.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;

use super::fields::{FIELDS_MAX, Fields};
use super::patience::Pace;

/// Bytes that are handed on at once, beside those of a body.
const SIP_BYTES: usize = 1_024;
/// The first words of a client (RFC 9113, section 3.4).
const PREFACE_BYTES: u32 = 24;
const HEAD_BYTES: usize = 9;
const PRIORITY_BYTES: u32 = 5;

const HEADERS: u8 = 1;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A stream of HTTP/2 whose reader is given no head that is too long: it ends there.
pub(super) struct Framed<T> {
    io: T,
    pace: Rc<Pace>,
    place: Place,
    fields: Fields,
    /// Heads and fields since those before them began what they ask for.
    handed_on: u32,
    /// Whether they have, while that is waited for.
    turn: Option<Rc<Cell<bool>>>,
    /// Whether what is written finds no room.
    is_blocked: bool,
}

/// Where in the frames what was read last ends.
#[derive(Debug)]
enum Place {
    /// So many bytes before the next head of a frame.
    Skip(u32),
    /// In the head of a frame.
    Head { bytes: [u8; HEAD_BYTES], filled: usize },
    /// Before the length of what fills up the block, which has so many bytes with it; the priority stands
    /// before it where there is one.
    Padding { left: u32, has_priority: bool },
    /// Before so many bytes that stand before the block, which has so many, and so many behind it.
    Before { skip: u32, block: u32, behind: u32 },
    /// In the block: bytes left, and those behind it.
    Block { left: u32, behind: u32 },
}

impl<T> Framed<T> {
    pub(super) fn new(io: T, pace: Rc<Pace>) -> Self {
        let (place, fields) = (Place::Skip(PREFACE_BYTES), Fields::default());
        Self { io, pace, place, fields, handed_on: 0, turn: None, is_blocked: false }
    }

    /// What is under way on it.
    pub(super) fn pace(&self) -> &Rc<Pace> {
        &self.pace
    }

    /// Bytes that may be handed on at once: what is no head as it comes.
    fn room(&self) -> usize {
        SIP_BYTES + if let Place::Skip(left) = self.place { left as usize } else { 0 }
    }

    /// Whether there may be more heads now. Whoever parses them asks again for each of which it has made a
    /// request, before any of these has begun: so it is not told before a task has run that came before
    /// theirs, and is itself behind all of them by then.
    fn has_turn(&mut self, context: &mut Context<'_>) -> bool {
        if self.turn.as_ref().is_some_and(|turn| turn.get()) {
            (self.turn, self.handed_on) = (None, 0);
        }
        if self.handed_on < FIELDS_MAX {
            return true;
        }
        self.pace.await_reading(context.waker());
        // Who does not read the answers is asked for nothing more.
        if self.turn.is_none() && !self.is_blocked {
            let (turn, pace) = (Rc::<Cell<bool>>::default(), Rc::clone(&self.pace));
            self.turn = Some(Rc::clone(&turn));
            spawn_local(async move {
                turn.set(true);
                pace.wake_reader();
            });
        }
        false
    }

    fn wrote<R>(&mut self, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        let was_blocked = std::mem::replace(&mut self.is_blocked, result.is_pending());
        if was_blocked && !self.is_blocked {
            self.pace.wake_reader();
        }
        result
    }

    /// Follows the frames; whether every head was short enough.
    fn follow(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            self.place = match std::mem::replace(&mut self.place, Place::Skip(0)) {
                Place::Skip(0) => Place::Head { bytes: [0; HEAD_BYTES], filled: 0 },
                Place::Skip(left) => {
                    let (left, rest) = passed(left, bytes);
                    bytes = rest;
                    Place::Skip(left)
                }
                Place::Head { bytes: mut head, filled } => {
                    let count = bytes.len().min(HEAD_BYTES - filled);
                    head[filled..filled + count].copy_from_slice(&bytes[..count]);
                    bytes = &bytes[count..];
                    if filled + count < HEAD_BYTES {
                        self.place = Place::Head { bytes: head, filled: filled + count };
                        return true;
                    }
                    let Some(place) = self.begin(head) else { return false };
                    place
                }
                Place::Padding { left, has_priority } => {
                    let Some((padding, rest)) = bytes.split_first() else {
                        self.place = Place::Padding { left, has_priority };
                        return true;
                    };
                    bytes = rest;
                    before(left.saturating_sub(1), u32::from(*padding), has_priority)
                }
                Place::Before { skip: 0, block, behind } => Place::Block { left: block, behind },
                Place::Before { skip, block, behind } => {
                    let (skip, rest) = passed(skip, bytes);
                    bytes = rest;
                    Place::Before { skip, block, behind }
                }
                Place::Block { left: 0, behind } => Place::Skip(behind),
                Place::Block { left, behind } => {
                    let (left, rest) = passed(left, bytes);
                    let block = &bytes[..bytes.len() - rest.len()];
                    let had = self.fields.count();
                    if !block.iter().all(|byte| self.fields.take(*byte)) {
                        return false;
                    }
                    self.handed_on += self.fields.count() - had;
                    bytes = rest;
                    Place::Block { left, behind }
                }
            };
            if bytes.is_empty() {
                return true;
            }
        }
    }

    /// What stands behind the head of a frame; none where it is a part of a block, or a block that no
    /// client may send: it is parsed before it is refused.
    fn begin(&mut self, head: [u8; HEAD_BYTES]) -> Option<Place> {
        let [a, b, c, kind, flags, ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let is_part = kind == CONTINUATION || kind == HEADERS && flags & END_HEADERS == 0;
        if is_part || kind == PUSH_PROMISE {
            return None;
        }
        if kind != HEADERS {
            return Some(Place::Skip(length));
        }
        self.fields = Fields::default();
        self.handed_on += 1;
        let has_priority = flags & PRIORITY != 0;
        let is_padded = flags & PADDED != 0 && length > 0;
        Some(if is_padded {
            Place::Padding { left: length, has_priority }
        } else {
            before(length, 0, has_priority)
        })
    }
}

/// What is left of so many bytes behind these, and of these behind them.
fn passed(left: u32, bytes: &[u8]) -> (u32, &[u8]) {
    let count = bytes.len().min(left as usize);
    (left - u32::try_from(count).unwrap_or(left), &bytes[count..])
}

/// Where a block lies in so many bytes.
fn before(left: u32, padding: u32, has_priority: bool) -> Place {
    let skip = if has_priority { PRIORITY_BYTES } else { 0 }.min(left);
    let behind = padding.min(left - skip);
    Place::Before { skip, block: left - skip - behind, behind }
}

impl<T: AsyncRead + Unpin> AsyncRead for Framed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.pace.is_flooded() {
            return Poll::Ready(Err(io::Error::new(
                ErrorKind::TimedOut,
                "too many requests were refused, and that is not read",
            )));
        }
        if !self.has_turn(context) {
            return Poll::Pending;
        }
        let room = self.room().min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.io).poll_read(context, &mut part))?;
        let count = part.filled().len();
        if !self.follow(part.filled()) {
            return Poll::Ready(Err(io::Error::new(
                ErrorKind::InvalidData,
                "the head of a request is too long",
            )));
        }
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Framed<T> {
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
mod tests;
