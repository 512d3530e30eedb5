//! Whatever people put in, no file of the data directory shows: not the database, its write-ahead
//! log, the audit log, the keys, a backup, nor the server's own log, however much it says.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::client::StreamEvent;
use common::{GUEST_PASSWORD, GUIDE, Home, PASSWORD, Server, Session, both, text};
use serde_json::{Value, json};

const TITLE: &str = "Quarterly umbrella forecast";
const RENAMED: &str = "Lighthouse inventory";
const PROMPT: &str = "My cousin Barnaby keeps seventeen porcupines in Ljubljana.";
const SYSTEM: &str = "You are a taciturn cartographer from Reykjavik.";
const API_PROMPT: &str = "Please describe the marzipan zeppelin once more.";
const COMPLETION: &str = "The phosphorescent accordion of";
const STOP: &str = "kaleidoscopic";
const KEY_NAME: &str = "Turnip telemetry";
const SEARCH: &str = "rhododendron";
const WRONG_PASSWORD: &str = "twelve crows upon a rusty fence";

#[test]
fn no_file_shows_what_people_put_in() {
    look_everywhere(&[]);
}

#[test]
fn no_file_shows_it_where_the_log_says_all_it_can() {
    look_everywhere(&["--set", "logs.level=trace", "--set", "logs.format=json"]);
}

fn look_everywhere(settings: &[&str]) {
    let home = Home::prepared();
    let server = Server::start_with(&home, settings);
    let mut secrets = texts();
    secrets.push(("the key of init", home.key()));
    use_everything(&server, &home, &mut secrets);
    let needles = Needles::of(&secrets);
    // While the server runs, the newest rows stand in the write-ahead log.
    let wal = home.data().join("strongroom.db-wal");
    assert!(fs::metadata(&wal).is_ok_and(|found| found.len() > 0), "there is a write-ahead log");
    assert_hidden(&home, &needles);
    let backup = home.path("backup");
    let made = home.strongroom(&["backup", "create", "--to", text(&backup)]);
    assert!(made.status.success(), "{}", both(&made));
    assert!(server.stop().success());
    let mut files = Vec::new();
    collect(&backup, &mut files);
    assert_eq!(files.len(), 2, "the data and the keys: {files:?}");
    for file in &files {
        needles.assert_not_in(file, &fs::read(file).expect("it was made"));
    }
    for format in ["jsonl", "csv"] {
        let export = home.strongroom(&["audit", "export", "--format", format]);
        assert!(export.status.success(), "{}", both(&export));
        let lines = String::from_utf8_lossy(&export.stdout).lines().count();
        assert!(lines > 20, "everything is on record: {lines}");
        needles.assert_not_in(Path::new(format), &export.stdout);
    }
    assert_hidden(&home, &needles);
}

#[test]
fn what_is_in_a_file_would_be_found_in_every_form() {
    let secret = "a sentence of somebody";
    let needles = Needles::of(&[("a secret", secret.to_owned())]);
    let wide: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let plain = secret.as_bytes().to_vec();
    let mut shown =
        vec![wide, hex::encode(secret).into_bytes(), hex::encode_upper(secret).into_bytes()];
    for before in ["", "x", "xx", "xxx"] {
        let within = format!("{before}{secret}yy");
        shown.push(STANDARD.encode(&within).into_bytes());
        shown.push(URL_SAFE_NO_PAD.encode(&within).into_bytes());
    }
    shown.push(plain);
    for form in shown {
        let file = [b"\0\x01 before ", &form[..], b" after"].concat();
        assert!(needles.find(&file).is_some(), "{}", String::from_utf8_lossy(&form));
    }
    assert!(needles.find(b"a sentence of nobody").is_none());
}

fn texts() -> Vec<(&'static str, String)> {
    [
        ("a title", TITLE),
        ("a changed title", RENAMED),
        ("a prompt", PROMPT),
        ("part of a prompt", "Barnaby"),
        ("a system prompt", SYSTEM),
        ("part of a system prompt", "cartographer"),
        ("a prompt of a program", API_PROMPT),
        ("part of a prompt of a program", "marzipan"),
        ("a text to go on with", "phosphorescent"),
        ("a stop text", STOP),
        ("the name of a key", KEY_NAME),
        ("a password", PASSWORD),
        ("a guest's password", GUEST_PASSWORD),
        ("a wrong password", WRONG_PASSWORD),
        ("a search", SEARCH),
    ]
    .map(|(what, text)| (what, text.to_owned()))
    .to_vec()
}

/// Puts a text into every place that takes one, and adds the secrets that the server makes.
fn use_everything(server: &Server, home: &Home, secrets: &mut Vec<(&'static str, String)>) {
    let session = server.sign_in();
    let csrf = session.me["csrf"].as_str().expect("a token").to_owned();
    secrets.push(("the token of a page", csrf));
    let conversation = session.begin_conversation(TITLE);
    let events = session.say(&conversation, PROMPT);
    assert_eq!(events.last().map(|event| event.name.as_str()), Some("done"), "{events:?}");
    secrets.extend(sentences(&said(&events)).map(|text| ("an answer", text)));
    let path = format!("/api/conversations/{conversation}");
    session.client.send("PATCH", &path, Some(&json!({"title": RENAMED}))).expect(200);
    session.client.get(&format!("/api/conversations?search={SEARCH}")).expect(200);

    let (_, key) = session.make_key(&json!({"name": KEY_NAME}));
    secrets.push(("an API key", key.clone()));
    let program = server.with_key(&key);
    let chat = json!({"model": GUIDE, "max_tokens": 16, "stop": STOP, "messages": [
        {"role": "system", "content": SYSTEM}, {"role": "user", "content": API_PROMPT}]});
    program.post("/v1/chat/completions", &chat).expect(200);
    let text = json!({"model": GUIDE, "max_tokens": 16, "prompt": COMPLETION});
    program.post("/v1/completions", &text).expect(200);
    // Refused requests hold people's words too.
    let mut refused = chat.clone();
    refused["temperature"] = json!(API_PROMPT);
    program.post("/v1/chat/completions", &refused).expect(400);
    let wrong = json!({"username": common::OWNER, "password": WRONG_PASSWORD});
    server.client().post("/api/session", &wrong).expect(401);
    server.with_key(&format!("sr-{}", "0".repeat(48))).get("/v1/models").expect(401);
    assert_eq!(server.with_key(&home.key()).get("/v1/models").status, 200);
    invite(server, &session, secrets);
}

fn invite(server: &Server, owner: &Session, secrets: &mut Vec<(&'static str, String)>) {
    let person = json!({"username": "guest", "display_name": "Guest", "roles": ["member"]});
    let made = owner.client.post("/api/admin/people", &person).expect(201);
    let link = made["invitation_link"].as_str().expect("a link");
    let token = link.split_once('#').expect("a secret").1.to_owned();
    let client = server.client();
    let body = json!({"token": token, "password": GUEST_PASSWORD});
    let answer = client.post("/api/invitation", &body);
    answer.expect(201);
    secrets.push(("an invitation", token));
    let cookie = answer.headers["set-cookie"].to_str().expect("text");
    let value = cookie.split(['=', ';']).nth(1).expect("a value").to_owned();
    assert!(value.len() > 16);
    secrets.push(("a session", value));
}

fn said(events: &[StreamEvent]) -> String {
    let deltas = events.iter().filter(|event| event.name == "delta").map(StreamEvent::json);
    let text = |data: Value| data["text"].as_str().expect("text").to_owned();
    deltas.map(text).collect()
}

/// Pieces of an answer that are long enough not to stand elsewhere by chance.
fn sentences(text: &str) -> impl Iterator<Item = String> {
    text.split(['.', '\n']).map(str::trim).filter(|part| part.len() > 20).map(str::to_owned)
}

fn assert_hidden(home: &Home, needles: &Needles) {
    let mut files = home.logs();
    collect(&home.data(), &mut files);
    assert!(files.len() > 8, "the data directory holds files: {files:?}");
    for file in files {
        // A socket cannot be read, and holds nothing.
        let Ok(bytes) = fs::read(&file) else { continue };
        needles.assert_not_in(&file, &bytes);
    }
}

/// All secrets in all forms in which a program might have written them down.
struct Needles {
    forms: AhoCorasick,
    /// Which secret each form is of.
    names: Vec<&'static str>,
}

impl Needles {
    fn of(secrets: &[(&'static str, String)]) -> Self {
        let (mut forms, mut names) = (Vec::new(), Vec::new());
        for (name, secret) in secrets {
            let wide: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let mut own = vec![secret.as_bytes().to_vec(), wide];
            own.push(hex::encode(secret).into_bytes());
            own.push(hex::encode_upper(secret).into_bytes());
            own.extend(in_base64(secret.as_bytes()));
            names.extend(own.iter().map(|_| *name));
            forms.extend(own);
        }
        Self { forms: AhoCorasick::new(forms).expect("a few hundred short texts"), names }
    }

    fn find(&self, bytes: &[u8]) -> Option<(&'static str, usize)> {
        let found = self.forms.find(bytes)?;
        Some((self.names[found.pattern().as_usize()], found.start()))
    }

    fn assert_not_in(&self, file: &Path, bytes: &[u8]) {
        if let Some((name, place)) = self.find(bytes) {
            let around = &bytes[place.saturating_sub(200)..bytes.len().min(place + 100)];
            let around = String::from_utf8_lossy(around);
            panic!("{} shows {name} at byte {place}: {around}", file.display());
        }
    }
}

/// The letters that stand for these bytes alone, wherever in a longer text they begin.
fn in_base64(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..3).flat_map(move |before: usize| {
        let shifted = [&vec![0; before][..], bytes].concat();
        let shared_with_what_comes_before = (before * 8).div_ceil(6);
        let whole = shifted.len() * 8 / 6;
        [STANDARD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)]
            .map(|text| text.as_bytes()[shared_with_what_comes_before..whole].to_vec())
    })
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the directory can be read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
