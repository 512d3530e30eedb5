//! A disk that is full, one that cannot be written, a directory that is taken, and a database that is damaged
//! while the server runs.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::refusal::{CANARY, CHAT, chat_body, check};
use common::{Answer, GUIDE, Home, Server, both, skip, text};
use rusqlite::Connection;
use serde_json::{Value, json};

const DISK_MIB: u64 = 16;
/// What is left of the disk when it counts as full: less than any commit needs.
const FILLER_STEPS: [usize; 3] = [1 << 20, 4096, 1];
const RESPONSES: &str = "/v1/responses";
/// What people keep, what is kept of answers, and what is said to people.
const TABLES: [&str; 3] = ["responses", "kept_answers", "conversations"];

#[test]
fn a_full_disk_stores_nothing_says_so_and_loses_nothing() {
    let home = Home::empty();
    let Some(disk) = Disk::mount(&home.data()) else {
        skip("a_full_disk_stores_nothing_says_so_and_loses_nothing", "no disk may be mounted here");
        return;
    };
    home.init(&[]);
    let mut server = Server::start(&home);
    let session = server.sign_in();
    let kept = session.begin_conversation("before");
    let filler = disk.fill();
    // What still fits into pages that are there may be taken; then the answer is that it is full.
    let mut acknowledged = Vec::new();
    let refused = loop {
        let body = json!({"title": "word ".repeat(30)});
        let answer = session.client.post("/api/conversations", &body);
        if answer.status != 201 {
            break answer;
        }
        acknowledged.push(answer.expect(201)["id"].as_str().expect("an id").to_owned());
        assert!(acknowledged.len() < 100_000, "the disk is full, and yet everything fits");
    };
    check_full(&home, &refused);
    // That a conversation was opened goes on record, so it cannot be opened; its list can.
    let opened = session.client.get(&format!("/api/conversations/{kept}"));
    if opened.status != 200 {
        check_full(&home, &opened);
    }
    session.client.get("/api/conversations").expect(200);
    session.client.get("/api/me").expect(200);
    server.wait_until(503);

    fs::remove_file(filler).expect("it is there");
    server.wait_until(200);
    let after = session.begin_conversation("after");
    server.assert_alive();
    assert!(server.stop().success());
    let verified = home.strongroom(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", both(&verified));
    let server = Server::start(&home);
    let session = server.sign_in();
    for id in acknowledged.iter().chain([&kept, &after]) {
        session.client.get(&format!("/api/conversations/{id}")).expect(200);
    }
    drop(server);
    drop(disk);
}

#[test]
fn on_a_full_disk_every_answer_that_was_given_is_on_record() {
    let home = Home::empty();
    let Some(disk) = Disk::mount(&home.data()) else {
        skip(
            "on_a_full_disk_every_answer_that_was_given_is_on_record",
            "no disk may be mounted here",
        );
        return;
    };
    home.init(&[]);
    let mut server = Server::start(&home);
    let client = server.with_key(&home.key());
    let (mut given, mut refused) = (BTreeSet::new(), BTreeSet::new());
    let mut ask = |filled: &str| {
        let body = json!({"model": GUIDE, "max_tokens": 2, "prompt": "Strongroom is"});
        let answer = client.post("/v1/completions", &body);
        let id = answer.headers["x-request-id"].to_str().expect("text").to_owned();
        if answer.status == 200 {
            given.insert(id);
        } else {
            check_full(&home, &answer);
            assert!(!filled.is_empty(), "the disk is not full yet: {}", answer.text());
            refused.insert(id);
        }
        answer.status
    };
    assert_eq!(ask(""), 200);
    let filler = disk.fill();
    // What still fits into pages that are there may be taken; from the first refusal on, all is full.
    for number in 0.. {
        if ask("full") != 200 {
            break;
        }
        assert!(number < 10_000, "the disk is full, and yet everything fits");
    }
    for _ in 0..10 {
        ask("full");
    }
    let mut streamed = json!({"model": GUIDE, "max_tokens": 2, "stream": true});
    streamed["messages"] = json!([{"role": "user", "content": "hello"}]);
    let answer = client.post("/v1/chat/completions", &streamed);
    let id = answer.headers["x-request-id"].to_str().expect("text").to_owned();
    if answer.status == 200 {
        given.insert(id);
    } else {
        check_full(&home, &answer);
        refused.insert(id);
    }
    assert!(refused.len() > 1, "{refused:?}");
    // The operator is told in the server's own log.
    assert!(server.log().contains("the record cannot be written: nothing runs"));

    fs::remove_file(filler).expect("it is there");
    assert_eq!(
        client.post("/v1/completions", &json!({"prompt": "x", "max_tokens": 1})).status,
        200
    );
    server.assert_alive();
    assert!(server.stop().success());
    let export = home.strongroom(&["audit", "export"]);
    assert!(export.status.success(), "{}", both(&export));
    let export = String::from_utf8(export.stdout).expect("UTF-8");
    let events: Vec<Value> =
        export.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let started: BTreeSet<String> = events
        .iter()
        .filter(|event| event["action"] == "generation.start")
        .map(|event| event["request"].as_str().expect("a request").to_owned())
        .collect();
    assert!(given.is_subset(&started), "given {given:?}, on record {started:?}");
    assert!(refused.is_disjoint(&started), "refused {refused:?}, on record {started:?}");
    let verified = home.strongroom(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", both(&verified));
    drop(disk);
}

/// Holds a refusal against what it may say where the disk is full.
fn check_full(home: &Home, answer: &Answer) {
    let message = match answer.code().as_str() {
        "storage_full" => "The disk is full, so nothing was stored.",
        "audit_unavailable" => "The audit log cannot be written, so nothing was done.",
        other => panic!("{other}: {}", answer.text()),
    };
    assert_eq!(answer.expect(503)["error"]["message"], message);
    assert!(!answer.text().contains(text(&home.data())), "{}", answer.text());
}

#[test]
fn a_database_that_is_damaged_is_an_internal_error_which_tells_nothing_and_ends_where_it_is_mended()
{
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let (client, session) = (server.with_key(&home.key()), server.sign_in());
    let named = client.clone().with("idempotency-key", "once");
    let asked = json!({"model": GUIDE, "input": CANARY, "max_output_tokens": 2});
    let kept = client.post(RESPONSES, &asked).expect(200);
    let path = format!("{RESPONSES}/{}", kept["id"].as_str().expect("an id"));
    let following = with(&asked, "previous_response_id", &kept["id"]);
    let database = Connection::open(home.data().join("strongroom.db")).expect("it opens");
    let before = server.log().len();
    for table in TABLES {
        rename(&database, table, &format!("lost_{table}"));
    }

    let begun = json!({"title": CANARY});
    let failed = [
        ("what reads", client.get(&path)),
        ("what reads to go on", client.post(RESPONSES, &following)),
        ("what writes when all is said", client.post(RESPONSES, &asked)),
        ("what deletes", client.send("DELETE", &path, None)),
        ("what looks for an answer", named.post(CHAT, &chat_body())),
        ("what a person reads", session.client.get("/api/conversations")),
        ("what a person writes", session.client.post("/api/conversations", &begun)),
    ];
    let log = server.log().split_off(before);
    for (what, answer) in &failed {
        check(what, answer, 500, "internal_error");
        let error = answer.expect(500)["error"].clone();
        assert_eq!(error["type"], "server_error", "{what}");
        assert_eq!(error["param"], Value::Null, "{what}");
        assert_tells_nothing(what, answer);
        assert_is_found(what, answer, &log);
    }
    // Anthropic's clients read the same in their own shape.
    let theirs = named.post("/v1/messages", &chat_body());
    let body = theirs.expect(500);
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!("api_error")));
    assert_eq!(body["error"]["details"]["error_code"], "internal_error", "{body}");
    assert_tells_nothing("messages", &theirs);
    // An answer that has begun says it in its last event.
    let streamed = client.post(RESPONSES, &with(&asked, "stream", &json!(true)));
    assert_eq!(streamed.status, 200);
    let events = streamed.text();
    let (_, last) = events.rsplit_once("event: response.failed\ndata: ").expect("it failed");
    let last: Value = serde_json::from_str(last.trim()).expect("JSON");
    let error = &last["response"]["error"];
    assert_eq!(error["type"], "internal_error", "{last}");
    assert_eq!(error["message"], failed[0].1.expect(500)["error"]["message"]);
    assert_is_found("a stream", &streamed, &server.log());
    // What needs none of it goes on.
    client.post(CHAT, &chat_body()).expect(200);
    client.post(RESPONSES, &with(&asked, "store", &json!(false))).expect(200);
    let log = server.log().split_off(before);
    for secret in [CANARY, &home.key(), text(&home.data()), "panicked"] {
        assert!(!log.contains(secret), "the log shows `{secret}`: {log}");
    }

    for table in TABLES {
        rename(&database, &format!("lost_{table}"), table);
    }
    drop(database);
    assert_eq!(client.get(&path).expect(200), kept, "it is not deleted");
    client.post(RESPONSES, &asked).expect(200);
    client.post(RESPONSES, &following).expect(200);
    named.post(CHAT, &chat_body()).expect(200);
    session.begin_conversation("after");
    // What was not kept is not on record as kept.
    let stored = session.client.get("/api/admin/audit?action=response.store").expect(200);
    assert_eq!(stored["events"].as_array().map(Vec::len), Some(3), "{stored}");
    server.assert_alive();
    assert!(server.stop().success());
    let verified = home.strongroom(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", both(&verified));
}

/// The same body, with this in it too.
fn with(body: &Value, name: &str, value: &Value) -> Value {
    let mut body = body.clone();
    body[name] = value.clone();
    body
}

/// Takes a table away from under the server, or gives it back.
fn rename(database: &Connection, from: &str, to: &str) {
    database.execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}")).expect("it is there");
}

/// Holds the answer to what failed inside against what a client may read of it: that it failed.
fn assert_tells_nothing(what: &str, answer: &Answer) {
    let body = answer.text();
    for inside in ["no such table", "lost_", "strongroom.db", "SQL", "INSERT", CANARY] {
        assert!(!body.contains(inside), "{what} shows `{inside}`: {body}");
    }
    assert!(TABLES.iter().all(|table| !body.contains(table)), "{what} names a table: {body}");
    // It may work another time: clients ask again as they are used to.
    for header in ["retry-after", "x-should-retry"] {
        assert!(!answer.headers.contains_key(header), "{what} has {header}");
    }
}

/// The operator finds what went wrong by the id that the client was given.
fn assert_is_found(what: &str, answer: &Answer, log: &str) {
    let id = answer.headers["x-request-id"].to_str().expect("text");
    let line = log.lines().find(|line| line.contains(id) && line.contains("request failed"));
    let line = line.unwrap_or_else(|| panic!("{what}: nothing of {id} in the log: {log}"));
    assert!(line.contains("internal_error") && line.contains("no such table"), "{what}: {line}");
}

#[test]
fn a_full_disk_at_the_first_start_is_named() {
    let home = Home::empty();
    let Some(disk) = Disk::mount(&home.data()) else {
        skip("a_full_disk_at_the_first_start_is_named", "no disk may be mounted here");
        return;
    };
    disk.fill();
    let said = Server::launch(&home, &[]).err().expect("nothing can be made");
    assert!(said.contains("No space left") || said.contains("full"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let home = Home::empty();
    let Some(disk) = Disk::mount(&home.data()) else {
        skip("a_directory_that_cannot_be_written_is_named", "no disk may be mounted here");
        return;
    };
    home.init(&[]);
    disk.forbid_writing();
    let said = Server::launch(&home, &[]).err().expect("it cannot be locked");
    assert!(said.contains("Read-only file system"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_directory_that_others_can_open_is_refused() {
    let home = Home::prepared();
    fs::set_permissions(home.data(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let said = Server::launch(&home, &[]).err().expect("others could read it");
    assert!(said.contains("chmod 700"), "{said}");
}

#[test]
fn a_second_server_is_told_who_holds_the_directory() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let said = Server::launch(&home, &[]).err().expect("one at a time");
    assert!(said.contains("in use by process"), "{said}");
    for command in [&["user", "list"][..], &["key", "create", "--user", "x", "--out", "y"]] {
        let output = home.strongroom(command);
        assert!(!output.status.success());
        assert!(both(&output).contains("in use by process"), "{}", both(&output));
    }
    server.assert_alive();
    server.kill();
    // However it ended, the next one may begin.
    assert!(Server::start(&home).stop().success());
}

#[test]
fn a_directory_without_its_root_key_is_refused_and_left_alone() {
    let home = Home::prepared();
    fs::remove_dir_all(home.data().join("keys")).expect("it is there");
    let before = fs::read(home.data().join("strongroom.db")).expect("it is there");
    let said = Server::launch(&home, &[]).err().expect("nothing could be read");
    assert!(said.contains("no root key"), "{said}");
    let after = fs::read(home.data().join("strongroom.db")).expect("it is there");
    assert!(before == after, "the database was changed");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let address = server.base.strip_prefix("https://").expect("it speaks TLS").to_owned();
    let other = Home::prepared();
    let output = other.strongroom(&["serve", "--listen", &address]);
    assert!(!output.status.success());
    assert!(both(&output).contains(&address), "{}", both(&output));
}

/// A small disk in memory, mounted for one test.
struct Disk(PathBuf);

impl Disk {
    /// Mounts one; none where this user may not, or the system has none.
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).expect("the directory can be written");
        fs::set_permissions(at, fs::Permissions::from_mode(0o700)).expect("it is ours");
        let options = format!("size={DISK_MIB}m,mode=700");
        let mounted = run("mount", &["-t", "tmpfs", "-o", &options, "strongroom-test", text(at)]);
        if !mounted {
            fs::remove_dir(at).expect("it is empty");
            return None;
        }
        Some(Self(at.to_owned()))
    }

    /// Takes all the room that is left, and gives the file that takes it.
    fn fill(&self) -> PathBuf {
        use std::io::Write;
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).expect("an entry in the directory");
        for step in FILLER_STEPS {
            let bytes = vec![0_u8; step];
            while file.write_all(&bytes).is_ok() {}
        }
        path
    }

    fn forbid_writing(&self) {
        assert!(run("mount", &["-o", "remount,ro", text(&self.0)]), "it is our own mount");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["--lazy", text(&self.0)]);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}
