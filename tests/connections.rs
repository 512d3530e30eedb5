//! Connections at their limits: as many as there may be, of everybody and of one address; heads, bodies
//! and reads that do not come on; requests side by side on one connection; idle ones; clients who leave.
//!
//! Over loopback alone, with a few dozen connections at most, each for a few seconds.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::io;
use std::time::{Duration, Instant};

use common::raw::{Raw, has_closed};
use common::{GUIDE, Home, Server, frames, pause, wait_for};
use serde_json::json;

const ALIVE: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
const LARGE: &str = "/static/vendor/markdown-it.js";
const HERE: &str = "127.0.0.1";
const ELSEWHERE: &str = "127.0.0.2";
/// What waits for a place has none for so long.
const A_WHILE: Duration = Duration::from_millis(700);
/// Long beside every time limit that is set here, and short beside every default.
const SOON: Duration = Duration::from_secs(30);

fn start(home: &Home, settings: &[&str]) -> Server {
    let all = settings.iter().flat_map(|setting| ["--set", *setting]);
    Server::start_with(home, &all.collect::<Vec<_>>())
}

/// A connection that has been answered once, and stays open.
fn open(server: &Server, from: &str) -> io::Result<Option<Raw>> {
    let mut raw = server.raw_from(from, &[])?;
    match raw.send(ALIVE).and_then(|()| raw.answer()) {
        Ok(Some(answer)) => {
            assert_eq!(answer.status, 200);
            Ok(Some(raw))
        }
        Ok(None) => Ok(None),
        Err(error) if has_closed(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same, once there is a place: those of earlier connections are given back a little later.
fn open_soon(server: &Server, from: &str) -> Raw {
    let mut found = None;
    wait_for("a place", || {
        found = open(server, from).expect("an answer or an end");
        found.is_some()
    });
    found.expect("it was waited for")
}

/// Waits until the server has closed a connection; says how long that took, and what came before it.
fn until_closed(raw: &mut Raw) -> (Duration, Vec<u8>) {
    let (begun, mut received) = (Instant::now(), Vec::new());
    raw.wait_at_most(SOON);
    loop {
        match raw.receive() {
            Ok(bytes) if bytes.is_empty() => return (begun.elapsed(), received),
            Ok(bytes) => received.extend(bytes),
            Err(error) if has_closed(&error) => return (begun.elapsed(), received),
            Err(error) => panic!("it is still open: {error}"),
        }
    }
}

#[test]
fn connections_beyond_the_bound_of_all_wait_whichever_worker_has_them() {
    let home = Home::prepared();
    let server = start(
        &home,
        &["server.workers=4", "server.connections_max=6", "server.connections_per_address_max=0"],
    );
    let mut held: Vec<Raw> = (0..6).map(|_| open_soon(&server, HERE)).collect();
    let mut seventh = server.raw_from(ELSEWHERE, &[]).expect("the system has a queue");
    seventh.wait_at_most(A_WHILE);
    // Nobody answers, not even to the first words of TLS.
    let error = seventh.send(ALIVE).expect_err("it waits");
    assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
    drop(held.pop());
    seventh.wait_at_most(SOON);
    seventh.send(ALIVE).expect("there is a place");
    assert_eq!(seventh.answer().expect("in time").expect("an answer").status, 200);
    for raw in &mut held {
        raw.send(ALIVE).expect("it has its place");
        assert_eq!(raw.answer().expect("in time").expect("an answer").status, 200);
    }
}

#[test]
fn an_address_that_has_its_share_keeps_nobody_else_out() {
    let home = Home::prepared();
    let server = start(&home, &["server.connections_per_address_max=3"]);
    let mut held: Vec<Raw> = (0..3).map(|_| open_soon(&server, HERE)).collect();
    for _ in 0..10 {
        assert!(open(&server, HERE).expect("no waiting").is_none(), "one too many");
    }
    open(&server, ELSEWHERE).expect("no waiting").expect("others have theirs");
    drop(held.pop());
    held.push(open_soon(&server, HERE));
    assert!(server.log().contains("their address has as many as it may"));
    drop(held);
    assert!(server.stop().success());

    // Many people stand behind a proxy.
    let server = start(
        &home,
        &[
            "server.connections_per_address_max=3",
            "server.trusted_proxies=[\"127.0.0.1\"]",
            "server.forwarded_header=x-forwarded-for",
        ],
    );
    let _held: Vec<Raw> =
        (0..12).map(|_| open(&server, HERE).expect("no waiting").expect("a place")).collect();
    let _held: Vec<Raw> = (0..3).map(|_| open_soon(&server, ELSEWHERE)).collect();
    assert!(open(&server, ELSEWHERE).expect("no waiting").is_none(), "one too many");
}

#[test]
fn heads_and_bodies_that_do_not_come_on_are_given_up_and_are_in_nobodys_way() {
    let home = Home::prepared();
    let server = start(&home, &["server.head_timeout_ms=1000", "server.body_timeout_ms=1000"]);
    let begin = |bytes: &str| {
        let mut raw = server.raw_from(ELSEWHERE, &[]).expect("a place");
        raw.send(bytes.as_bytes()).expect("taken");
        raw
    };
    let key = home.key();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: 200\r\n\r\n"
    );
    let mut heads: Vec<Raw> =
        (0..20).map(|_| begin("GET /healthz HTTP/1.1\r\nhost: 127.0")).collect();
    let mut bodies: Vec<Raw> = (0..20).map(|_| begin(&format!("{head}{{\"model\":"))).collect();
    // One says nothing at all, not even in TLS.
    let silent = std::net::TcpStream::connect(server.base.trim_start_matches("https://"));
    let silent = silent.expect("a place");
    assert_eq!(server.client().get("/healthz").status, 200);
    for raw in &mut heads {
        let (took, said) = until_closed(raw);
        assert!(took < SOON, "{took:?}");
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 408 "), "no answer but that");
    }
    for raw in &mut bodies {
        let answer = raw.answer().expect("in time").expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    }
    silent.set_read_timeout(Some(SOON)).expect("a time above zero");
    let end = io::Read::read(&mut &silent, &mut [0; 64]);
    assert!(matches!(end, Ok(0)) || end.is_err_and(|error| has_closed(&error)), "closed");
}

#[test]
fn who_does_not_read_is_given_up() {
    let home = Home::prepared();
    let server =
        start(&home, &["server.write_timeout_ms=2000", "server.connections_per_address_max=1"]);
    let ask = format!("GET {LARGE} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    let mut slow = server.raw_from(ELSEWHERE, &[]).expect("a place");
    // Far more than the sockets of both sides hold.
    slow.send(ask.repeat(200).as_bytes()).expect("taken");
    slow.receive().expect("it is being answered");
    assert!(open(&server, ELSEWHERE).expect("no waiting").is_none(), "it holds its place");
    let begun = Instant::now();
    drop(open_soon(&server, ELSEWHERE));
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(server.log().contains("left before the end of the answer"));
    drop(slow);
}

#[test]
fn an_idle_connection_ends_and_one_that_is_used_goes_on() {
    let home = Home::prepared();
    let server = start(&home, &["server.keep_alive_s=2"]);
    let mut used = open_soon(&server, HERE);
    let mut idle = open_soon(&server, HERE);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        used.send(ALIVE).expect("it is open");
        assert_eq!(used.answer().expect("in time").expect("an answer").status, 200);
        std::thread::sleep(Duration::from_millis(200));
    }
    let (took, said) = until_closed(&mut idle);
    assert!(took < SOON && said.is_empty(), "{took:?}");
}

#[test]
fn who_leaves_before_the_answer_has_a_line_in_the_log() {
    let home = Home::prepared();
    let server = start(&home, &[]);
    let key = home.key();
    let body = json!({"model": GUIDE, "prompt": "Strongroom", "max_tokens": 400,
        "logit_bias": {"0": -100, "1": -100, "2": -100}});
    let body = body.to_string();
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut turn = 0;
    wait_for("a line for who left", || {
        let mut raw = server.raw();
        raw.send(request.as_bytes()).expect("taken");
        pause(&mut turn);
        drop(raw);
        std::thread::sleep(Duration::from_millis(200));
        let log = server.log();
        let mut left = log.lines().filter(|line| line.contains(" left "));
        left.any(|line| line.contains("499") && line.contains("/v1/completions"))
    });
    assert!(!server.log().contains(&key));
}

#[test]
fn requests_side_by_side_on_one_connection_are_bounded_and_unread_ones_given_up() {
    let home = Home::prepared();
    let server =
        start(&home, &["server.requests_per_connection_max=4", "server.write_timeout_ms=2000"]);
    let mut raw = server.raw_from(HERE, &["h2"]).expect("a place");
    raw.send(&frames::hello_without_windows()).expect("taken");
    for number in 0..5 {
        raw.send(&frames::get(2 * number + 1, LARGE)).expect("taken");
    }
    let (took, received) = until_closed(&mut raw);
    assert!(took > Duration::from_secs(1) && took < SOON, "{took:?}");
    let answers = frames::read(&received).into_iter().filter(|(kind, _, _)| *kind == 1);
    // 0x88 is `:status: 200`; the fifth is refused.
    let mut found: Vec<(u32, bool)> =
        answers.map(|(_, stream, block)| (stream, block.first() == Some(&0x88))).collect();
    let mut expected: Vec<(u32, bool)> = (0..5).map(|it| (2 * it + 1, it < 4)).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(server.client().get("/healthz").status, 200);
}

#[test]
fn refusals_that_are_not_read_end_the_connection() {
    let home = Home::prepared();
    let server = start(&home, &["server.requests_per_connection_max=4"]);
    let mut raw = server.raw_from(HERE, &["h2"]).expect("a place");
    raw.send(&frames::hello_without_windows()).expect("taken");
    // The fifth of those that are refused is one too many.
    let all: Vec<Vec<u8>> = (0..9).map(|number| frames::get(2 * number + 1, LARGE)).collect();
    raw.send(&all.concat()).expect("taken");
    let (took, _) = until_closed(&mut raw);
    assert!(took < SOON, "{took:?}");
    assert_eq!(server.client().get("/healthz").status, 200);
}

#[test]
fn heads_over_http_2_have_so_many_fields_in_one_frame_and_longer_ones_end_the_connection() {
    /// Those that say what is asked for.
    const BEGIN: usize = 4;
    let home = Home::prepared();
    let server = start(&home, &[]);
    let open = || {
        let mut raw = server.raw_from(HERE, &["h2"]).expect("a place");
        raw.send(&frames::hello()).expect("taken");
        raw
    };
    let mut raw = open();
    let mut received = Vec::new();
    raw.send(&frames::get_with(1, "/healthz", 256 - BEGIN)).expect("taken");
    let is_answered =
        |received: &[u8]| frames::read(received).iter().any(|(kind, _, _)| *kind == 1);
    while !is_answered(&received) {
        let bytes = raw.receive().expect("the connection stays open");
        assert!(!bytes.is_empty(), "the connection stays open");
        received.extend(bytes);
    }
    let before = server.peak_mib();
    // One field too many, more than one frame, and what would be a hundred times as large once it is read.
    for fields in [257 - BEGIN, 17_000, 400_000, 400_000, 400_000] {
        let mut raw = open();
        // It ends before all of it is sent.
        if let Err(error) = raw.send(&frames::get_with(1, "/healthz", fields)) {
            assert!(has_closed(&error), "{fields}: {error}");
        }
        let (took, received) = until_closed(&mut raw);
        assert!(took < SOON && !is_answered(&received), "{fields}: {took:?}");
    }
    let after = server.peak_mib();
    assert!(after < before + 8, "{before} MiB before, {after} MiB after");
    raw.send(&frames::get(3, "/healthz")).expect("others go on");
    assert_eq!(server.client().get("/healthz").status, 200);
}

#[test]
fn over_http_2_a_long_head_from_a_proxy_is_refused_alone() {
    let home = Home::prepared();
    let settings =
        ["server.trusted_proxies=[\"127.0.0.1\"]", "server.forwarded_header=x-forwarded-for"];
    let server = start(&home, &settings);
    let mut raw = server.raw_from(HERE, &["h2"]).expect("a place");
    raw.send(&frames::hello()).expect("taken");
    // In two frames, and of half a megabyte once it is read.
    raw.send(&frames::get_with(1, "/healthz", 17_000)).expect("taken");
    raw.send(&frames::get(3, "/healthz")).expect("others go on");
    let (mut received, mut found) = (Vec::new(), Vec::new());
    while found.len() < 2 {
        let bytes = raw.receive().expect("the connection stays open");
        assert!(!bytes.is_empty(), "the connection stays open");
        received.extend(bytes);
        let heads = frames::read(&received).into_iter().filter(|(kind, _, _)| *kind == 1);
        found = heads.map(|(_, stream, block)| (stream, block.first().copied())).collect();
    }
    found.sort_unstable();
    // `:status: 400` and `:status: 200`.
    assert_eq!(found, [(1, Some(0x8c)), (3, Some(0x88))]);
}
