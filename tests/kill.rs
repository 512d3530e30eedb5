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
const UNLIMITED: [&str; 16] = [
    "--set",
    "limits.person.requests_per_minute=0",
    "--set",
    "limits.person.tokens_per_minute=0",
    "--set",
    "limits.person.tokens_per_day=0",
    "--set",
    "limits.person.concurrent=0",
    "--set",
    "limits.key.requests_per_minute=0",
    "--set",
    "limits.key.tokens_per_minute=0",
    "--set",
    "limits.key.tokens_per_day=0",
    "--set",
    "limits.key.concurrent=0",
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

/// What one server has acknowledged so far.
#[derive(Default)]
struct Progress {
    conversations: AtomicUsize,
    /// Events of answers in conversations.
    events: AtomicUsize,
    /// Whole answers in conversations.
    answers: AtomicUsize,
    /// Answers to the program.
    calls: AtomicUsize,
    /// Writers that ended while the server was still meant to live.
    ended: AtomicUsize,
}

impl Progress {
    /// Waits for another place each time: during the first writes, inside an answer, and behind a
    /// whole one. It is counted in what was acknowledged, never in time: how many words a machine
    /// writes meanwhile does not matter.
    fn wait_for_the_place_of(&self, round: usize) {
        let (counter, enough) = match round % 5 {
            0 => (&self.conversations, 1 + round / 5 % WRITERS),
            1 => (&self.events, 1 + round * 7 % 40),
            2 => (&self.answers, 1),
            3 => (&self.answers, WRITERS + 1),
            _ => (&self.calls, 1 + round / 5 % 3),
        };
        wait_for("enough to be acknowledged", || {
            let ended = self.ended.load(Ordering::Relaxed);
            assert_eq!(ended, 0, "a writer was let down while the server lived");
            counter.load(Ordering::Relaxed) >= enough
        });
    }
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

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
    // Of five kills one waits for a whole answer and one for four: what was waited for was kept.
    let waited_for = KILLS / 5 * (1 + WRITERS + 1);
    assert!(answered >= waited_for, "there were whole answers: {answered} of {waited_for}");
    assert!(promises.len() > answered, "answers were cut off: {} and {answered}", promises.len());
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
    let progress = Progress::default();
    let session = at(session, &server);
    let program = server.with_key(&home.key());
    std::thread::scope(|scope| {
        let progress = &progress;
        for writer in 0..WRITERS {
            let session = &session;
            scope.spawn(move || {
                let _ended = Ended(progress);
                write(session, round, writer, progress, promises);
            });
        }
        scope.spawn(move || {
            let _ended = Ended(progress);
            call(&program, progress);
        });
        progress.wait_for_the_place_of(round);
        server.kill();
    });
}

/// Says that a writer has ended, however it did.
struct Ended<'a>(&'a Progress);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        count(&self.0.ended);
    }
}

/// Begins conversations and speaks in them until the server is gone.
fn write(session: &Session, round: usize, writer: usize, progress: &Progress, promises: &Promises) {
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
        count(&progress.conversations);
        if speak(session, &id, progress, promises).is_none() {
            return;
        }
    }
}

/// Says something in a conversation; none where the server went away meanwhile.
fn speak(session: &Session, id: &str, progress: &Progress, promises: &Promises) -> Option<()> {
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
                count(&progress.answers);
                return Some(());
            }
            "error" => panic!("an answer failed while the server lived: {data}"),
            _ => {}
        }
        count(&progress.events);
    }
    None
}

/// Calls as a program does until the server is gone.
fn call(client: &Client, progress: &Progress) {
    let body = json!({"model": GUIDE, "max_tokens": 8,
        "messages": [{"role": "user", "content": "Hello"}]});
    while answer_of(client, "/v1/chat/completions", &body, 200).is_some() {
        count(&progress.calls);
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
