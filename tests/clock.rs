//! A clock that goes back, and one that jumps ahead: the real binary under libfaketime.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::path::{Path, PathBuf};

use common::{Home, OWNER, PASSWORD, Server, Session, both, skip};
use serde_json::json;

fn library() -> Option<PathBuf> {
    let found = ["x86_64", "aarch64"].map(|machine| {
        PathBuf::from(format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1"))
    });
    found.into_iter().find(|path| path.exists())
}

fn start_at(home: &Home, library: &Path, offset: &str) -> Server {
    let library = library.display().to_string();
    // The library would also bend the clock by which threads wait.
    let server = Server::launch_with(
        home,
        &[],
        &[("LD_PRELOAD", &library), ("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")],
    );
    let server = server.unwrap_or_else(|why| panic!("no start at {offset}: {why}"));
    server.wait_until(200);
    server
}

#[test]
fn a_clock_that_goes_back_loses_nothing_and_keeps_the_log_in_order() {
    let Some(library) = library() else {
        return skip("clock", "libfaketime is not installed");
    };
    let home = Home::prepared();
    let ahead = start_at(&home, &library, "+2d");
    let session = ahead.sign_in();
    let id = session.begin_conversation("Said tomorrow");
    session.say(&id, "How do I make an API key?");
    let (_, key) = session.make_key(&json!({"name": "from tomorrow", "expires_in_days": 1}));
    assert!(ahead.stop().success());

    // Two days back: what was said is there, what was made works, and new events come after.
    let mut server = start_at(&home, &library, "+0");
    let session = Session::sign_in(server.client(), OWNER, PASSWORD);
    let read = session.client.get(&format!("/api/conversations/{id}")).expect(200);
    assert_eq!(read["messages"].as_array().map(Vec::len), Some(2));
    session.say(&id, "And how do I revoke it?");
    server.with_key(&key).get("/v1/models").expect(200);
    let events = session.client.get("/api/admin/audit?limit=200").expect(200);
    let times: Vec<String> = events["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| event["at"].as_str().expect("a time").to_owned())
        .collect();
    assert!(times.windows(2).all(|pair| pair[0] >= pair[1]), "newest first: {times:?}");
    server.assert_alive();
    assert!(server.stop().success());
    let verified = home.strongroom(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", both(&verified));

    // Ten days ahead: sessions and the key have ended, people can sign in again.
    let late = start_at(&home, &library, "+10d");
    assert_eq!(session.client.at(&late.base).get("/api/me").status, 401);
    assert_eq!(late.with_key(&key).get("/v1/models").status, 401);
    Session::sign_in(late.client(), OWNER, PASSWORD);
}
