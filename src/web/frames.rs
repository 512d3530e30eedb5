//! What comes over a connection of HTTP/2, looked at before it is parsed. The block of fields of a request
//! (HPACK, RFC 7541) names a field in one byte, and whoever parses it makes a hundred times as much of it:
//! some kilobytes of nothing else, with more of them behind (CONTINUATION), take a server's memory before
//! anybody has asked who sends them. So a block is one frame, and has so many fields.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::fields::Fields;

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
    place: Place,
    fields: Fields,
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
    pub(super) fn new(io: T) -> Self {
        Self { io, place: Place::Skip(PREFACE_BYTES), fields: Fields::default() }
    }

    /// What it is over.
    pub(super) fn get_ref(&self) -> &T {
        &self.io
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
                    if !block.iter().all(|byte| self.fields.take(*byte)) {
                        return false;
                    }
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
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if self.follow(&buffer.filled()[before..]) {
            return read;
        }
        buffer.set_filled(before);
        Poll::Ready(Err(io::Error::new(
            ErrorKind::InvalidData,
            "the head of a request is too long",
        )))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Framed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, bytes)
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
    use super::*;

    const FIRST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// Whether these frames pass, read at once and in pieces of each length.
    fn passes(frames: &[Vec<u8>]) -> bool {
        let bytes = [FIRST, &frames.concat()].concat();
        let at_once = Framed::new(()).follow(&bytes);
        for length in [1, 2, 7, 64] {
            let mut framed = Framed::new(());
            let in_pieces = bytes.chunks(length).all(|piece| framed.follow(piece));
            assert_eq!(in_pieces, at_once, "in pieces of {length}");
        }
        at_once
    }

    fn headers(block: &[u8]) -> Vec<u8> {
        frame(HEADERS, END_HEADERS, block)
    }

    /// Every form that a field may have, with texts that look like fields.
    fn field(form: usize) -> Vec<u8> {
        let text = |length: usize| {
            let low = |number: usize| u8::try_from(number & 0x7f).expect("seven bits");
            let mut text = match length.checked_sub(0x7f) {
                None => vec![low(length)],
                Some(rest) => vec![0x7f, 0x80 | low(rest), low(rest >> 7)],
            };
            text.extend(vec![0x82; length]);
            text
        };
        match form % 9 {
            0 => vec![0x82],
            1 => vec![0xff, 0x80, 0x01],
            2 => [vec![0x40], text(3), text(5)].concat(),
            3 => [vec![0x44], text(0)].concat(),
            4 => [vec![0x7f, 0x02], text(9)].concat(),
            5 => [vec![0x00], text(1), text(300)].concat(),
            6 => [vec![0x1f, 0x08], text(20)].concat(),
            7 => [vec![0x10], text(0), text(0)].concat(),
            _ => vec![0x3f, 0xe1, 0x1f],
        }
    }

    #[test]
    fn fields_are_counted_in_every_form_and_none_inside_of_texts() {
        let block = |count: usize| (0..count).flat_map(field).collect::<Vec<u8>>();
        assert!(passes(&[headers(&block(256)), headers(&block(256))]));
        assert!(!passes(&[headers(&block(257))]));
        for form in 0..9 {
            let block = |count: usize| field(form).repeat(count);
            assert!(passes(&[headers(&block(256))]), "{form}");
            assert!(!passes(&[headers(&block(257))]), "{form}");
        }
        // One long text is one field.
        let mut long = vec![0x40, 0x01, b'a', 0x7f];
        long.extend([0x81, 0x70]);
        long.extend(vec![0x82; 0x7f + 1 + (0x70 << 7)]);
        assert!(passes(&[headers(&long)]));
    }

    #[test]
    fn a_block_is_one_frame() {
        assert!(!passes(&[frame(HEADERS, 0, &[0x82])]));
        assert!(!passes(&[headers(&[0x82]), frame(CONTINUATION, END_HEADERS, &[0x82])]));
        assert!(passes(&[headers(&[]), headers(&[0x82])]));
        // A client has nothing to promise.
        for flags in [0, END_HEADERS] {
            assert!(!passes(&[frame(PUSH_PROMISE, flags, &[0, 0, 0, 2, 0x82])]), "{flags}");
        }
    }

    #[test]
    fn what_stands_around_a_block_is_no_part_of_it() {
        let many = vec![0x82; 400];
        // Data, settings and what nobody knows may have any bytes.
        for kind in (0..=20).filter(|kind| ![HEADERS, PUSH_PROMISE, CONTINUATION].contains(kind)) {
            assert!(passes(&[frame(kind, 0xff, &many), headers(&[0x82])]), "{kind}");
        }
        let all = END_HEADERS | PADDED | PRIORITY;
        let padded = |count: usize, flags: u8| {
            let priority = if flags & PRIORITY == 0 { 0 } else { 5 };
            let around = [&[200][..], &vec![0x82; priority]].concat();
            frame(HEADERS, flags, &[&around[..], &vec![0x82; count], &[0x82; 200]].concat())
        };
        for flags in [all, END_HEADERS | PADDED] {
            assert!(passes(&[padded(256, flags), padded(256, flags)]), "{flags}");
            assert!(!passes(&[padded(257, flags)]), "{flags}");
        }
        let behind_priority = [&[0x82; 5][..], &[0x82; 256]].concat();
        assert!(passes(&[frame(HEADERS, END_HEADERS | PRIORITY, &behind_priority)]));
        // Frames that contradict themselves are for whoever parses them.
        assert!(passes(&[frame(HEADERS, all, &[]), frame(HEADERS, all, &[255, 0x82])]));
        assert!(passes(&[frame(HEADERS, END_HEADERS | PRIORITY, &[0x82; 3]), headers(&[0x82])]));
    }

    #[test]
    fn no_length_is_too_long_to_be_followed() {
        let mut endless = vec![0x40, 0x7f];
        endless.extend([0xff; 20]);
        assert!(!passes(&[headers(&endless)]));
        assert!(passes(&[headers(&[0x40, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x0f]), headers(&[0x82])]));
    }
}
