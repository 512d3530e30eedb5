//! The headers that tell browsers what this server's answers may do: the same on every answer, be it a
//! page, a file, an error or the word that the server is sealed.

mod common;

use common::{Answer, Home, OWNER, PASSWORD, Server, text, wait_for};
use serde_json::json;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types strongroom dompurify";
const CHAT: &str = "/v1/chat/completions";

/// What stands on every answer.
const ALWAYS: [(&str, &str); 9] = [
    ("content-security-policy", POLICY),
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-frame-options", "DENY"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
];
/// What stands on answers in events too. Proxies that gather answers until they are whole are asked not to.
const STREAMED: [(&str, &str); 2] =
    [("content-type", "text/event-stream; charset=utf-8"), ("x-accel-buffering", "no")];
/// What tells strangers about the inside, or lets other pages in.
const NEVER: [&str; 7] = [
    "server",
    "x-powered-by",
    "via",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "location",
    "refresh",
];

/// How long an answer may be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kept {
    /// Not at all.
    Never,
    /// Not at all, and nobody on its way gathers or packs it: an answer in events.
    Streamed,
    /// As long as its tag is asked about each time.
    Asked,
}

fn check(what: &str, answer: &Answer, status: u16, kept: Kept) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    for (name, value) in ALWAYS {
        let found: Vec<_> = answer.headers.get_all(name).iter().collect();
        assert_eq!(found, [value], "{what}: {name}");
    }
    for name in NEVER {
        assert!(!answer.headers.contains_key(name), "{what} has {name}");
    }
    let cache: Vec<_> = answer.headers.get_all("cache-control").iter().collect();
    let expected = match kept {
        Kept::Never => "no-store",
        Kept::Streamed => "no-store, no-transform",
        Kept::Asked => "no-cache",
    };
    assert_eq!(cache, [expected], "{what}");
    if kept == Kept::Streamed {
        for (name, value) in STREAMED {
            let found: Vec<_> = answer.headers.get_all(name).iter().collect();
            assert_eq!(found, [value], "{what}: {name}");
        }
        assert!(!answer.headers.contains_key("content-encoding"), "{what}");
    }
    assert_eq!(answer.headers.contains_key("etag"), kept == Kept::Asked, "{what}");
    let ids: Vec<_> = answer.headers.get_all("x-request-id").iter().collect();
    assert_eq!(ids.len(), 1, "{what}");
    let id = ids[0].to_str().expect("text");
    assert!(id.starts_with("req_") && id.len() > 20, "{what}: {id}");
}

#[test]
fn every_answer_has_the_headers_that_bind_browsers() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let (stranger, program) = (server.client(), server.with_key(&home.key()));
    let session = server.sign_in();
    for path in ["/", "/setup", "/sign-in", "/account", "/c/x", "/admin", "/admin/people", "/docs"]
    {
        check(path, &stranger.get(path), 200, Kept::Asked);
    }
    for path in ["/static/css/base.css", "/static/js/app.js", "/static/icon.svg", "/openapi.json"] {
        check(path, &stranger.get(path), 200, Kept::Asked);
    }
    for path in ["/healthz", "/readyz", "/api/status"] {
        check(path, &stranger.get(path), 200, Kept::Never);
    }
    for path in ["/api/me", "/api/conversations", "/api/admin/audit", "/api/me/keys"] {
        check(path, &session.client.get(path), 200, Kept::Never);
        check(path, &stranger.get(path), 401, Kept::Never);
    }
    check("the models", &program.get("/v1/models"), 200, Kept::Never);
    let body = json!({"model": "guide", "max_tokens": 2,
        "messages": [{"role": "user", "content": "hello"}]});
    check("an answer", &program.post(CHAT, &body), 200, Kept::Never);
    check("a sign-in", &sign_in(&server, PASSWORD), 200, Kept::Never);
}

#[test]
fn every_answer_in_events_has_the_headers_that_keep_proxies_from_holding_it_back() {
    let home = Home::prepared();
    let server = Server::start(&home);
    // As browsers and clients do, which take what is packed.
    let program = server.with_key(&home.key()).with("accept-encoding", "gzip, br, zstd");
    let messages = json!([{"role": "user", "content": "hello"}]);
    for (path, mut body) in [
        (CHAT, json!({"max_tokens": 40, "messages": messages})),
        ("/v1/completions", json!({"max_tokens": 40, "prompt": "hello"})),
        ("/v1/responses", json!({"max_output_tokens": 40, "input": "hello"})),
        ("/v1/messages", json!({"max_tokens": 40, "messages": messages})),
    ] {
        (body["model"], body["stream"]) = (json!("guide"), json!(true));
        check(path, &program.post(path, &body), 200, Kept::Streamed);
        // The second one comes from what is kept.
        let named = program.clone().with("idempotency-key", path);
        for is_again in [false, true] {
            let answer = named.post(path, &body);
            check(path, &answer, 200, Kept::Streamed);
            assert_eq!(answer.headers.contains_key("idempotency-replayed"), is_again, "{path}");
        }
    }
    let person = server.sign_in();
    let begin = || format!("/api/conversations/{}", person.begin_conversation("Greeting"));
    let content = json!({"content": "hello"});
    let said = person.client.post(&format!("{}/messages", begin()), &content);
    check("a chat of the web app", &said, 200, Kept::Streamed);
    // The answer may have ended before somebody comes to follow it: then once more.
    wait_for("an answer that is followed", || {
        let path = begin();
        let running = person.client.stream(&format!("{path}/messages"), &content);
        let followed = person.client.get(&format!("{path}/stream"));
        assert!(running.count() > 0, "it is answered");
        if followed.status == 200 {
            check("an answer that is followed", &followed, 200, Kept::Streamed);
        }
        followed.status == 200
    });
}

#[test]
fn every_refusal_has_them_too() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let (stranger, program) = (server.client(), server.with_key(&home.key()));
    for (path, status) in [
        ("/v1/models", 401),
        ("/v1/nothing", 404),
        ("/api/me", 401),
        ("/api/nothing", 404),
        ("/static/nothing.js", 404),
        ("/static/../Cargo.toml", 404),
        ("/nothing", 404),
        ("/.well-known/security.txt", 404),
        ("/metrics", 401),
    ] {
        check(path, &stranger.get(path), status, Kept::Never);
    }
    check("a wrong password", &sign_in(&server, "a wrong password"), 401, Kept::Never);
    check("no such model", &program.get("/v1/models/nobody"), 404, Kept::Never);
    check("a wrong body", &program.post(CHAT, &json!({"model": 7})), 400, Kept::Never);
    for (method, path) in [("GET", CHAT), ("DELETE", "/"), ("TRACE", "/"), ("OPTIONS", CHAT)] {
        let answer = program.try_send(method, path, &[], None).expect("an answer");
        check(&format!("{method} {path}"), &answer, 405, Kept::Never);
    }
    let plain = program.try_send("POST", CHAT, &[("content-type", "text/plain")], Some(vec![]));
    check("plain text", &plain.expect("an answer"), 415, Kept::Never);
    // Refused by its length alone: nothing of the body has to come.
    let large = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 10485760\r\n\r\n",
        home.key()
    );
    let large = server.raw().exchange(large.as_bytes()).expect("an answer");
    check("a large body", &large, 413, Kept::Never);
    let foreign = server.raw().exchange(b"GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n");
    check("a foreign host", &foreign.expect("an answer"), 421, Kept::Never);
    // A page elsewhere asks before it sends: it is told nothing that lets it go on.
    let asks = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    for path in ["/api/session", CHAT] {
        let answer = stranger.try_send("OPTIONS", path, &asks, None).expect("an answer");
        check(path, &answer, 405, Kept::Never);
    }
}

#[test]
fn a_file_that_the_browser_has_is_not_sent_again() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let client = server.client();
    for path in ["/", "/static/js/app.js"] {
        let tag = client.get(path).headers["etag"].to_str().expect("text").to_owned();
        let again = client.clone().with("if-none-match", &tag).get(path);
        check(path, &again, 304, Kept::Asked);
        assert!(again.body.is_empty(), "{path}");
        let other = client.clone().with("if-none-match", "\"0\"").get(path);
        check(path, &other, 200, Kept::Asked);
        assert!(!other.body.is_empty(), "{path}");
    }
}

#[test]
fn the_cookie_of_a_session_is_for_this_server_alone_and_signing_out_takes_all_away() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let cookie = |answer: &Answer| {
        let set: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert_eq!(set.len(), 1, "one cookie and no more: {set:?}");
        let text = set[0].to_str().expect("text").to_owned();
        let mut parts = text.split("; ").map(str::to_owned).collect::<Vec<_>>();
        let value = parts.remove(0);
        parts.sort_unstable();
        (value, parts)
    };
    let (value, mut attributes) = cookie(&sign_in(&server, PASSWORD));
    let secret = value.strip_prefix("__Host-strongroom=").expect("its name binds it to this host");
    assert!(secret.len() >= 43, "256 bits");
    // Seven days, less what signing in took.
    let age = attributes.remove(1);
    let seconds = age.strip_prefix("Max-Age=").and_then(|seconds| seconds.parse().ok());
    assert!(seconds.is_some_and(|seconds: u32| (604_000..=604_800).contains(&seconds)), "{age}");
    assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Strict", "Secure"]);
    let session = server.sign_in();
    let gone = session.client.send("DELETE", "/api/session", None);
    check("a sign-out", &gone, 204, Kept::Never);
    assert_eq!(gone.headers["clear-site-data"], "\"cache\", \"storage\"");
    let (value, attributes) = cookie(&gone);
    assert_eq!(value, "__Host-strongroom=", "nothing is left in it");
    assert!(attributes.contains(&"Max-Age=0".to_owned()), "{attributes:?}");
    check("afterwards", &session.client.get("/api/me"), 401, Kept::Never);
    // Nobody else is told to forget anything, and no refusal begins a session.
    for answer in [server.client().get("/"), sign_in(&server, "a wrong password")] {
        assert!(!answer.headers.contains_key("set-cookie"));
        assert!(!answer.headers.contains_key("clear-site-data"));
    }
}

#[test]
fn each_answer_has_an_id_of_its_own() {
    let home = Home::prepared();
    let server = Server::start(&home);
    // What a client calls its request is not taken over: it would reach the log.
    let client = server.client().with("x-request-id", "req_chosen-by-a-client");
    let ids: Vec<String> = (0..3)
        .map(|_| client.get("/healthz").headers["x-request-id"].to_str().expect("text").to_owned())
        .collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    assert!(!ids.iter().any(|id| id.contains("chosen")), "{ids:?}");
    assert!(ids.iter().all(|id| server.log().contains(id)), "the log names each: {ids:?}");
}

#[test]
fn a_sealed_server_has_them_too() {
    let home = Home::empty();
    let passphrase = home.write("passphrase", "three grey geese in a green field");
    home.init(&["--passphrase-file", text(&passphrase)]);
    let server = Server::launch(&home, &[]).expect("a sealed server starts");
    server.wait_until(503);
    let program = server.with_key(&home.key());
    for path in ["/", "/sign-in", "/admin", "/static/js/app.js"] {
        check(path, &program.get(path), 200, Kept::Asked);
    }
    check("/healthz", &program.get("/healthz"), 200, Kept::Never);
    for path in ["/readyz", "/v1/models", "/api/me", "/api/nothing", "/metrics"] {
        check(path, &program.get(path), 503, Kept::Never);
    }
    check("a sign-in", &sign_in(&server, PASSWORD), 503, Kept::Never);
    check("a chat", &program.post(CHAT, &json!({})), 503, Kept::Never);
    check("/static/nothing.js", &program.get("/static/nothing.js"), 404, Kept::Never);
    let foreign = server.raw().exchange(b"GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n");
    check("a foreign host", &foreign.expect("an answer"), 421, Kept::Never);
}

fn sign_in(server: &Server, password: &str) -> Answer {
    server.client().post("/api/session", &json!({"username": OWNER, "password": password}))
}
