//! Clients who leave before their answer is there: the work for them ends, whichever way they speak HTTP.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::time::Duration;

use common::raw::Raw;
use common::{GUIDE, Home, Server, Session, frames, pause, wait_for};
use serde_json::{Value, json};

const PATH: &str = "/v1/completions";

/// Many words, none of which ends the answer.
fn long(is_streamed: bool) -> String {
    json!({"model": GUIDE, "prompt": "Strongroom", "max_tokens": 400, "stream": is_streamed,
        "logit_bias": {"0": -100, "1": -100, "2": -100}})
    .to_string()
}

/// How the generations ended, the newest first.
fn ends(owner: &Session) -> Vec<String> {
    let told = owner.client.get("/api/admin/audit?action=generation.end").expect(200);
    let events = told["events"].as_array().expect("a list");
    let outcome = |event: &Value| event["outcome"].as_str().expect("a text").to_owned();
    events.iter().map(outcome).collect()
}

/// An answer over HTTP/2 to a request on this stream.
fn is_answered(raw: &mut Raw, stream: u32) -> bool {
    let mut received = Vec::new();
    loop {
        let bytes = raw.receive().expect("the connection stays open");
        assert!(!bytes.is_empty(), "the connection stays open");
        received.extend(bytes);
        let mut frames = frames::read(&received).into_iter();
        if let Some((_, _, block)) = frames.find(|(kind, of, _)| (*kind, *of) == (1, stream)) {
            // `:status: 200`
            return block.first() == Some(&0x88);
        }
    }
}

#[test]
fn a_stream_that_is_reset_ends_its_work_and_no_other() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let (owner, key) = (server.sign_in(), home.key());
    for is_streamed in [false, true] {
        let mut raw = server.raw_from("127.0.0.1", &["h2"]).expect("a place");
        raw.send(&frames::hello()).expect("taken");
        let before = ends(&owner).len();
        let (mut stream, mut turn) = (1, 0);
        wait_for("an answer that was ended", || {
            raw.send(&frames::post(stream, PATH, &key, &long(is_streamed))).expect("taken");
            pause(&mut turn);
            raw.send(&frames::reset(stream)).expect("taken");
            stream += 2;
            std::thread::sleep(Duration::from_millis(500));
            // Those that came since; the newest are the first.
            let ends = ends(&owner);
            ends.iter().take(ends.len() - before).any(|outcome| outcome == "cancelled")
        });
        raw.send(&frames::get(stream, "/healthz")).expect("taken");
        assert!(is_answered(&mut raw, stream), "others on the connection go on");
        let said = if is_streamed { "left before the end of the answer" } else { " left" };
        wait_for("a line for who left", || {
            let log = server.log();
            let mut left = log.lines().filter(|line| line.contains("499") && line.contains(PATH));
            left.any(|line| line.contains(said))
        });
    }
}

#[test]
fn a_connection_that_ends_takes_the_work_of_its_streams_with_it() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let (owner, key) = (server.sign_in(), home.key());
    for is_streamed in [false, true] {
        let cancelled = || ends(&owner).iter().filter(|outcome| *outcome == "cancelled").count();
        let before = cancelled();
        let mut turn = 0;
        wait_for("an answer that was ended", || {
            let mut raw = server.raw_from("127.0.0.1", &["h2"]).expect("a place");
            raw.send(&frames::hello()).expect("taken");
            raw.send(&frames::post(1, PATH, &key, &long(is_streamed))).expect("taken");
            pause(&mut turn);
            drop(raw);
            std::thread::sleep(Duration::from_millis(500));
            cancelled() > before
        });
    }
}

#[test]
fn who_stays_is_answered_over_http_2() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let mut raw = server.raw_from("127.0.0.1", &["h2"]).expect("a place");
    raw.send(&frames::hello()).expect("taken");
    raw.send(&frames::post(1, PATH, &home.key(), &long(false))).expect("taken");
    assert!(is_answered(&mut raw, 1));
    assert_eq!(ends(&server.sign_in()), ["done"]);
}
