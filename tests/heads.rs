//! Heads of requests that are missing, doubled or forbidden, and addresses and methods that are not
//! there. Every one is answered, none with success.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use common::refusal::{CANARY, CHAT, chat_body, check};
use common::{Answer, Home, Server};

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

/// Holds an answer to what HTTP itself forbids: ours, with its code, or the bare one of the layer that
/// reads heads, which says nothing at all and ends the connection.
fn check_forbidden(what: &str, answer: &Answer, status: u16, code: Option<&str>) {
    if let Some(code) = code {
        return check(what, answer, status, code);
    }
    assert_eq!((answer.status, answer.body.len()), (status, 0), "{what}: {}", answer.text());
    assert_eq!(answer.headers["connection"], "close", "{what}");
    let mut names: Vec<&str> = answer.headers.keys().map(ureq::http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["connection", "content-length", "date"], "{what}");
}

#[test]
fn heads_that_http_forbids_never_succeed() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let heads = Heads::of(&home);
    let Heads { good, length, key } = &heads;
    let wrong_host = Some("wrong_host");
    for (what, lines, status, code) in [
        ("no host", heads.without("host"), 400, None),
        ("an empty host", heads.without("host") + "host: \r\n", 421, wrong_host),
        ("two hosts", format!("{good}host: 127.0.0.1\r\n{length}"), 400, None),
        ("two lengths", format!("{good}{length}content-length: 1\r\n"), 400, None),
        ("two equal lengths", format!("{good}{length}{length}"), 400, None),
        ("length and chunks", format!("{good}{length}transfer-encoding: chunked\r\n"), 400, None),
        ("a length below zero", format!("{good}content-length: -1\r\n"), 400, None),
        ("no number", format!("{good}content-length: 0x10\r\n"), 400, None),
        ("beyond all", format!("{good}content-length: 99999999999999999999999\r\n"), 400, None),
        ("a folded line", format!("{good}{length}x-a: b\r\n c\r\n"), 400, None),
        ("a zero byte", format!("{good}{length}x-a: b\0c\r\n"), 400, None),
        ("a space before the colon", format!("{good}{length}x-a : b\r\n"), 400, None),
        (
            "a line without end",
            format!("{good}{length}x-a: {}\r\n", "b".repeat(300_000)),
            431,
            None,
        ),
        ("lines without end", format!("{good}{length}{}", "x-a: b\r\n".repeat(5_000)), 431, None),
    ] {
        let answer = ask_with(&server, &lines).unwrap_or_else(|| panic!("{what}: no answer"));
        check_forbidden(what, &answer, status, code);
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
        let allowed = answer.headers["allow"].to_str().expect("text");
        assert!(!allowed.is_empty() && !allowed.contains(method), "{method} {path}: {allowed}");
    }
    for (bytes, status, code) in [
        (&b"\x16\x03\x01 this is not HTTP\r\n\r\n"[..], 400, None),
        (b"GET / HTTP/9.9\r\nhost: 127.0.0.1\r\n\r\n", 400, None),
        (b"GET \r\n\r\n", 400, None),
        (b"GET /\xff\xfe HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 400, None),
        (b"BREW / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 405, Some("method_not_allowed")),
        (b"GET /%00%ff HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 404, Some("not_found")),
        (
            b"GET http://evil.example/ HTTP/1.1\r\nhost: evil.example\r\n\r\n",
            421,
            Some("wrong_host"),
        ),
        (
            b"CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example:443\r\n\r\n",
            421,
            Some("wrong_host"),
        ),
    ] {
        let what = String::from_utf8_lossy(bytes).into_owned();
        let answer = server.raw().exchange(bytes).unwrap_or_else(|| panic!("{what}: no answer"));
        check_forbidden(&what, &answer, status, code);
    }
    server.assert_alive();
}
