//! Fifty sudden deaths under load. Whatever the server had acknowledged is there afterwards, to the
//! letter; the audit log verifies; no row is half there.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::client::StreamEvent;
use common::{Client, GUIDE, Home, OWNER, PASSWORD, Server, Session, both, wait_for};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

const KILLS: usize = 50;
const WRITERS: usize = 3;
const UNLIMITED: [&str; 12] = [
    "--set",
    "limits.person.requests_per_minute=0",
    "--set",
    "limits.person.tokens_per_minute=0",
    "--set",
    "limits.person.tokens_per_day=0",
    "--set",
    "limits.key.requests_per_minute=0",
    "--set",
    "limits.key.tokens_per_minute=0",
    "--set",
    "limits.key.tokens_per_day=0",
];

/// A conversation as the server acknowledged it.
#[derive(Clone, Debug)]
struct Promise {
    title: String,
    /// What was said, once its storing was acknowledged.
    said: Option<String>,
    /// The whole answer, once its end was acknowledged.
    answered: Option<String>,
}

/// Everything that was acknowledged, by conversation.
type Promises = Arc<Mutex<BTreeMap<String, Promise>>>;

#[test]
fn nothing_acknowledged_is_lost_in_fifty_kills() {
    let home = Home::prepared();
    let promises = Promises::default();
    let server = Server::start_with(&home, &UNLIMITED);
    let session = Session::sign_in(server.client(), OWNER, PASSWORD);
    let mut server = Some(server);
    for round in 0..KILLS {
        let running = server.take().expect("one was started");
        let before = promises.lock().expect("no writer panicked").len();
        die_under_load(running, &session, &home, round, &promises);
        // Every other time nothing but the server itself sees what the last one left behind.
        if round % 2 == 0 {
            let verified = home.strongroom(&["audit", "verify"]);
            assert!(verified.status.success(), "after kill {round}: {}", both(&verified));
        }
        let next = Server::start_with(&home, &UNLIMITED);
        let session = at(&session, &next);
        let verified = session.client.post("/api/admin/audit/verify", &json!({})).expect(200);
        assert_eq!(verified["ok"], true, "after kill {round}: {verified}");
        assert_rows_are_whole(&home);
        // The newest are what this kill could have hurt; all are looked at after the last one.
        let skipped = if round + 1 == KILLS { 0 } else { before.saturating_sub(10) };
        assert_kept(&session, &promises, skipped, round);
        server = Some(next);
    }
    let promises = promises.lock().expect("no writer panicked");
    let answered = promises.values().filter(|promise| promise.answered.is_some()).count();
    assert!(promises.len() >= KILLS, "there was load: {}", promises.len());
    assert!(answered >= KILLS / 2, "there were whole answers: {answered}");
    assert!(server.expect("the last one runs").stop().success());
}

/// Lets writers write until enough is acknowledged, kills the server in the middle of it, and waits
/// for the writers to notice.
fn die_under_load(
    server: Server,
    session: &Session,
    home: &Home,
    round: usize,
    promises: &Promises,
) {
    let acknowledged = AtomicUsize::new(0);
    // Another place each time: during the first writes, between answers, inside one.
    let enough = 4 + round * 7 % 40;
    let session = at(session, &server);
    let program = server.with_key(&home.key());
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (session, acknowledged) = (&session, &acknowledged);
            scope.spawn(move || write(session, round, writer, acknowledged, promises));
        }
        let acknowledged = &acknowledged;
        scope.spawn(move || call(&program, acknowledged));
        wait_for("enough to be acknowledged", || acknowledged.load(Ordering::Relaxed) >= enough);
        server.kill();
    });
}

/// Begins conversations and speaks in them until the server is gone.
fn write(
    session: &Session,
    round: usize,
    writer: usize,
    acknowledged: &AtomicUsize,
    promises: &Promises,
) {
    for number in 0.. {
        let title = format!("round {round}, writer {writer}, number {number}");
        let body = json!({ "title": title });
        let Some(made) = answer_of(&session.client, "/api/conversations", &body, 201) else {
            return;
        };
        let conversation = made.get("conversation").unwrap_or(&made);
        let id = conversation["id"].as_str().expect("an id").to_owned();
        let promise = Promise { title, said: None, answered: None };
        promises.lock().expect("no writer panicked").insert(id.clone(), promise);
        acknowledged.fetch_add(1, Ordering::Relaxed);
        if speak(session, &id, acknowledged, promises).is_none() {
            return;
        }
    }
}

/// Says something in a conversation; none where the server went away meanwhile.
fn speak(
    session: &Session,
    id: &str,
    acknowledged: &AtomicUsize,
    promises: &Promises,
) -> Option<()> {
    let words = format!("What can you do for {id}?");
    let path = format!("/api/conversations/{id}/messages");
    let mut answer = String::new();
    for StreamEvent { name, data } in
        session.client.try_stream(&path, &json!({ "content": words })).ok()?
    {
        // An event that broke off in the middle was not acknowledged.
        let data: Value = serde_json::from_str(&data).ok()?;
        match name.as_str() {
            "start" => change(promises, id, |promise| promise.said = Some(words.clone())),
            "delta" => answer.push_str(data["text"].as_str()?),
            "done" => {
                change(promises, id, |promise| promise.answered = Some(answer.clone()));
                acknowledged.fetch_add(1, Ordering::Relaxed);
                return Some(());
            }
            "error" => panic!("an answer failed while the server lived: {data}"),
            _ => {}
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    None
}

/// Calls as a program does until the server is gone.
fn call(client: &Client, acknowledged: &AtomicUsize) {
    let body = json!({"model": GUIDE, "max_tokens": 8,
        "messages": [{"role": "user", "content": "Hello"}]});
    while answer_of(client, "/v1/chat/completions", &body, 200).is_some() {
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// The body of an answer that must have this status; none where the server went away.
fn answer_of(client: &Client, path: &str, body: &Value, status: u16) -> Option<Value> {
    let bytes = body.to_string().into_bytes();
    let answer =
        client.try_send("POST", path, &[("content-type", "application/json")], Some(bytes)).ok()?;
    Some(answer.expect(status))
}

fn change(promises: &Promises, id: &str, how: impl FnOnce(&mut Promise)) {
    how(promises.lock().expect("no writer panicked").get_mut(id).expect("it was promised"));
}

/// Holds what is there against what was promised.
fn assert_kept(session: &Session, promises: &Promises, skipped: usize, round: usize) {
    let promises = promises.lock().expect("no writer panicked").clone();
    for (id, promise) in promises.iter().skip(skipped) {
        let read = session.client.get(&format!("/api/conversations/{id}")).expect(200);
        let place = format!("after kill {round}: {id}, promised {promise:?}, found {read}");
        assert_eq!(read["conversation"]["title"], promise.title, "{place}");
        assert!(read["active"].is_null(), "nothing runs after a start: {place}");
        let messages = read["messages"].as_array().expect("a list");
        assert!(messages.len() <= 2, "{place}");
        if let Some(said) = &promise.said {
            assert_eq!(messages[0]["role"], "user", "{place}");
            assert_eq!(messages[0]["content"], *said, "{place}");
        }
        if let Some(answered) = &promise.answered {
            assert_eq!(messages[1]["role"], "assistant", "{place}");
            assert_eq!(messages[1]["content"], *answered, "{place}");
        }
        // An answer that was cut off says that it has ended.
        if let Some(answer) = messages.get(1) {
            assert!(answer["finish_reason"].is_string(), "{place}");
        }
    }
}

/// Looks at the database as SQLite does: whole pages, whole rows, no row without its parent.
fn assert_rows_are_whole(home: &Home) {
    let path = home.data().join("strongroom.db");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(path, flags).expect("it opens");
    let check: String = database
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("the database can be read");
    assert_eq!(check, "ok");
    let mut orphans = database.prepare("PRAGMA foreign_key_check").expect("SQLite knows it");
    assert!(!orphans.exists([]).expect("the database can be read"), "a row without its parent");
}

fn at(session: &Session, server: &Server) -> Session {
    Session { client: session.client.clone().at(&server.base), me: session.me.clone() }
}
