//! The audit log as an auditor gets it: `audit export` gives what is there, and `audit verify` finds
//! every row and every line that somebody has touched, says where, and ends with exit code 3.

mod common;

use std::fs;
use std::path::Path;

use common::{Home, Server, both, text};
use rusqlite::Connection;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const SOUND: i32 = 0;
const FAILED: i32 = 1;
const FOUND: i32 = 3;

/// A home whose server has stopped, and the database as it was when an earlier one had.
fn log_of_two_runs() -> (Home, Vec<u8>) {
    let home = Home::prepared();
    let database = home.data().join("strongroom.db");
    let work = || {
        let server = Server::start(&home);
        let session = server.sign_in();
        let id = session.begin_conversation("On record");
        session.client.get(&format!("/api/conversations/{id}")).expect(200);
        assert!(server.stop().success());
        // All of it is to be in the one file.
        let rows = Connection::open(&database).expect("it opens");
        rows.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("nobody reads");
    };
    work();
    let earlier = fs::read(&database).expect("it is there");
    work();
    (home, earlier)
}

/// Another home with the same data.
fn copy(home: &Home) -> Home {
    let other = Home::empty();
    let status = std::process::Command::new("cp")
        .args(["-a", text(&home.data()), text(&other.data())])
        .status();
    assert!(status.is_ok_and(|status| status.success()));
    other
}

fn rows(home: &Home) -> Connection {
    Connection::open(home.data().join("strongroom.db")).expect("it opens")
}

fn sql(statement: impl Into<String>) -> impl Fn(&Home) {
    let statement = statement.into();
    move |home| rows(home).execute_batch(&statement).expect("the statement is sound")
}

fn number(home: &Home, query: &str) -> i64 {
    rows(home).query_row(query, [], |row| row.get(0)).expect("a number")
}

/// Changes the lines of the file of heads.
fn lines(change: impl Fn(&mut Vec<String>)) -> impl Fn(&Home) {
    move |home| {
        let path = home.data().join("audit/heads.log");
        let text = fs::read_to_string(&path).expect("it is there");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        change(&mut lines);
        fs::write(&path, lines.join("\n") + "\n").expect("it is ours");
    }
}

/// Puts another digit in the place of the last one.
fn damage(line: &mut String) {
    let last = line.pop().expect("a digit");
    line.push(if last == '0' { '1' } else { '0' });
}

/// Verifies, and gives the exit code and what was said.
fn verify(home: &Home, more: &[&str]) -> (Option<i32>, String) {
    let output = home.strongroom(&[&["audit", "verify"], more].concat());
    (output.status.code(), both(&output))
}

fn check(home: &Home, what: &str, tamper: impl Fn(&Home), says: &str) {
    let other = copy(home);
    tamper(&other);
    let (code, said) = verify(&other, &[]);
    assert_eq!(code, Some(FOUND), "{what}: {said}");
    assert!(said.contains("NOT VERIFIED") && said.contains("PROBLEM"), "{what}: {said}");
    assert!(said.contains(says), "{what} should say `{says}`: {said}");
    // A verification goes on record itself: the next one sees the same on a copy of its own.
    let other = copy(home);
    tamper(&other);
    let output = other.strongroom(&["audit", "verify", "--json"]);
    assert_eq!(output.status.code(), Some(FOUND), "{what}: {}", both(&output));
    let found: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(found["ok"], false, "{what}");
    let problems = found["problems"].as_array().expect("a list");
    let is_told = problems.iter().any(|one| one.as_str().is_some_and(|one| one.contains(says)));
    assert!(is_told, "{what}: {found}");
}

#[test]
fn a_log_that_is_not_there_is_named_once_with_what_may_help() {
    let home = Home::empty();
    for command in [&["audit", "verify"][..], &["doctor"]] {
        let output = home.strongroom(command);
        let said = both(&output);
        assert!(!output.status.success(), "{said}");
        assert_eq!(said.matches("strongroom.db").count(), 1, "{said}");
        assert!(said.contains("unable to open") && said.contains("--data-dir"), "{said}");
    }
}

#[test]
fn an_untouched_log_verifies_with_every_head_that_was_ever_kept() {
    let (home, earlier) = log_of_two_runs();
    let count_now = || number(&home, "SELECT count(*) FROM audit_events");
    let count = count_now();
    let (code, said) = verify(&home, &[]);
    assert_eq!(code, Some(SOUND), "{said}");
    assert_eq!(count_now(), count + 1, "a verification is on record");
    assert!(count > 8 && said.contains(&format!("verified: {count} events")), "{said}");
    let head = said.lines().find_map(|line| line.strip_prefix("head")).expect("a head").trim();
    // Those of now and of then: the log goes on from both.
    let then = copy(&home);
    fs::write(then.data().join("strongroom.db"), earlier).expect("it is ours");
    fs::remove_file(then.data().join("audit/heads.log")).expect("it is there");
    let (_, said_then) = verify(&then, &[]);
    let head_then = said_then.lines().find_map(|line| line.strip_prefix("head")).expect("a head");
    assert_ne!(head, head_then.trim());
    let (code, said) = verify(&home, &["--head", head, "--head", head_then.trim()]);
    assert_eq!(code, Some(SOUND), "{said}");
    let count = count_now();
    let output = home.strongroom(&["audit", "verify", "--json"]);
    assert_eq!(output.status.code(), Some(SOUND), "{}", both(&output));
    let found: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&found["ok"], &found["size"]), (&json!(true), &json!(count)));
    assert_eq!(found["root"].as_str().map(str::len), Some(64));
    // A running server is no hindrance.
    let server = Server::start(&home);
    assert_eq!(verify(&home, &["--head", head]).0, Some(SOUND));
    assert!(server.stop().success());
    for head in ["", "7", "7:", "7:zz", "x:00", &format!("{head}0")] {
        let (code, said) = verify(&home, &["--head", head]);
        assert_eq!(code, Some(FAILED), "{head}: {said}");
        assert!(said.contains("--head takes SIZE:ROOT"), "{head}: {said}");
    }
    assert_eq!(verify(&Home::empty(), &[]).0, Some(FAILED), "there is nothing to verify");
}

#[test]
fn events_that_were_touched_are_named() {
    let (home, _) = log_of_two_runs();
    let last = number(&home, "SELECT max(seq) FROM audit_events");
    let middle = last / 2;
    let (next, end) = (middle + 1, last - 2);
    let at = |set: &str| sql(format!("UPDATE audit_events SET {set} WHERE seq = {middle}"));
    let hash = format!("event {middle} was changed: its hash does not fit");
    let columns = format!("event {middle} was changed or moved: its columns");
    check(&home, "an edited text", at("body = CAST(replace(body, 'a', 'b') AS BLOB)"), &hash);
    check(&home, "an emptied text", at("body = x''"), &hash);
    check(&home, "an edited hash", at("leaf = zeroblob(32)"), &hash);
    check(&home, "a cut hash", at("leaf = x'00'"), &hash);
    check(&home, "another actor", at("actor = 'anonymous'"), &columns);
    check(&home, "another action", at("action = 'audit.read'"), &columns);
    check(&home, "another outcome", at("outcome = 'denied'"), &columns);
    check(&home, "another subject", at("subject = 'somebody'"), &columns);
    check(&home, "another time", at("at = at + 1"), &columns);
    let delete = |which: &str| sql(format!("DELETE FROM audit_events WHERE {which}"));
    let missing = |from: i64, to: i64| format!("events {from} to {to} are missing");
    check(&home, "the first is gone", delete("seq = 1"), &missing(1, 1));
    check(&home, "one is gone", delete(&format!("seq = {middle}")), &missing(middle, middle));
    let two = format!("seq IN ({middle}, {next})");
    check(&home, "two are gone", delete(&two), &missing(middle, next));
    let cut =
        format!("the log was cut short: the database covers {last} events, and there are {end}");
    check(&home, "the last are gone", delete(&format!("seq > {end}")), &cut);
    check(
        &home,
        "all are gone",
        delete("true"),
        &format!("the log was cut short: the database covers {last} events, and there are 0"),
    );
    let swap = format!(
        "UPDATE audit_events SET seq = -1 WHERE seq = {middle};
         UPDATE audit_events SET seq = {middle} WHERE seq = {next};
         UPDATE audit_events SET seq = {next} WHERE seq = -1;"
    );
    check(&home, "two have changed places", sql(swap), &columns);
    let added = format!(
        "INSERT INTO audit_events
         SELECT {last} + 1, at, action, outcome, actor, subject, request, body, leaf
         FROM audit_events WHERE seq = {last}"
    );
    let unsigned = format!("events {} to {} are under no signed head", last + 1, last + 1);
    check(&home, "one was added", sql(added), &unsigned);
}

#[test]
fn an_event_that_was_rewritten_with_its_hash_does_not_fit_what_was_signed() {
    let (home, _) = log_of_two_runs();
    let seq = number(&home, "SELECT max(seq) FROM audit_events WHERE action = 'session.create'");
    let rewrite = |home: &Home| {
        let rows = rows(home);
        let query = "SELECT body FROM audit_events WHERE seq = ?1";
        let body: Vec<u8> = rows.query_row(query, [seq], |row| row.get(0)).expect("the event");
        let mut body: Value = serde_json::from_slice(&body).expect("JSON");
        body["actor"] = json!("anonymous");
        let body = body.to_string().into_bytes();
        // RFC 6962, section 2.1: the hash of a leaf.
        let leaf = Sha256::new().chain_update([0]).chain_update(&body).finalize();
        let update =
            "UPDATE audit_events SET actor = 'anonymous', body = ?2, leaf = ?3 WHERE seq = ?1";
        rows.execute(update, (seq, body, &leaf[..])).expect("the statement is sound");
    };
    let says = format!("to {seq} are not those that were signed (the database)");
    check(&home, "rewritten", rewrite, &says);
    let says = format!("to {seq} are not those that were signed (heads.log)");
    check(&home, "rewritten", rewrite, &says);
}

#[test]
fn heads_that_were_touched_are_named() {
    let (home, _) = log_of_two_runs();
    let last = number(&home, "SELECT max(size) FROM audit_heads");
    let middle =
        number(&home, &format!("SELECT max(size) FROM audit_heads WHERE size < {last} / 2"));
    let at = |set: &str| sql(format!("UPDATE audit_heads SET {set} WHERE size = {middle}"));
    let signature = format!("the head over {middle} events in the database has a wrong signature");
    check(&home, "an edited signature", at("signature = zeroblob(64)"), &signature);
    check(&home, "an edited root", at("root = zeroblob(32)"), &signature);
    check(&home, "another time", at("signed_at = signed_at + 1"), &signature);
    let gone = format!("DELETE FROM audit_heads WHERE size = {middle}");
    let missing = format!("the head over {middle} events is missing in the database");
    check(&home, "a head is gone", sql(gone), &missing);
    let newest = "size = (SELECT max(size) FROM audit_heads)";
    let peaks = format!("UPDATE audit_heads SET peaks = zeroblob(length(peaks)) WHERE {newest}");
    check(&home, "edited peaks", sql(peaks), "the state from which the tree grows was changed");
    let both_cut = format!(
        "DELETE FROM audit_events WHERE seq > {middle};
        DELETE FROM audit_heads WHERE size > {middle};"
    );
    let cut =
        format!("the log was cut short: heads.log covers {last} events, and there are {middle}");
    check(&home, "events and heads are gone", sql(both_cut), &cut);

    let place = "line 2 of heads.log is damaged or out of order";
    check(&home, "a line of something else", lines(|lines| lines[1] = "x".into()), place);
    check(&home, "an empty line", lines(|lines| lines.insert(1, String::new())), place);
    check(&home, "a line twice", lines(|lines| lines.insert(1, lines[0].clone())), place);
    check(
        &home,
        "two lines have changed places",
        lines(|lines| lines.swap(0, 1)),
        "line 2 of heads.log is damaged or out of order",
    );
    check(
        &home,
        "an edited line",
        lines(|lines| damage(&mut lines[1])),
        "events in heads.log has a wrong signature",
    );
    let file = |name: &'static str| move |home: &Home| home.data().join("audit").join(name);
    let remove = |name| move |home: &Home| fs::remove_file(file(name)(home)).expect("it is there");
    check(&home, "the file of heads is gone", remove("heads.log"), "heads.log is missing");
    check(&home, "the key is gone", remove("public.key"), "public.key is missing or damaged");
    let write = |content: String| {
        move |home: &Home| fs::write(file("public.key")(home), &content).expect("it is ours")
    };
    check(&home, "no key", write("key\n".into()), "public.key is missing or damaged");
    let stranger = Home::prepared();
    let other = fs::read_to_string(stranger.data().join("audit/public.key")).expect("it is there");
    check(&home, "another key", write(other), "has a wrong signature");
}

#[test]
fn a_log_that_was_set_back_is_found_by_a_later_head() {
    let (home, earlier) = log_of_two_runs();
    let last = number(&home, "SELECT max(seq) FROM audit_events");
    let set_back = |home: &Home| {
        fs::write(home.data().join("strongroom.db"), &earlier).expect("it is ours");
        // What the log ahead of it holds is of later.
        for name in ["strongroom.db-wal", "strongroom.db-shm"] {
            let _ = fs::remove_file(home.data().join(name));
        }
    };
    let there = {
        let other = copy(&home);
        set_back(&other);
        number(&other, "SELECT max(seq) FROM audit_events")
    };
    assert!(there < last);
    let cut =
        format!("the log was cut short: heads.log covers {last} events, and there are {there}");
    check(&home, "an earlier database", set_back, &cut);

    // The server that starts on it says so, and goes on record with it.
    let other = copy(&home);
    set_back(&other);
    let server = Server::start(&other);
    let session = server.sign_in();
    let gaps = session.client.get("/api/admin/audit?action=audit.gap").expect(200);
    assert_eq!(gaps["events"].as_array().map(Vec::len), Some(1), "{gaps}");
    let verified = session.client.post("/api/admin/audit/verify", &json!({})).expect(200);
    assert_eq!(verified["ok"], false, "{verified}");
    assert!(server.log().contains("the audit log and the file of its heads differ"));
    assert!(server.stop().success());
    assert_eq!(verify(&other, &[]).0, Some(FOUND), "and it stays found");

    // Set back as a whole, only a head that was kept elsewhere knows better.
    let (_, said) = verify(&home, &[]);
    let head = said.lines().find_map(|line| line.strip_prefix("head")).expect("a head").trim();
    let keep = |lines: &mut Vec<String>| {
        lines.retain(|line| {
            line.split(' ')
                .next()
                .is_some_and(|size| size.parse::<i64>().is_ok_and(|size| size <= there))
        });
    };
    let whole = || {
        let other = copy(&home);
        set_back(&other);
        lines(keep)(&other);
        other
    };
    let (code, said) = verify(&whole(), &[]);
    assert_eq!(code, Some(SOUND), "{said}");
    let (code, said) = verify(&whole(), &["--head", head]);
    assert_eq!(code, Some(FOUND), "{said}");
    let cut = format!("the head kept elsewhere covers {last} events, and there are {there}");
    assert!(said.contains(&cut), "{said}");
    // A head of another log fits nowhere, whatever its size.
    for size in [1, there, last] {
        let strange = format!("{size}:{}", "0".repeat(64));
        let (code, said) = verify(&home, &["--head", &strange]);
        assert_eq!(code, Some(FOUND), "{strange}: {said}");
        let says = format!("to {size} are not those that were signed (the head kept elsewhere)");
        assert!(said.contains(&says), "{strange}: {said}");
    }
}

#[test]
fn an_export_holds_every_event_in_order_as_it_was_hashed() {
    let (home, _) = log_of_two_runs();
    let leaves_now = || {
        let rows = rows(&home);
        let sql = "SELECT leaf FROM audit_events ORDER BY seq";
        let mut statement = rows.prepare(sql).expect("sound");
        let leaves = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("rows");
        leaves.map(|leaf| leaf.expect("bytes")).collect::<Vec<_>>()
    };
    let export = |more: &[&str]| {
        let output = home.strongroom(&[&["audit", "export"], more].concat());
        assert_eq!(output.status.code(), Some(SOUND), "{}", both(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let whole = export(&[]);
    let leaves = leaves_now();
    // The export itself is on record: its beginning is in what it exports, its end is not.
    assert_eq!(whole.lines().count() + 1, leaves.len());
    for (at, line) in whole.lines().enumerate() {
        let event: Value = serde_json::from_str(line).expect("one JSON object a line");
        assert_eq!(event["seq"], at + 1);
        assert_eq!(Sha256::new().chain_update([0]).chain_update(line).finalize()[..], leaves[at]);
    }
    let tail: Vec<&str> = whole.lines().skip(5).collect();
    let later = export(&["--after", "5"]);
    assert_eq!(later.lines().take(tail.len()).collect::<Vec<_>>(), tail);
    assert_eq!(export(&["--after", "1000000"]), "");
    let count = leaves_now().len();
    let table = export(&["--format", "csv"]);
    assert!(table.starts_with("seq,at,action,outcome,actor,subject,address,request,detail\n"));
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let actions: Vec<String> =
        reader.records().map(|row| row.expect("a row").get(2).expect("a cell").into()).collect();
    assert_eq!(actions.len(), count + 1);
    assert!(actions.iter().any(|action| action == "conversation.read"), "{actions:?}");

    let file = home.path("audit.jsonl");
    let count = leaves_now().len();
    let said = export(&["--out", text(&file)]);
    assert!(said.contains(&format!("Wrote {} events", count + 1)), "{said}");
    assert!(fs::read_to_string(&file).expect("it was written").starts_with(&whole));
    // Nothing that is there is overwritten, and what cannot be done is no success.
    let nowhere = home.path("nowhere/audit.jsonl");
    for (out, says) in [(&file, "cannot be made"), (&nowhere, "cannot be made")] {
        refused(&home, &["audit", "export", "--out", text(out)], FAILED, says);
    }
    refused(&home, &["audit", "export", "--format", "xml"], 2, "xml");
    refused(&home, &["audit", "export", "--after", "-1"], 2, "-1");
    refused(&Home::empty(), &["audit", "export"], FAILED, "holds no data of a server");
    assert!(fs::read_to_string(&file).expect("it was written").starts_with(&whole));
    let beside = Server::start(&home);
    assert!(export(&[]).starts_with(&whole), "a running server is no hindrance");
    assert!(beside.stop().success());
    assert!(!Path::new(&nowhere).exists());
}

fn refused(home: &Home, arguments: &[&str], code: i32, says: &str) {
    let output = home.strongroom(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", both(&output));
    assert!(both(&output).contains(says), "{arguments:?}: {}", both(&output));
}
