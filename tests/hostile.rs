//! Requests that nobody with good intentions sends. Each gets the right status and code in
//! OpenAI's error shape, learns nothing about the inside, and leaves the server standing.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::io::Write as _;

use common::{Answer, Client, GUIDE, Home, Server, Session};
use serde_json::{Value, json};

/// Stands in every text that is sent here, and must stand in no answer and no log.
const CANARY: &str = "vermilion-walrus";
const CHAT: &str = "/v1/chat/completions";

/// Holds an error against what a client may see.
fn check(what: &str, answer: &Answer, status: u16, code: &str) {
    let text = answer.text();
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {text}");
    let body: Value = serde_json::from_str(&text).expect("an error is JSON");
    let fields: Vec<&String> = body["error"].as_object().expect("an object").keys().collect();
    assert_eq!(fields, ["message", "type", "param", "code"], "{what}");
    for inside in [CANARY, "panicked", "src/", ".rs", "/tmp", "rusqlite", "SELECT", "stack"] {
        assert!(!text.contains(inside), "{what} shows `{inside}`: {text}");
    }
    assert!(answer.headers.contains_key("x-request-id"), "{what} has no request id");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{what}");
}

fn post(client: &Client, path: &str, kind: &str, body: impl Into<Vec<u8>>) -> Answer {
    let sent = client.try_send("POST", path, &[("content-type", kind)], Some(body.into()));
    sent.unwrap_or_else(|error| panic!("POST {path}: {error}"))
}

fn chat_body() -> Value {
    json!({"model": GUIDE, "max_tokens": 4, "messages": [{"role": "user", "content": CANARY}]})
}

fn changed(name: &str, value: Value) -> Value {
    let mut body = chat_body();
    body[name] = value;
    body
}

#[test]
fn bodies_that_are_not_json_are_refused() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let client = server.with_key(&home.key());
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(20_000), close.repeat(20_000));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("half an object", format!(r#"{{"model": "{CANARY}"#).into()),
        ("a trailing comma", r#"{"model": "guide",}"#.into()),
        ("two documents", r"{} {}".into()),
        ("single quotes", "{'model': 'guide'}".into()),
        ("a bare word", CANARY.into()),
        ("not a number", r#"{"temperature": NaN}"#.into()),
        ("a number without end", format!(r#"{{"temperature": {}"#, "9".repeat(100_000)).into()),
        ("a zero byte", b"{\"model\": \"a\0b\"}".to_vec()),
        ("bad UTF-8", b"{\"model\": \"\xff\xfe\"}".to_vec()),
        ("half a surrogate pair", br#"{"model": "\ud800"}"#.to_vec()),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("deep lists", deep("[", "]").into()),
        ("deep objects", format!("{}1{}", r#"{"a":"#.repeat(20_000), "}".repeat(20_000)).into()),
        ("deep content", format!(r#"{{"messages": {}}}"#, deep("[", "]")).into()),
    ];
    for (what, body) in cases {
        for path in [CHAT, "/v1/completions"] {
            let answer = post(&client, path, "application/json", body.clone());
            // A list where an object belongs is refused at its first byte, however deep it goes on.
            let code = if what == "deep lists" { "invalid_value" } else { "invalid_json" };
            check(what, &answer, 400, code);
        }
    }
    server.assert_alive();
    assert!(!server.log().contains(CANARY));
}

#[test]
fn values_of_the_wrong_type_are_refused_by_name() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let client = server.with_key(&home.key());
    let wrong = [json!({"a": [CANARY]}), json!([[CANARY]]), json!(-1e308), json!(CANARY)];
    for name in ["temperature", "top_p", "max_tokens", "seed", "logit_bias", "stream", "messages"] {
        for value in &wrong {
            if name == "logit_bias" && value.is_object() {
                continue;
            }
            let answer = client.post(CHAT, &changed(name, value.clone()));
            check(name, &answer, 400, "invalid_value");
            let body = answer.expect(400);
            let param = body["error"]["param"].as_str().expect("it names the parameter");
            assert!(param.starts_with(name), "{param} instead of {name}");
        }
    }
    for body in [json!([]), json!(null), json!("x"), json!(7)] {
        let answer = client.post(CHAT, &body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        check("not an object", &answer, 400, &answer.code());
    }
    check("unknown", &client.post(CHAT, &changed("colour", json!(1))), 400, "unknown_parameter");
    check("no model", &client.post(CHAT, &changed("model", json!(CANARY))), 404, "model_not_found");
    check(
        "a path",
        &client.post(CHAT, &changed("model", json!("../../etc/passwd"))),
        404,
        "model_not_found",
    );
    let missing = client.get(&format!("/v1/models/{CANARY}"));
    check("no such model", &missing, 404, "model_not_found");
    let doubled = post(
        &client,
        "/v1/completions",
        "application/json",
        format!(r#"{{"model": "{GUIDE}", "prompt": "{CANARY}", "prompt": "x"}}"#),
    );
    assert_eq!(doubled.status, 400, "{}", doubled.text());
    check("a doubled field", &doubled, 400, &doubled.code());
    let form = post(&client, CHAT, "application/x-www-form-urlencoded", "model=guide");
    check("a form", &form, 415, "unsupported_media_type");
    let plain = post(&client, CHAT, "text/plain", chat_body().to_string());
    check("plain text", &plain, 415, "unsupported_media_type");
    server.assert_alive();
    assert!(!server.log().contains(CANARY));
}

#[test]
fn bodies_of_ten_megabytes_are_refused_before_they_are_read() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let key = home.key();
    let size = 10 * 1024 * 1024;
    let mut body = format!(r#"{{"model": "{GUIDE}", "prompt": ""#).into_bytes();
    body.resize(size - 2, b'a');
    body.extend_from_slice(br#""}"#);
    for path in [CHAT, "/v1/completions"] {
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {size}\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(&body);
        if let Some(answer) = server.raw().exchange(&request) {
            check("a declared length", &answer, 413, "payload_too_large");
        }
        let mut chunked = format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        .into_bytes();
        for piece in body.chunks(65_536) {
            write!(chunked, "{:x}\r\n", piece.len()).expect("memory");
            chunked.extend_from_slice(piece);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        if let Some(answer) = server.raw().exchange(&chunked) {
            check("chunks without end", &answer, 413, "payload_too_large");
        }
        server.assert_alive();
    }
    let session = server.sign_in();
    let id = session.begin_conversation("large");
    let path = format!("/api/conversations/{id}/messages");
    let long = session.client.post(&path, &json!({"content": "a".repeat(1_900_000)}));
    assert!(matches!(long.status, 400 | 413), "{} {}", long.status, long.text());
    server.assert_alive();
}

/// The head of a request that is right, but for what a test does to it.
struct Heads {
    good: String,
    length: String,
    key: String,
}

impl Heads {
    fn of(home: &Home) -> Self {
        let key = home.key();
        let good = format!(
            "host: 127.0.0.1\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        );
        Self { good, length: format!("content-length: {}\r\n", chat_body().to_string().len()), key }
    }

    /// All lines but those that begin so.
    fn without(&self, name: &str) -> String {
        let kept = self.good.split_inclusive("\r\n").filter(|line| !line.starts_with(name));
        kept.collect::<String>() + &self.length
    }
}

fn ask_with(server: &Server, lines: &str) -> Option<Answer> {
    let request = format!("POST {CHAT} HTTP/1.1\r\n{lines}\r\n{}", chat_body());
    server.raw().exchange(request.as_bytes())
}

#[test]
fn heads_that_are_missing_or_doubled_are_refused() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let heads = Heads::of(&home);
    let Heads { good, length, key } = &heads;
    let right = ask_with(&server, &format!("{good}{length}")).expect("an answer");
    assert_eq!(right.status, 200);
    let cases = [
        ("no key", heads.without("authorization"), 401, "invalid_api_key"),
        ("no type", heads.without("content-type"), 415, "unsupported_media_type"),
        ("a foreign host", heads.without("host") + "host: evil.example\r\n", 421, "wrong_host"),
        (
            "two keys",
            format!("{good}{length}authorization: Bearer {key}\r\n"),
            400,
            "invalid_request",
        ),
        (
            "a key in two places",
            format!("{good}{length}x-api-key: {key}\r\n"),
            400,
            "invalid_request",
        ),
        (
            "a key and a cookie",
            format!("{good}{length}cookie: __Host-strongroom={key}\r\n"),
            400,
            "invalid_request",
        ),
        (
            "two types",
            format!("{good}{length}content-type: application/json\r\n"),
            415,
            "unsupported_media_type",
        ),
        (
            "another scheme",
            heads.without("authorization") + "authorization: Basic YTpi\r\n",
            401,
            "invalid_api_key",
        ),
        (
            "an empty key",
            heads.without("authorization") + "authorization: Bearer \r\n",
            401,
            "invalid_api_key",
        ),
    ];
    for (what, lines, status, code) in cases {
        let answer = ask_with(&server, &lines).unwrap_or_else(|| panic!("{what}: no answer"));
        check(what, &answer, status, code);
    }
    server.assert_alive();
    assert!(!server.log().contains(CANARY) && !server.log().contains(key));
}

#[test]
fn heads_that_http_forbids_never_succeed() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let heads = Heads::of(&home);
    let Heads { good, length, key } = &heads;
    // What HTTP itself forbids may be answered before any of our code runs; never with success.
    for (what, lines) in [
        ("no host", heads.without("host")),
        ("an empty host", heads.without("host") + "host: \r\n"),
        ("two hosts", format!("{good}host: 127.0.0.1\r\n{length}")),
        ("two lengths", format!("{good}{length}content-length: 1\r\n")),
        ("two equal lengths", format!("{good}{length}{length}")),
        ("a length and chunks", format!("{good}{length}transfer-encoding: chunked\r\n")),
        ("a length below zero", format!("{good}content-length: -1\r\n")),
        ("a length beyond all", format!("{good}content-length: 99999999999999999999999\r\n")),
        ("a folded line", format!("{good}{length}x-a: b\r\n c\r\n")),
        ("a zero byte", format!("{good}{length}x-a: b\0c\r\n")),
        ("a space before the colon", format!("{good}{length}x-a : b\r\n")),
        ("a head without end", format!("{good}{length}x-a: {}\r\n", "b".repeat(300_000))),
        ("heads without end", format!("{good}{length}{}", "x-a: b\r\n".repeat(5_000))),
    ] {
        if let Some(answer) = ask_with(&server, &lines) {
            assert!(answer.status >= 400, "{what}: {} {}", answer.status, answer.text());
            assert!(!answer.text().contains(CANARY), "{what}");
        }
    }
    server.assert_alive();
    assert!(!server.log().contains(CANARY) && !server.log().contains(key));
}

#[test]
fn addresses_and_methods_that_are_not_there_are_refused() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let client = server.with_key(&home.key());
    for path in [
        "/v1/nothing",
        "/v1/chat",
        "/v1/embeddings",
        "/v2/models",
        "/api/nothing",
        "/admin.php",
        "/static/../Cargo.toml",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/static/nothing.js",
        "/static/..%2f..%2fetc%2fpasswd",
        "/.git/config",
        "/.well-known/nothing",
        "//etc/passwd",
    ] {
        check(path, &client.get(path), 404, "not_found");
    }
    for (method, path) in [
        ("GET", CHAT),
        ("DELETE", "/v1/models"),
        ("PUT", "/api/session"),
        ("PATCH", CHAT),
        ("POST", "/readyz"),
        ("DELETE", "/"),
        ("TRACE", CHAT),
        ("OPTIONS", CHAT),
    ] {
        let answer = client.try_send(method, path, &[], None).expect("an answer");
        check(&format!("{method} {path}"), &answer, 405, "method_not_allowed");
    }
    for bytes in [
        &b"\x16\x03\x01 this is not HTTP\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\nhost: 127.0.0.1\r\n\r\n",
        b"GET \r\n\r\n",
        b"BREW / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        b"GET /%00%ff HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nhost: evil.example\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example:443\r\n\r\n",
    ] {
        if let Some(answer) = server.raw().exchange(bytes) {
            assert!(answer.status >= 400, "{bytes:?}: {}", answer.status);
        }
    }
    server.assert_alive();
}

#[test]
fn keys_that_are_wrong_revoked_or_expired_open_nothing() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let session = server.sign_in();
    let (revoked_id, revoked) = session.make_key(&json!({"name": "revoked"}));
    let (expired_id, expired) = session.make_key(&json!({"name": "expired", "expires_in_days": 1}));
    server.with_key(&revoked).get("/v1/models").expect(200);
    server.with_key(&expired).get("/v1/models").expect(200);
    let gone = session.client.send("DELETE", &format!("/api/me/keys/{revoked_id}"), None);
    assert_eq!(gone.status, 204, "{}", gone.text());
    check("revoked", &server.with_key(&revoked).post(CHAT, &chat_body()), 401, "invalid_api_key");

    let key = home.key();
    let (last, rest) = key.chars().next_back().zip(key.get(..key.len() - 1)).expect("a key");
    let near = format!("{rest}{}", if last == '0' { '1' } else { '0' });
    let long = "a".repeat(5_000);
    for (what, key) in [
        ("one letter off", near.as_str()),
        ("cut short", rest),
        ("no key at all", "sr-"),
        ("a word", CANARY),
        ("SQL", "sr-' OR '1'='1"),
        ("very long", &long),
    ] {
        check(what, &server.with_key(key).post(CHAT, &chat_body()), 401, "invalid_api_key");
    }
    assert!(server.stop().success());

    // A day passes: no clock can be turned from outside, so the end of the key is put into the past.
    let database = rusqlite::Connection::open(home.data().join("strongroom.db")).expect("it opens");
    let changed = database
        .execute("UPDATE api_keys SET expires_at = 1000 WHERE id = ?1", [&expired_id])
        .expect("the table is there");
    assert_eq!(changed, 1);
    drop(database);
    let mut server = Server::start(&home);
    check("expired", &server.with_key(&expired).post(CHAT, &chat_body()), 401, "invalid_api_key");
    check("revoked", &server.with_key(&revoked).post(CHAT, &chat_body()), 401, "invalid_api_key");
    server.with_key(&key).get("/v1/models").expect(200);
    server.assert_alive();
}

#[test]
fn what_belongs_to_somebody_else_is_not_there() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let owner = server.sign_in();
    let theirs = owner.begin_conversation(CANARY);
    let (their_key, _) = owner.make_key(&json!({"name": "theirs"}));
    let their_session = owner.me["session_id"].as_str().expect("an id").to_owned();
    let guest = server.invite(&owner, "member");

    let path = format!("/api/conversations/{theirs}");
    for (method, path, body) in [
        ("GET", path.clone(), None),
        ("PATCH", path.clone(), Some(json!({"title": "mine"}))),
        ("DELETE", path.clone(), None),
        ("POST", format!("{path}/messages"), Some(json!({"content": "hello"}))),
        ("POST", format!("{path}/stop"), None),
        ("GET", format!("{path}/stream"), None),
        ("DELETE", format!("/api/me/keys/{their_key}"), None),
        ("DELETE", format!("/api/me/sessions/{their_session}"), None),
    ] {
        let answer = guest.client.send(method, &path, body.as_ref());
        check(&format!("{method} {path}"), &answer, 404, "not_found");
        // Not there, and not somebody's, are the same to the last byte.
        let nowhere = path.replace(|c: char| c.is_ascii_digit(), "0");
        let other = guest.client.send(method, &nowhere, body.as_ref());
        assert_eq!((other.status, other.text()), (answer.status, answer.text()), "{method} {path}");
    }
    for id in ["x", "cnv_", "%00", "..", "cnv_zz", &"a".repeat(5_000)] {
        check(id, &guest.client.get(&format!("/api/conversations/{id}")), 404, "not_found");
    }
    for path in ["/api/admin/people", "/api/admin/audit", "/api/admin/overview"] {
        let answer = guest.client.get(path);
        assert!(matches!(answer.status, 403 | 404), "{path}: {}", answer.text());
    }
    owner.client.get(&path).expect(200);
    server.assert_alive();
}

#[test]
fn changes_need_the_token_of_the_page_and_its_origin() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let client = server.client();
    let body = json!({"username": common::OWNER, "password": common::PASSWORD});
    client.post("/api/session", &body).expect(200);
    // The same cookie jar, without the token.
    let answer = client.post("/api/conversations", &json!({"title": "x"}));
    check("no token", &answer, 403, "cross_origin");
    let forged = client.clone().with("x-strongroom-csrf", &"0".repeat(64));
    check("a forged token", &forged.post("/api/conversations", &json!({})), 403, "cross_origin");
    let session = server.sign_in();
    let foreign = session.client.clone().with("origin", "https://evil.example");
    check("another origin", &foreign.post("/api/conversations", &json!({})), 403, "cross_origin");
    let stranger = server.client();
    check("nobody", &stranger.get("/api/me"), 401, "not_signed_in");
    check("nobody", &stranger.get("/api/admin/people"), 401, "not_signed_in");
    let wrong = json!({"username": common::OWNER, "password": CANARY});
    check("wrong", &stranger.post("/api/session", &wrong), 401, "wrong_credentials");
    let nobody = json!({"username": "nobody", "password": CANARY});
    check("no such name", &stranger.post("/api/session", &nobody), 401, "wrong_credentials");
    server.assert_alive();
}
