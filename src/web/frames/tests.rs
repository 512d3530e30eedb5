//! Frames that are followed, whatever stands in them and however they come.

use std::future::poll_fn;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::{LocalSet, yield_now};

use super::*;

const FIRST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

fn framed<T>(io: T) -> Framed<T> {
    Framed::new(io, Pace::new(8))
}

/// Whether these frames pass, read at once and in pieces of each length.
fn passes(frames: &[Vec<u8>]) -> bool {
    let bytes = [FIRST, &frames.concat()].concat();
    let at_once = framed(()).follow(&bytes);
    for length in [1, 2, 7, 64] {
        let mut framed = framed(());
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

/// What is handed on until there is nothing to be had at once; then other tasks run.
async fn handed_on(framed: &mut Framed<DuplexStream>) -> io::Result<usize> {
    let mut all = 0;
    let handed_on = poll_fn(|context| {
        let mut space = [0; 8_192];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut *framed).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) => all += buffer.filled().len(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Ready(Ok(all)),
            }
        }
    });
    let handed_on = handed_on.await;
    yield_now().await;
    handed_on
}

/// Forty heads, each of almost as many fields as it may have.
fn forty() -> Vec<u8> {
    [FIRST, &headers(&[0x82; 255]).repeat(40)].concat()
}

#[tokio::test]
async fn heads_are_handed_on_a_few_at_a_time_and_bodies_as_they_come() {
    let (near, mut far) = duplex(1 << 20);
    let mut framed = framed(near);
    let (heads, body) = (forty(), frame(0, 0, &[0x82; 16_000]).repeat(10));
    far.write_all(&heads).await.expect("room");
    let work = async {
        let mut all = 0;
        while all < heads.len() {
            let more = handed_on(&mut framed).await.expect("short ones");
            assert!((1..=SIP_BYTES + FIRST.len()).contains(&more), "{more}");
            all += more;
        }
        far.write_all(&body).await.expect("room");
        assert_eq!(handed_on(&mut framed).await.expect("no heads"), body.len());
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn there_are_no_more_heads_before_those_that_were_handed_on_have_their_turn() {
    let (near, mut far) = duplex(1 << 16);
    let mut framed = framed(near);
    far.write_all(&forty()).await.expect("room");
    let work = async {
        let asked = poll_fn(|context| {
            let mut space = [0; 8_192];
            let mut buffer = ReadBuf::new(&mut space);
            let asked = (0..20).map(|_| Pin::new(&mut framed).poll_read(context, &mut buffer));
            Poll::Ready(asked.filter(Poll::is_ready).count())
        });
        assert_eq!(asked.await, 1);
        yield_now().await;
        assert!(handed_on(&mut framed).await.expect("more") > 0);
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn no_more_heads_are_taken_from_who_takes_nothing() {
    let (near, mut far) = duplex(1 << 16);
    let mut framed = framed(near);
    far.write_all(&forty()).await.expect("room");
    let mut space = vec![0; 1 << 16];
    poll_fn(|context| {
        while Pin::new(&mut framed).poll_write(context, &space).is_ready() {}
        Poll::Ready(())
    })
    .await;
    let work = async {
        // What says that there is room again is still heard.
        assert!(handed_on(&mut framed).await.expect("a few") > FIRST.len());
        for _ in 0..3 {
            assert_eq!(handed_on(&mut framed).await.expect("no error"), 0);
        }
        far.read_exact(&mut space).await.expect("reads");
        framed.write_all(&[0; 8]).await.expect("room again");
        assert_eq!(handed_on(&mut framed).await.expect("no error"), 0, "they have their turn");
        assert!(handed_on(&mut framed).await.expect("more") > 0);
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn refusals_that_are_not_read_end_it() {
    let (near, mut far) = duplex(1 << 16);
    let pace = Pace::new(2);
    let mut framed = Framed::new(near, Rc::clone(&pace));
    let mut requests: Vec<_> = (0..4).map(|_| pace.begin()).collect();
    far.write_all(FIRST).await.expect("room");
    assert_eq!(handed_on(&mut framed).await.expect("as many as may be"), FIRST.len());
    requests.push(pace.begin());
    let error = handed_on(&mut framed).await.expect_err("one too many");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}
