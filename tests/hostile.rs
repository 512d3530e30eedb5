//! Bodies that nobody with good intentions sends, to every address that takes one. Each gets the right
//! status and code in OpenAI's error shape, learns nothing about the inside, and leaves the server
//! standing.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::io::Write as _;

use common::refusal::{CANARY, CHAT, chat_body, check, post};
use common::{GUIDE, Home, Server, Session};
use serde_json::{Value, json};

fn changed(name: &str, value: Value) -> Value {
    let mut body = chat_body();
    body[name] = value;
    body
}

/// Bodies that are no JSON in UTF-8, or not one document of it, whatever `field` is.
fn broken_bodies(field: &str) -> Vec<(&'static str, Vec<u8>)> {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(20_000), close.repeat(20_000));
    let bytes = |value: &[u8]| [b"{\"", field.as_bytes(), b"\": ", value, b"}"].concat();
    vec![
        ("nothing", vec![]),
        ("half an object", format!(r#"{{"{field}": "{CANARY}"#).into()),
        ("a trailing comma", format!(r#"{{"{field}": "{CANARY}",}}"#).into()),
        ("single quotes", format!("{{'{field}': '{CANARY}'}}").into()),
        ("a bare word", CANARY.into()),
        ("not a number", bytes(b"NaN")),
        ("a number without end", bytes("9".repeat(50_000).as_bytes())),
        ("a zero byte", bytes(b"\"a\0b\"")),
        ("bad UTF-8", bytes(b"\"\xff\xfe\"")),
        ("half a surrogate pair", bytes(br#""\ud800""#)),
        ("a byte order mark", [b"\xef\xbb\xbf", &bytes(b"\"a\"")[..]].concat()),
        ("deep objects", format!("{}1{}", r#"{"a":"#.repeat(8_000), "}".repeat(8_000)).into()),
        ("deep content", bytes(deep("[", "]").as_bytes())),
        ("deep lists", deep("[", "]").into()),
    ]
}

#[test]
fn bodies_that_are_not_json_are_refused() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let client = server.with_key(&home.key());
    for path in [CHAT, "/v1/completions"] {
        let mut bodies = broken_bodies("messages");
        bodies.push(("two documents", b"{} {}".to_vec()));
        for (what, body) in bodies {
            let answer = post(&client, path, "application/json", body);
            check(&format!("{path}: {what}"), &answer, 400, "invalid_json");
        }
    }
    server.assert_alive();
    assert!(!server.log().contains(CANARY));
}

/// Every address below `/api` that takes a body, and a field of it.
fn addresses(
    conversation: &str,
    person: &str,
    key: &str,
) -> Vec<(&'static str, String, &'static str)> {
    let post = ["POST"; 9].into_iter().zip([
        ("/api/session", "username"),
        ("/api/setup", "username"),
        ("/api/invitation", "token"),
        ("/api/me/password", "current"),
        ("/api/me/keys", "name"),
        ("/api/admin/people", "username"),
        ("/api/admin/guard/test", "text"),
        ("/api/admin/evaluations", "suite"),
        ("/api/conversations", "title"),
    ]);
    let mut all: Vec<_> =
        post.map(|(method, (path, field))| (method, path.to_owned(), field)).collect();
    let conversation = format!("/api/conversations/{conversation}");
    all.push(("POST", format!("{conversation}/messages"), "content"));
    all.push(("PATCH", conversation, "title"));
    all.push(("PATCH", "/api/me".to_owned(), "display_name"));
    all.push(("PATCH", format!("/api/me/keys/{key}"), "networks"));
    all.push(("PATCH", format!("/api/admin/people/{person}"), "roles"));
    all.push(("PATCH", "/api/admin/models/guide".to_owned(), "roles"));
    all
}

/// Where a body is taken from whoever sends one, and how long it may be.
const OPEN: [&str; 3] = ["/api/session", "/api/setup", "/api/invitation"];
const OPEN_BYTES_MAX: usize = 4 << 10;

#[test]
fn every_address_of_the_web_app_refuses_broken_bodies_and_changes_nothing() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let session = server.sign_in();
    let id = session.begin_conversation("Unchanged");
    let (key, _) = session.make_key(&json!({"name": "unchanged"}));
    let before = state(&session);
    for (method, path, field) in addresses(&id, before.1.as_str().expect("an id"), &key) {
        let is_list = ["roles", "networks"].contains(&field);
        let send = |kind: &str, body: Vec<u8>| {
            let sent =
                session.client.try_send(method, &path, &[("content-type", kind)], Some(body));
            sent.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
        };
        let place = |what: &str| format!("{method} {path}: {what}");
        for (what, body) in broken_bodies(field) {
            // Where anybody may send a body, only a short one is taken.
            let is_too_long = OPEN.contains(&path.as_str()) && body.len() > OPEN_BYTES_MAX;
            let answer = send("application/json", body);
            if is_too_long {
                check(&place(what), &answer, 413, "payload_too_large");
                continue;
            }
            // What begins as the wrong kind of value is refused there, and not read on.
            let is_read_on = !is_list && !what.starts_with("deep");
            let code = if is_read_on { "invalid_json".to_owned() } else { answer.code() };
            check(&place(what), &answer, 400, &code);
            assert!(code.starts_with("invalid_") || code == "unknown_parameter", "{code}");
        }
        for value in [json!(7), json!(true), json!({ CANARY: 1 }), json!([[CANARY]]), json!([7])] {
            let answer = send("application/json", json!({ field: value }).to_string().into());
            let what = place(&format!("{value}"));
            check(&what, &answer, 400, "invalid_value");
            let body: Value = answer.expect(400);
            let param = body["error"]["param"].as_str().expect("it names the parameter");
            assert!(param.starts_with(field), "{what}: {param}");
        }
        let value = if is_list { json!(["member"]) } else { json!(CANARY) };
        let doubled = format!(r#"{{"{field}": {value}, "{field}": {value}}}"#);
        check(&place("doubled"), &send("application/json", doubled.into()), 400, "invalid_request");
        let unknown = json!({ "colour": CANARY }).to_string();
        let answer = send("application/json", unknown.into());
        check(&place("unknown"), &answer, 400, "unknown_parameter");
        for body in ["null", "7", "\"x\"", "true"] {
            check(&place(body), &send("application/json", body.into()), 400, "invalid_value");
        }
        let two = send("application/json", format!("{{}} {{\"{field}\": 1}}").into());
        assert_eq!(two.status, 400, "{}", place("two documents"));
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=x"]
        {
            let body = json!({ field: value }).to_string();
            check(&place(kind), &send(kind, body.into()), 415, "unsupported_media_type");
        }
        assert_eq!(state(&session), before, "{method} {path}");
    }
    server.assert_alive();
    assert!(!server.log().contains(CANARY));
}

/// What a body that was taken would have changed.
fn state(session: &Session) -> (Value, Value, Value, Value, Value) {
    let get = |path: &str| session.client.get(path).expect(200);
    let me = get("/api/me")["person"].clone();
    let id = me["id"].clone();
    let conversations = get("/api/conversations");
    (me, id, conversations, get("/api/me/keys")["keys"].clone(), get("/api/admin/models"))
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

/// The head of a request with a body of so many bytes, or of chunks.
fn head(path: &str, key: &str, length: Option<usize>) -> Vec<u8> {
    let length = length.map_or("transfer-encoding: chunked".to_owned(), |length| {
        format!("content-length: {length}")
    });
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\n{length}\r\n\r\n"
    )
    .into_bytes()
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
        // The length alone is enough: the answer comes before a byte of the body does.
        let mut request = head(path, &key, Some(size));
        let answer = server.raw().exchange(&request).expect("an answer to the head");
        check("a declared length", &answer, 413, "payload_too_large");
        request.extend_from_slice(&body);
        let answer = server.raw().exchange(&request).expect("an answer, whatever is left unread");
        check("a whole body", &answer, 413, "payload_too_large");
        let mut chunked = head(path, &key, None);
        for piece in body.chunks(65_536) {
            write!(chunked, "{:x}\r\n", piece.len()).expect("memory");
            chunked.extend_from_slice(piece);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        let answer = server.raw().exchange(&chunked).expect("an answer, whatever is left unread");
        check("chunks without end", &answer, 413, "payload_too_large");
        server.assert_alive();
    }
    let session = server.sign_in();
    let id = session.begin_conversation("large");
    let path = format!("/api/conversations/{id}/messages");
    let long = session.client.post(&path, &json!({"content": "a".repeat(1_900_000)}));
    check("a long message", &long, 400, "invalid_value");
    let large = json!({ "content": "a".repeat(2 << 20) });
    check("a large message", &session.client.post(&path, &large), 413, "payload_too_large");
    let person = session.me["person"]["id"].as_str().expect("an id");
    let (key, _) = session.make_key(&json!({"name": "large"}));
    for (method, path, field) in addresses(&id, person, &key) {
        let body = json!({ field: "a".repeat(2 << 20) });
        let answer = session.client.send(method, &path, Some(&body));
        check(&format!("{method} {path}"), &answer, 413, "payload_too_large");
    }
    server.assert_alive();
}
