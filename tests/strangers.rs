//! Keys that are wrong, things that are somebody else's, and pages from elsewhere: each is refused in
//! words that tell nothing about what is there.

mod common;

use common::refusal::{CANARY, CHAT, chat_body, check};
use common::{Home, Server};
use serde_json::json;

#[test]
fn class_05_keys_that_are_wrong_revoked_or_expired_open_nothing() {
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
fn class_06_what_belongs_to_somebody_else_is_not_there() {
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
        ("PATCH", format!("/api/me/keys/{their_key}"), Some(json!({"networks": []}))),
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
fn class_17_changes_need_the_token_of_the_page_and_its_origin() {
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
