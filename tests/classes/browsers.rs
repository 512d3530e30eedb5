//! Pages of other servers in a person's browser, and names of other hosts: every kind of route, with every
//! mark by which such a request is known.

use serde_json::json;

use super::words::encoded;
use super::{CHAT, is_for_programs, path_of, start};
use crate::common::numbered::rows;
use crate::common::refusal::{chat_body, check};
use crate::common::{Answer, Client, Home, OWNER, PASSWORD};

const FOREIGN: [(&str, &str); 7] = [
    ("origin", "https://evil.example"),
    ("origin", "http://127.0.0.1"),
    ("origin", "https://127.0.0.1.evil.example"),
    ("origin", "null"),
    ("origin", ""),
    ("sec-fetch-site", "cross-site"),
    ("sec-fetch-site", "same-site"),
];

/// Every route: method, path, and whether everybody may.
fn routes() -> Vec<(String, String, bool)> {
    let table = rows("api.md", "routes");
    let route = |row: &Vec<String>| {
        (row[0].clone(), path_of(row[1].trim_matches('`'), "nothing"), row[2] == "everybody")
    };
    table[1..].iter().map(route).collect()
}

/// Nothing on the answer lets a page elsewhere read it or go on.
fn assert_closed(what: &str, answer: &Answer) {
    for (name, _) in &answer.headers {
        assert!(!name.as_str().starts_with("access-control-"), "{what}: {name}");
    }
}

/// Markup in the place of words: of at most 60 characters, as names may have.
const MARKUP: [&str; 4] = [
    "<script>globalThis.wasHacked = true</script>",
    "\"><img src=x onerror=alert(1)></title><svg onload=x()>",
    "</script><script src=https://evil.example/x.js></script>",
    "javascript:alert(1)//[x](javascript:alert(1))",
];

/// The answer is nothing that a browser shows as a page, and would run nothing if it were.
fn assert_no_page(what: &str, answer: &Answer, kind: &str) {
    let header = |name: &str| {
        let all: Vec<_> = answer.headers.get_all(name).iter().collect();
        assert_eq!(all.len(), 1, "{what}: {name}");
        all[0].to_str().expect("text").to_owned()
    };
    assert!(header("content-type").starts_with(kind), "{what}: {}", header("content-type"));
    assert_eq!(header("x-content-type-options"), "nosniff", "{what}");
    let policy = header("content-security-policy");
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{what}: {policy}"
    );
}

#[test]
fn class_08_words_of_people_come_as_data_and_no_page_has_any() {
    let home = Home::prepared();
    let mut server = start(&home, &[]);
    let (owner, program) = (server.sign_in(), server.with_key(&home.key()));
    let pages = ["/", "/sign-in", "/setup", "/account", "/admin"];
    let before = pages.map(|page| server.client().get(page).text());
    for words in MARKUP {
        let encoded = encoded(words);
        owner.client.send("PATCH", "/api/me", Some(&json!({"display_name": words})));
        owner.make_key(&json!({"name": words}));
        owner.client.post("/api/admin/groups", &json!({"name": words})).expect(201);
        let conversation = owner.begin_conversation(words);
        owner.say(&conversation, words);
        let chat = format!("/api/conversations/{conversation}");
        // What was put in comes out as it was, as a text of JSON.
        let quoted = json!(words).to_string();
        for path in ["/api/me", "/api/me/keys", "/api/admin/groups", "/api/conversations", &chat] {
            let answer = owner.client.get(path);
            assert!(answer.status == 200 && answer.text().contains(&quoted), "{path}: {words}");
            assert_no_page(path, &answer, "application/json");
        }
        // What is wrong is told in the same form, whatever is repeated of it.
        let mut body = chat_body();
        body[words] = json!(1);
        let unknown = program.post(CHAT, &body);
        check(words, &unknown, 400, "unknown_parameter");
        assert!(unknown.text().contains(&quoted), "{words}");
        let nowhere = [format!("/{encoded}"), format!("/static/{encoded}")];
        let lost = nowhere.iter().map(|path| server.client().get(path));
        for answer in lost.chain([unknown, program.get(&format!("/v1/models/{encoded}"))]) {
            assert!(answer.status >= 400, "{words}: {}", answer.text());
            assert_no_page(words, &answer, "application/json");
        }
        let mut said = chat_body();
        said["messages"][0]["content"] = json!(words);
        assert_no_page(words, &program.post(CHAT, &said), "application/json");
        said["stream"] = json!(true);
        assert_no_page(words, &program.post(CHAT, &said), "text/event-stream");
        // The pages are the same for everybody, whatever stands in their addresses.
        for path in [format!("/c/{encoded}"), format!("/admin/{encoded}"), format!("/?q={encoded}")]
        {
            let page = owner.client.get(&path);
            assert_no_page(&path, &page, "text/html");
            assert!(before.contains(&page.text()), "{path}: {}", page.text());
        }
    }
    assert_eq!(pages.map(|page| owner.client.get(page).text()), before);
    let table = owner.client.get("/api/admin/usage?format=csv&group_by=person");
    assert_eq!(table.status, 200, "{}", table.text());
    assert_no_page("a table", &table, "text/csv");
    let disposition = table.headers.get("content-disposition").expect("it is a file");
    assert!(disposition.to_str().expect("text").starts_with("attachment"));
    server.assert_alive();
}

#[test]
fn class_17_another_host_name_is_refused_at_every_route() {
    let home = Home::prepared();
    let mut server = start(&home, &[]);
    let key = home.key();
    for (method, path, _) in routes() {
        for host in ["evil.example", "127.0.0.1.nip.io", "localhost.evil.example:8443"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n\
                 content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
            );
            let answer = server.raw().exchange(request.as_bytes()).expect("an answer");
            assert_eq!(answer.status, 421, "{method} {path} at {host}: {}", answer.text());
            assert_eq!(answer.code(), "wrong_host", "{method} {path} at {host}");
        }
    }
    server.assert_alive();
}

#[test]
fn class_17_no_change_is_made_for_a_page_of_another_server() {
    let home = Home::prepared();
    let mut server = start(&home, &[]);
    let session = server.sign_in();
    let before = session.client.get("/api/conversations").expect(200);
    let mut tried = 0;
    for (method, path, is_open) in routes() {
        if method == "GET" || is_for_programs(&path) {
            continue;
        }
        for (name, value) in FOREIGN {
            // With the cookie and even the token: the browser says where it comes from.
            let client = session.client.clone().with(name, value);
            // What everybody may send is right, so that nothing else refuses it.
            let body = match path.as_str() {
                "/api/session" => json!({"username": OWNER, "password": PASSWORD}),
                "/api/setup" => json!({"token": "x", "username": "eve", "password": PASSWORD}),
                "/api/invitation" => json!({"token": "x", "password": PASSWORD}),
                _ => json!({}),
            };
            let answer = client.send(&method, &path, Some(&body));
            let what = format!("{method} {path} with {name}: {value} (open: {is_open})");
            check(&what, &answer, 403, "cross_origin");
            assert!(!answer.headers.contains_key("set-cookie"), "{what}");
            assert_closed(&what, &answer);
            tried += 1;
        }
    }
    assert!(tried > 200, "{tried}");
    // What a form or a simple request can send is no JSON, and is not read.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        for path in ["/api/conversations", "/api/session", "/api/me/keys"] {
            let headers = [("content-type", kind)];
            let sent = session.client.try_send(
                "POST",
                path,
                &headers,
                Some(b"{\"title\": \"x\"}".to_vec()),
            );
            check(kind, &sent.expect("an answer"), 415, "unsupported_media_type");
        }
    }
    assert_eq!(session.client.get("/api/conversations").expect(200), before);
    server.assert_alive();
}

#[test]
fn class_17_no_answer_lets_another_servers_page_read_it_and_none_is_told_that_it_may_ask() {
    let home = Home::prepared();
    let server = start(&home, &[]);
    let (session, program) = (server.sign_in(), server.with_key(&home.key()));
    let cookie = session.client.clone();
    for (method, path, _) in routes() {
        let asks = [
            ("origin", "https://evil.example"),
            ("access-control-request-method", method.as_str()),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        for client in [&server.client(), &cookie, &program] {
            let answer = client.try_send("OPTIONS", &path, &asks, None).expect("an answer");
            let what = format!("OPTIONS {path}: {}", answer.status);
            assert!(matches!(answer.status, 401 | 403 | 404 | 405), "{what}");
            assert_closed(&what, &answer);
        }
        if method == "GET" {
            let from =
                |client: &Client| client.clone().with("origin", "https://evil.example").get(&path);
            for client in [&server.client(), &cookie, &program] {
                assert_closed(&path, &from(client));
            }
        }
    }
    // A program that sends its key may say any origin; only a page could not read what comes.
    let page = program.clone().with("origin", "https://evil.example");
    let answer = page.post(CHAT, &chat_body());
    assert_eq!(answer.status, 200);
    assert_closed("a chat", &answer);
    // A cookie does nothing for it.
    let answer = cookie.clone().with("origin", "https://evil.example").post(CHAT, &chat_body());
    check("a cookie", &answer, 401, "invalid_api_key");
}
