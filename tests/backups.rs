//! Backups: made beside a running server and without one, verified, damaged, restored to a new
//! directory and over an old one.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Home, OWNER, PASSWORD, Server, Session, both, text, wait_for};
use serde_json::{Value, json};

const TITLE: &str = "Heron count";
const WRITERS: usize = 3;

/// A server in which something was said, and the conversation's id.
fn server_with_a_conversation(home: &Home) -> (Server, String) {
    let server = Server::start(home);
    let session = server.sign_in();
    let id = session.begin_conversation(TITLE);
    session.say(&id, "How do I make an API key?");
    (server, id)
}

fn paths_of(output: &Output) -> (PathBuf, PathBuf) {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let path = |name: &str| {
        let line = said.lines().find(|line| line.starts_with(name)).expect("names the file");
        PathBuf::from(line.split_whitespace().nth(1).expect("a path"))
    };
    (path("data"), path("keys"))
}

/// Makes a backup, and gives its data file and its key file.
fn back_up(home: &Home) -> (PathBuf, PathBuf) {
    let made = home.strongroom(&["backup", "create", "--to", text(&home.path("kept"))]);
    assert!(made.status.success(), "{}", both(&made));
    paths_of(&made)
}

/// Restores to another home, with the root key of this one.
fn restore(from: &Home, to: &Home, files: (&Path, &Path), more: &[&str]) -> Output {
    let root = from.data().join("keys/root.key");
    let (data, keys) = (text(files.0), text(files.1));
    let restore = ["backup", "restore", data, "--keys", keys, "--root-key", text(&root)];
    to.strongroom(&[&restore[..], more].concat())
}

#[test]
fn a_backup_made_beside_a_running_server_brings_everything_back() {
    let home = Home::prepared();
    let (mut server, id) = server_with_a_conversation(&home);
    let target = home.path("kept");
    let made = home.strongroom(&["backup", "create", "--to", text(&target)]);
    assert!(made.status.success(), "{}", both(&made));
    let (data, keys) = paths_of(&made);
    let before = server.sign_in().client.get(&format!("/api/conversations/{id}")).expect(200);
    server.assert_alive();
    for file in [&data, &keys] {
        let bytes = fs::read(file).expect("a backup file");
        assert!(!bytes.windows(TITLE.len()).any(|window| window == TITLE.as_bytes()));
    }
    assert!(server.stop().success());

    let root = home.data().join("keys/root.key");
    let elsewhere = Home::empty();
    let restore =
        ["backup", "restore", text(&data), "--keys", text(&keys), "--root-key", text(&root)];
    let restored = elsewhere.strongroom(&restore);
    assert!(restored.status.success(), "{}", both(&restored));
    let server = Server::start(&elsewhere);
    let session = Session::sign_in(server.client(), OWNER, PASSWORD);
    let after = session.client.get(&format!("/api/conversations/{id}")).expect(200);
    assert_eq!(after["messages"], before["messages"]);
    // A key that was made before may have been revoked since: it has to be made anew.
    assert_eq!(server.with_key(&home.key()).get("/v1/models").status, 401);
    let verified = elsewhere.strongroom(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", both(&verified));
}

#[test]
fn a_damaged_backup_is_refused_before_anything_is_touched() {
    let home = Home::prepared();
    let made = home.strongroom(&["backup", "create", "--to", text(&home.path("kept"))]);
    assert!(made.status.success(), "{}", both(&made));
    let (data, keys) = paths_of(&made);
    let root = home.data().join("keys/root.key");
    let whole = fs::read(&data).expect("a backup file");
    for at in [8, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let file = home.write("damaged", &damaged);
        let elsewhere = Home::empty();
        let restore =
            ["backup", "restore", text(&file), "--keys", text(&keys), "--root-key", text(&root)];
        let refused = elsewhere.strongroom(&restore);
        assert_eq!(refused.status.code(), Some(1), "byte {at}: {}", both(&refused));
        assert!(!elsewhere.data().join("strongroom.db").exists(), "byte {at}");
    }
}

#[test]
fn a_backup_made_while_people_write_has_all_that_was_acknowledged_before_it() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let session = server.sign_in();
    let acknowledged = Mutex::new(BTreeSet::new());
    let is_over = AtomicBool::new(false);
    let count = || acknowledged.lock().expect("no writer panicked").len();
    let (before, files) = std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (session, acknowledged, is_over) = (&session, &acknowledged, &is_over);
            scope.spawn(move || {
                for number in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let title = format!("writer {writer}, number {number}");
                    let id = session.begin_conversation(&title);
                    acknowledged.lock().expect("no writer panicked").insert((id, title));
                }
            });
        }
        wait_for("some writing", || count() >= 10);
        let before = acknowledged.lock().expect("no writer panicked").clone();
        let files = back_up(&home);
        let after = count();
        wait_for("some more writing", || count() > after);
        is_over.store(true, Ordering::Relaxed);
        (before, files)
    });
    assert!(server.stop().success());

    let elsewhere = Home::empty();
    let restored = restore(&home, &elsewhere, (&files.0, &files.1), &[]);
    assert!(restored.status.success(), "{}", both(&restored));
    let verified = elsewhere.strongroom(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", both(&verified));
    let server = Server::start(&elsewhere);
    let session = Session::sign_in(server.client(), OWNER, PASSWORD);
    for (id, title) in &before {
        let read = session.client.get(&format!("/api/conversations/{id}")).expect(200);
        assert_eq!(read["conversation"]["title"], *title);
    }
    // What came after is there as a whole or not at all, and something came after it.
    let acknowledged = acknowledged.into_inner().expect("no writer panicked");
    let later = acknowledged.difference(&before).map(|(id, title)| {
        let read = session.client.get(&format!("/api/conversations/{id}"));
        assert!(matches!(read.status, 200 | 404), "{}", read.text());
        if read.status == 200 {
            assert_eq!(read.expect(200)["conversation"]["title"], *title);
        }
        read.status
    });
    assert!(later.collect::<Vec<_>>().contains(&404), "the backup is of one moment");
}

#[test]
fn verifying_opens_whole_files_of_this_vault_and_no_others() {
    let home = Home::prepared();
    let (server, _) = server_with_a_conversation(&home);
    let (data, keys) = back_up(&home);
    let verify = |home: &Home, file: &Path| home.strongroom(&["backup", "verify", text(file)]);
    let beside = verify(&home, &data);
    assert_eq!(beside.status.code(), Some(0), "{}", both(&beside));
    assert!(both(&beside).contains("verified: a data file"), "{}", both(&beside));
    assert!(server.stop().success());
    for (file, says) in [(&data, "verified: a data file"), (&keys, "verified: a keys file")] {
        let verified = verify(&home, file);
        assert_eq!(verified.status.code(), Some(0), "{}", both(&verified));
        assert!(both(&verified).contains(says), "{}", both(&verified));
    }
    let stranger = Home::prepared();
    for file in [&data, &keys] {
        let whole = fs::read(file).expect("a backup file");
        let refused = |what: &str, home: &Home, file: &Path| {
            let refused = verify(home, file);
            assert_eq!(refused.status.code(), Some(1), "{what}: {}", both(&refused));
            assert!(!both(&refused).contains("verified"), "{what}: {}", both(&refused));
        };
        refused("another vault", &stranger, file);
        for at in [0, 8, 40, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            refused(&format!("byte {at}"), &home, &home.write("damaged", &damaged));
        }
        for cut in [0, 1, 64, whole.len() / 2, whole.len() - 1] {
            refused(&format!("cut at {cut}"), &home, &home.write("cut", &whole[..cut]));
        }
        refused("more at its end", &home, &home.write("more", [&whole[..], b"x"].concat()));
    }
    refused_as_missing(&verify(&home, &home.path("nowhere")));
}

fn refused_as_missing(output: &Output) {
    assert_eq!(output.status.code(), Some(1), "{}", both(output));
    assert!(both(output).contains("nowhere"), "{}", both(output));
}

#[test]
fn a_directory_that_is_in_use_is_replaced_only_when_that_is_said() {
    let home = Home::prepared();
    let (server, id) = server_with_a_conversation(&home);
    let (data, keys) = back_up(&home);
    assert!(server.stop().success());
    // The other home has data of its own, which is to survive.
    let other = Home::prepared();
    let server = Server::start(&other);
    let theirs = server.sign_in().begin_conversation("Already here");
    let files = (&*data, &*keys);
    let beside = restore(&home, &other, files, &["--replace"]);
    assert_eq!(beside.status.code(), Some(1), "a server has it: {}", both(&beside));
    assert!(both(&beside).contains("in use by process"), "{}", both(&beside));
    assert!(server.stop().success());
    let refused = restore(&home, &other, files, &[]);
    assert_eq!(refused.status.code(), Some(1), "{}", both(&refused));
    assert!(both(&refused).contains("holds data already"), "{}", both(&refused));
    // Nothing is moved for a backup that is not sound.
    let mut damaged = fs::read(&data).expect("a backup file");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let damaged = home.write("damaged", damaged);
    for files in [(&*damaged, &*keys), (&*keys, &*data), (&*data, &*damaged)] {
        let refused = restore(&home, &other, files, &["--replace"]);
        assert_eq!(refused.status.code(), Some(1), "{}", both(&refused));
    }
    let strange = restore(&other, &other, files, &["--replace"]);
    assert_eq!(strange.status.code(), Some(1), "another root key: {}", both(&strange));
    let server = Server::start(&other);
    server.sign_in().client.get(&format!("/api/conversations/{theirs}")).expect(200);
    assert!(server.stop().success());

    let replaced = restore(&home, &other, files, &["--replace"]);
    assert_eq!(replaced.status.code(), Some(0), "{}", both(&replaced));
    let server = Server::start(&other);
    let session = server.sign_in();
    session.client.get(&format!("/api/conversations/{id}")).expect(200);
    assert_eq!(session.client.get(&format!("/api/conversations/{theirs}")).status, 404);
    // The restore is on record in the log that goes on.
    let log = session.client.get("/api/admin/audit?action=backup.restore").expect(200);
    assert_eq!(log["events"].as_array().map(Vec::len), Some(1), "{log}");
    assert!(server.stop().success());
    // What was there lies beside it, whole.
    let said = both(&replaced);
    let aside = said.lines().find_map(|line| line.strip_prefix("What was there before lies in "));
    let aside = PathBuf::from(aside.expect("it is named").trim_end_matches('.'));
    let old = Home::empty();
    fs::rename(aside, old.data()).expect("it is there");
    let server = Server::start(&old);
    let read = server.sign_in().client.get(&format!("/api/conversations/{theirs}")).expect(200);
    assert_eq!(read["conversation"]["title"], "Already here");
}

#[test]
fn without_its_keys_a_backup_gives_back_accounts_and_no_words() {
    let home = Home::prepared();
    let (server, id) = server_with_a_conversation(&home);
    let (data, _) = back_up(&home);
    assert!(server.stop().success());
    let root = home.data().join("keys/root.key");
    let elsewhere = Home::empty();
    let restored =
        elsewhere.strongroom(&["backup", "restore", text(&data), "--root-key", text(&root)]);
    assert_eq!(restored.status.code(), Some(0), "{}", both(&restored));
    assert!(both(&restored).contains("keys of 0 people"), "{}", both(&restored));
    let server = Server::start(&elsewhere);
    let body = json!({"username": OWNER, "password": PASSWORD});
    let client = server.client();
    client.post("/api/session", &body);
    let read = client.get(&format!("/api/conversations/{id}"));
    assert_ne!(read.status, 200, "{}", read.text());
    assert!(!read.text().contains(TITLE), "{}", read.text());
    let listed: Value =
        serde_json::from_slice(&client.get("/api/conversations").body).unwrap_or_default();
    assert!(!listed.to_string().contains(TITLE), "{listed}");
}
