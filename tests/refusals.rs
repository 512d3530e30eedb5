//! Every refusal of the table in docs/api.md is provoked from outside: most here, the rest where what it takes
//! is at hand. Each has the status, the type, the code and the parameter that the table and the specification
//! give it.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::refusal::{CHAT, chat_body, check, post};
use common::{Answer, Client, GUIDE, Home, OWNER, PASSWORD, Server, Session, text, wait_for};
use serde_json::{Value, json};

/// What it takes more to provoke, and the test that does.
const ELSEWHERE: &[(&str, &str)] = &[
    ("audit_unavailable", "disk.rs"),
    ("busy", "clients/python/test_calls.py"),
    ("concurrency_exceeded", "guarded.rs"),
    ("content_policy", "guarded.rs"),
    ("idempotency_in_progress", "idempotency.rs"),
    ("idempotency_key_reused", "idempotency.rs"),
    ("insufficient_quota", "guarded.rs"),
    ("internal_error", "disk.rs"),
    ("model_conflict", "models.rs"),
    ("model_memory", "models.rs"),
    ("rate_limit_exceeded", "guarded.rs"),
    ("request_exceeds_limit", "guarded.rs"),
    ("request_timeout", "connections.rs"),
    ("sealed", "sealed.rs"),
    ("shutting_down", "operations.rs"),
    ("storage_full", "disk.rs"),
];

/// One row of the table: status, code, type.
type Row = (u16, String, String);

/// The table of docs/api.md, which is made from the code.
fn table() -> Vec<Row> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let (_, rest) = page.split_once("<!-- table: errors -->").expect("the table begins");
    let (table, _) = rest.split_once("<!-- end -->").expect("the table ends");
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
        let status = cells.nth(1)?.parse().ok()?;
        Some((status, cells.next()?, cells.next()?))
    });
    rows.collect()
}

/// Holds an answer against the table, and notes that its code was provoked.
struct Judge {
    table: Vec<Row>,
    provoked: BTreeSet<String>,
}

impl Judge {
    fn hold(&mut self, code: &str, param: Option<&str>, answer: &Answer) {
        let row = self.table.iter().find(|row| row.1 == code);
        let (status, _, kind) = row.unwrap_or_else(|| panic!("no `{code}` in the table"));
        check(code, answer, *status, code);
        let error = answer.expect(*status)["error"].clone();
        assert_eq!(error["type"], json!(kind), "{error}");
        assert_eq!(error["param"], json!(param), "{error}");
        self.provoked.insert(code.to_owned());
    }
}

fn changed(name: &str, value: Value) -> Value {
    let mut body = chat_body();
    body[name] = value;
    body
}

/// What a program can do wrong.
fn of_programs(judge: &mut Judge, server: &Server, client: &Client) {
    let ask = |body: &Value| client.post(CHAT, body);
    judge.hold("invalid_request", Some("messages"), &ask(&json!({"model": GUIDE})));
    judge.hold("invalid_json", None, &post(client, CHAT, "application/json", "{"));
    judge.hold("invalid_value", Some("temperature"), &ask(&changed("temperature", json!(3))));
    judge.hold("unknown_parameter", Some("colour"), &ask(&changed("colour", json!(1))));
    judge.hold("unsupported_parameter", Some("audio"), &ask(&changed("audio", json!({}))));
    let long = json!([{"role": "user", "content": "word ".repeat(20_000)}]);
    judge.hold("context_length_exceeded", Some("messages"), &ask(&changed("messages", long)));
    judge.hold("model_not_found", Some("model"), &ask(&changed("model", json!("nobody"))));
    let untyped = post(client, CHAT, "text/plain", chat_body().to_string());
    judge.hold("unsupported_media_type", None, &untyped);
    let large = post(client, CHAT, "application/json", vec![b' '; 3 << 20]);
    judge.hold("payload_too_large", Some("body"), &large);
    judge.hold("not_found", None, &client.get("/v1/nothing"));
    judge.hold("method_not_allowed", None, &client.send("PUT", CHAT, None));
    judge.hold("invalid_api_key", None, &server.client().post(CHAT, &chat_body()));
    let elsewhere = server.raw().exchange(b"GET /healthz HTTP/1.1\r\nhost: evil.example\r\n\r\n");
    judge.hold("wrong_host", None, &elsewhere.expect("an answer"));
    judge.hold("model_not_ready", None, &ask(&changed("model", json!("broken"))));
    let mut endless = changed("max_tokens", json!(8_000));
    endless["model"] = json!("slow");
    endless["guided_regex"] = json!("[a-z ]{16000}");
    judge.hold("time_limit", None, &ask(&endless));
}

/// What a person can do wrong.
fn of_people(judge: &mut Judge, server: &Server, owner: &Session) {
    let stranger = server.client();
    judge.hold("not_signed_in", None, &stranger.get("/api/me"));
    let wrong = json!({"username": OWNER, "password": "not the password at all"});
    judge.hold("wrong_credentials", None, &stranger.post("/api/session", &wrong));
    let used = json!({"token": "0".repeat(64), "password": PASSWORD});
    judge.hold("link_expired", None, &stranger.post("/api/invitation", &used));
    let forged = owner.client.clone().with("origin", "https://evil.example");
    judge.hold("cross_origin", None, &forged.post("/api/conversations", &json!({})));
    let guest = server.invite(owner, "member");
    judge.hold("permission_denied", None, &guest.client.get("/api/admin/people"));

    let prompt = json!({"name": "Library", "text": "Be brief.", "roles": null, "models": null});
    let made = owner.client.post("/api/admin/prompts", &prompt).expect(201);
    let again = owner.client.post("/api/admin/prompts", &prompt);
    judge.hold("conflict", Some("name"), &again);
    let id = made["id"].as_str().expect("an id");
    owner.client.send("DELETE", &format!("/api/admin/prompts/{id}"), None).expect(204);
    let under = json!({"title": "x", "prompt": id});
    judge.hold("prompt_gone", Some("prompt"), &owner.client.post("/api/conversations", &under));

    // Somebody who guesses is slowed down; last, as it is by address.
    let mut guesses = (0..20).map(|_| stranger.post("/api/session", &wrong));
    let slowed = guesses.find(|answer| answer.status == 429).expect("nobody guesses for ever");
    judge.hold("sign_in_throttled", None, &slowed);
}

#[test]
fn every_refusal_of_the_table_is_provoked() {
    let home = Home::prepared();
    let broken = home.write("broken.gguf", "no model");
    let slow = home.path("slow.gguf");
    fs::write(&slow, with_long_context()).expect("writes");
    let settings = [
        "models.default=guide",
        "engine.request_limit_s=1",
        "limits.person.tokens_per_minute=0",
        "limits.person.requests_per_minute=0",
        "limits.key.tokens_per_minute=0",
        "limits.key.requests_per_minute=0",
    ];
    let mut arguments = vec!["--model", text(&broken), "--model", text(&slow)];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", *setting]));
    let mut server = Server::start_with(&home, &arguments);
    let (owner, client) = (server.sign_in(), server.with_key(&home.key()));
    wait_for("the files to be looked at", || {
        let models = owner.client.get("/api/admin/models").expect(200);
        let all = models["models"].as_array().expect("a list").clone();
        let state = |name: &str| {
            let model = all.iter().find(|model| model["id"] == name);
            model.map(|model| model["state"].clone())
        };
        state("broken") == Some(json!("failed")) && state("slow") == Some(json!("ready"))
    });
    let mut judge = Judge { table: table(), provoked: BTreeSet::new() };
    of_programs(&mut judge, &server, &client);
    of_people(&mut judge, &server, &owner);
    server.assert_alive();

    for (code, file) in ELSEWHERE {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
        let test = fs::read_to_string(path).expect("the test is there");
        assert!(test.contains(&format!("\"{code}\"")), "{file} does not provoke `{code}`");
        let is_new = judge.provoked.insert((*code).to_owned());
        assert!(is_new, "`{code}` is provoked here: it need not stand in the list");
    }
    let listed: BTreeSet<String> = judge.table.iter().map(|row| row.1.clone()).collect();
    assert_eq!(judge.provoked, listed);
}

/// The guide with a context that its answer does not fill within the time that a request has.
fn with_long_context() -> Vec<u8> {
    const KEY: &[u8] = b"llama.context_length";
    let mut file = fs::read(common::guide_file()).expect("the guide is there");
    let found = file.windows(KEY.len()).position(|window| window == KEY);
    // After the key comes the number of its type.
    let value = found.expect("it has one") + KEY.len() + 4;
    file[value..value + 4].copy_from_slice(&8_192u32.to_le_bytes());
    file
}
