//! Keys that are let in from some networks alone, as programs at several addresses meet them over TLS.

mod common;

use std::fmt::Write as _;

use common::refusal::{CHAT, chat_body, check};
use common::{Answer, Client, Home, Server, Session, both, text};
use rusqlite::Connection;
use serde_json::{Value, json};

const HERE: &str = "127.0.0.1";
const ELSEWHERE: &str = "127.0.0.2";
/// Every header that a key may come in, and what stands before it there.
const FORMS: [(&str, &str); 2] = [("authorization", "Bearer "), ("x-api-key", "")];

/// What a program is answered that sends a request from an address of this machine.
fn ask(
    server: &Server,
    from: &str,
    (header, value): (&str, &str),
    path: &str,
    body: Option<&Value>,
) -> Answer {
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{header}: {value}\r\n");
    let body = body.map(Value::to_string).unwrap_or_default();
    if method == "POST" {
        let length = body.len();
        write!(request, "content-type: application/json\r\ncontent-length: {length}\r\n")
            .expect("memory");
    }
    request.push_str("\r\n");
    request.push_str(&body);
    let raw = server.raw_from(from, &[]).expect("a place");
    raw.exchange(request.as_bytes()).expect("an answer")
}

/// The same with a key, for the list of models.
fn models(server: &Server, from: &str, key: &str) -> Answer {
    ask(server, from, ("authorization", &format!("Bearer {key}")), "/v1/models", None)
}

fn networks(session: &Session, id: &str, networks: Value) -> Answer {
    let body = json!({ "networks": networks });
    session.client.send("PATCH", &format!("/api/me/keys/{id}"), Some(&body))
}

fn shown(session: &Session, id: &str) -> Value {
    let listed = session.client.get("/api/me/keys").expect(200);
    let mut keys = listed["keys"].as_array().expect("a list").iter();
    keys.find(|key| key["id"] == id).expect("it is there").clone()
}

/// All of an answer but what is new in each.
fn told(answer: &Answer) -> (u16, Vec<String>, String) {
    let is_old = |name: &str| !["x-request-id", "request-id", "date"].contains(&name);
    let headers = answer.headers.iter().filter(|(name, _)| is_old(name.as_str()));
    let mut headers: Vec<String> =
        headers.map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
    headers.sort_unstable();
    let mut body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    // Where it stands in Anthropic's shape.
    if let Some(id) = body.get_mut("request_id") {
        *id = Value::Null;
    }
    (answer.status, headers, body.to_string())
}

#[test]
fn class_05_a_key_opens_nothing_from_outside_of_its_networks_whatever_it_comes_in() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let owner = server.sign_in();
    let (id, key) = owner.make_key(&json!({"name": "there", "networks": ["127.0.0.2", "::1"]}));
    let (gone_id, gone) = owner.make_key(&json!({"name": "gone"}));
    owner.client.send("DELETE", &format!("/api/me/keys/{gone_id}"), None);
    let message = json!({"model": common::GUIDE, "max_tokens": 1,
        "messages": [{"role": "user", "content": "Hello"}]});
    let chat = chat_body();
    for (header, begin) in FORMS {
        let (with, never) = (format!("{begin}{key}"), format!("{begin}{gone}"));
        for (path, body) in [
            ("/v1/models", None),
            (CHAT, Some(&chat)),
            ("/v1/messages", Some(&message)),
            ("/v1/messages/count_tokens", Some(&message)),
        ] {
            let body = body.cloned().map(|mut body| {
                if path.ends_with("count_tokens") {
                    body.as_object_mut().expect("an object").remove("max_tokens");
                }
                body
            });
            let ask =
                |from: &str, value: &str| ask(&server, from, (header, value), path, body.as_ref());
            ask(ELSEWHERE, &with).expect(200);
            let refused = ask(HERE, &with);
            assert_eq!((refused.status, refused.code().as_str()), (401, "invalid_api_key"));
            // Whoever found it is not told that it is a key at all.
            assert_eq!(told(&refused), told(&ask(HERE, &never)), "{header} {path}");
        }
        // What is not there, and what is for a scope that the key has not.
        assert_eq!(ask(&server, HERE, (header, &with), "/v1/nothing", None).status, 401);
        assert_eq!(ask(&server, HERE, (header, &with), "/metrics", None).status, 401);
        assert_eq!(ask(&server, ELSEWHERE, (header, &with), "/metrics", None).status, 403);
        check(
            "over HTTP by a client",
            &server.client().with(header, &with).get("/v1/models"),
            401,
            "invalid_api_key",
        );
    }
    let seen = shown(&owner, &id);
    assert_eq!(seen["networks"], json!(["127.0.0.2", "::1"]));
    assert_eq!(seen["turned_away"]["address"], HERE, "{seen}");
    let log = owner.client.get("/api/admin/audit?action=key.refuse").expect(200);
    let event = &log["events"][0];
    let person = owner.me["person"]["id"].as_str().expect("an id");
    assert_eq!(event["actor"], format!("{person}/{id}"), "{event}");
    assert_eq!((&event["subject"], &event["address"]), (&json!(id), &json!(HERE)), "{event}");
    assert!(!log.to_string().contains(&key) && !server.log().contains(&key));
    server.assert_alive();
}

#[test]
fn networks_are_changed_while_the_server_runs_and_kept_when_it_stops() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let owner = server.sign_in();
    let guest = server.invite(&owner, "member");
    let (id, key) = guest.make_key(&json!({"name": "script"}));
    models(&server, HERE, &key).expect(200);
    // Nobody else's, whoever they are.
    check("somebody else's", &networks(&owner, &id, json!(["127.0.0.2"])), 404, "not_found");
    for bad in [json!(["127.0.0.1/8"]), json!(["::1", "localhost"]), json!(vec!["::1"; 17])] {
        let refused = networks(&guest, &id, bad.clone());
        check(&bad.to_string(), &refused, 400, "invalid_value");
        assert_eq!(refused.expect(400)["error"]["param"], "networks", "{bad}");
    }
    models(&server, HERE, &key).expect(200);
    let changed = networks(&guest, &id, json!(["127.0.0.2/31", "::ffff:10.0.0.0/104"])).expect(200);
    assert_eq!(changed["networks"], json!(["127.0.0.2/31", "10.0.0.0/8"]));
    check("from outside", &models(&server, HERE, &key), 401, "invalid_api_key");
    models(&server, ELSEWHERE, &key).expect(200);
    let log = owner.client.get("/api/admin/audit?action=key.networks").expect(200);
    assert_eq!(log["events"].as_array().map(Vec::len), Some(1), "{log}");
    assert_eq!(log["events"][0]["detail"]["networks"], changed["networks"]);
    assert!(server.stop().success());

    let server = Server::start(&home);
    check("after a start", &models(&server, HERE, &key), 401, "invalid_api_key");
    models(&server, ELSEWHERE, &key).expect(200);
    assert!(server.stop().success());

    // Whoever writes to the database and has no key of the vault takes nothing away.
    let database = Connection::open(home.data().join("strongroom.db")).expect("it opens");
    let wider = "UPDATE api_keys SET networks = NULL WHERE id = ?1";
    assert_eq!(database.execute(wider, [&id]).expect("the column is there"), 1);
    drop(database);
    let mut server = Server::start(&home);
    for from in [HERE, ELSEWHERE] {
        check("a row that was changed", &models(&server, from, &key), 401, "invalid_api_key");
    }
    models(&server, HERE, &home.key()).expect(200);
    server.assert_alive();
}

#[test]
fn a_key_that_is_made_at_the_console_is_bound_too() {
    let home = Home::prepared();
    let make = |more: &[&str]| {
        let path = home.path("made");
        let mut command = vec!["key", "create", "--user", common::OWNER, "--out", text(&path)];
        command.extend(more);
        (home.strongroom(&command), path.clone())
    };
    for (bad, says) in [
        ("10.1.2.3/8", "Write `10.0.0.0/8`, or `10.1.2.3` for that address alone."),
        ("everywhere", "Network 1 of the list is no IPv4 or IPv6 address"),
    ] {
        let (output, path) = make(&["--network", bad]);
        assert!(!output.status.success() && !path.exists(), "{bad}");
        assert!(both(&output).contains(says), "{bad}: {}", both(&output));
    }
    let (output, path) = make(&["--network", "127.0.0.2", "--network", "2001:db8::/32"]);
    assert!(output.status.success(), "{}", both(&output));
    let key = std::fs::read_to_string(path).expect("it was written");
    let server = Server::start(&home);
    check("from outside", &models(&server, HERE, key.trim()), 401, "invalid_api_key");
    models(&server, ELSEWHERE, key.trim()).expect(200);
    let keys = server.sign_in().client.get("/api/me/keys").expect(200);
    let bound = |key: &&Value| key["networks"] == json!(["127.0.0.2", "2001:db8::/32"]);
    assert_eq!(keys["keys"].as_array().expect("a list").iter().filter(bound).count(), 1, "{keys}");
}

/// What a command of the console says, and whether it did what it was asked.
fn console(home: &Home, arguments: &[&str]) -> (bool, String) {
    let output = home.strongroom(&[&["key"][..], arguments].concat());
    (output.status.success(), both(&output))
}

/// A key as the console lists it.
fn listed(home: &Home, more: &[&str], id: &str) -> Value {
    let (is_done, said) = console(home, &[&["list", "--json"][..], more].concat());
    assert!(is_done, "{said}");
    assert!(!said.contains("vermilion"), "what its owner calls it is theirs: {said}");
    let mut keys = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    keys.find(|key| key["id"] == id).expect("it is listed")
}

#[test]
fn keys_are_listed_bound_and_revoked_at_the_console_beside_a_server_and_without_one() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let owner = server.sign_in();
    let guest = server.invite(&owner, "member");
    let (id, key) = guest.make_key(&json!({"name": "vermilion script"}));
    let person = guest.me["person"]["id"].clone();
    let seen = listed(&home, &[], &id);
    assert_eq!((&seen["owner"], &seen["networks"]), (&json!("guest"), &json!([])), "{seen}");
    assert!(
        console(&home, &["list", "--user", common::OWNER]).1.lines().all(|one| !one.contains(&id))
    );

    for (arguments, says) in [
        (&["networks", &id, "--network", "10.1.2.3/8"][..], "Write `10.0.0.0/8`, or `10.1.2.3`"),
        (&["networks", "key_0", "--everywhere"], "is no id of a key"),
        (&["networks", &format!("key_{}", "0".repeat(32)), "--everywhere"], "there is no key"),
        (&["revoke", &format!("key_{}", "0".repeat(32))], "there is no key"),
        (&["list", "--user", "nobody"], "nobody called `nobody`"),
    ] {
        let (is_done, said) = console(&home, arguments);
        assert!(!is_done && said.contains(says), "{arguments:?}: {said}");
    }
    models(&server, HERE, &key).expect(200);

    // It holds from the next request on.
    let (is_done, said) = console(&home, &["networks", &id, "--network", "127.0.0.2"]);
    assert!(is_done && said.contains(&format!("{id} is let in from 127.0.0.2 now.")), "{said}");
    check("from outside", &models(&server, HERE, &key), 401, "invalid_api_key");
    models(&server, ELSEWHERE, &key).expect(200);
    assert_eq!(listed(&home, &["--user", "guest"], &id)["turned_away"]["address"], HERE);
    assert_eq!(shown(&guest, &id)["networks"], json!(["127.0.0.2"]));
    let log = owner.client.get("/api/admin/audit?action=key.networks").expect(200);
    let event = &log["events"][0];
    assert_eq!((&event["actor"], &event["subject"]), (&json!("system"), &json!(id)), "{log}");
    assert_eq!(event["detail"], json!({"owner": person, "networks": ["127.0.0.2"]}), "{log}");
    assert_eq!(log["events"].as_array().map(Vec::len), Some(1), "what was refused is no change");
    assert!(server.stop().success());

    let (is_done, said) = console(&home, &["networks", &id, "--everywhere"]);
    assert!(is_done && said.contains("is let in from everywhere now."), "{said}");
    let server = Server::start(&home);
    models(&server, HERE, &key).expect(200);
    let (is_done, said) = console(&home, &["revoke", &id]);
    assert!(is_done && said.contains(&format!("{id} is revoked.")), "{said}");
    check("revoked", &models(&server, HERE, &key), 401, "invalid_api_key");
    assert!(!console(&home, &["revoke", &id]).0, "it is gone");
    let log = server.sign_in().client.get("/api/admin/audit?action=key.revoke").expect(200);
    let event = &log["events"][0];
    assert_eq!((&event["actor"], &event["detail"]["owner"]), (&json!("system"), &person), "{log}");
}

#[test]
fn a_key_that_is_made_at_the_console_is_for_what_was_said_and_for_so_long() {
    let home = Home::prepared();
    let make = |name: &str, more: &[&str]| {
        let path = home.path(name);
        let begin = ["create", "--user", common::OWNER, "--name", name, "--out", text(&path)];
        (console(&home, &[&begin[..], more].concat()), path)
    };
    for (bad, says) in [
        (["--scope", "people.manage"], "A key's scopes are a list of: api.use"),
        (["--expires-in-days", "0"], "A key expires after 1 to"),
    ] {
        let ((is_done, said), path) = make("bad", &bad);
        assert!(!is_done && said.contains(says) && !path.exists(), "{bad:?}: {said}");
    }
    let scopes = ["--scope", "metrics.read", "--scope", "usage.read", "--expires-in-days", "30"];
    let ((is_done, said), path) = make("scraper", &scopes);
    assert!(is_done, "{said}");
    let listed = || console(&home, &["list"]).1.lines().count();
    let count = listed();
    let ((is_done, said), _) = make("scraper", &scopes);
    assert!(!is_done && said.contains("cannot be made"), "{said}");
    assert_eq!(listed(), count, "no key whose secret went nowhere");
    let key = std::fs::read_to_string(path).expect("it was written");
    let server = Server::start(&home);
    let program = server.with_key(key.trim());
    assert_eq!(program.get("/metrics").status, 200);
    check("no model", &program.get("/v1/models"), 403, "permission_denied");
    let keys = server.sign_in().client.get("/api/me/keys").expect(200);
    let mut keys = keys["keys"].as_array().expect("a list").iter();
    let made = keys.find(|key| key["name"] == "scraper").expect("it is there");
    assert_eq!(made["scopes"].as_array().map(Vec::len), Some(2), "{made}");
    assert!(made["expires_at"].is_string(), "{made}");
}

#[test]
fn behind_a_proxy_that_is_trusted_the_client_is_who_it_names() {
    let home = Home::prepared();
    let settings =
        ["server.trusted_proxies=[\"127.0.0.1\"]", "server.forwarded_header=x-forwarded-for"];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
    let server = Server::start_with(&home, &settings);
    let owner = server.sign_in();
    let (_, key) = owner.make_key(&json!({"name": "office", "networks": ["203.0.113.0/24"]}));
    let of = |client: &str| -> Client { server.with_key(&key).with("x-forwarded-for", client) };
    of("203.0.113.5").get("/v1/models").expect(200);
    of("192.0.2.1, 203.0.113.5").get("/v1/models").expect(200);
    // What stands left of the proxy's word anybody may have written.
    for client in ["203.0.113.5, 192.0.2.1", "203.0.114.5", "nonsense"] {
        check(client, &of(client).get("/v1/models"), 401, "invalid_api_key");
    }
    // From a proxy that nobody named, the header says nothing.
    let header = format!("Bearer {key}\r\nx-forwarded-for: 203.0.113.5");
    let answer = ask(&server, ELSEWHERE, ("authorization", &header), "/v1/models", None);
    check("a proxy of one's own", &answer, 401, "invalid_api_key");
    let log = owner.client.get("/api/admin/audit?action=key.refuse").expect(200);
    let addresses: Vec<&str> = log["events"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["address"].as_str())
        .collect();
    assert_eq!(addresses, [ELSEWHERE, HERE, "203.0.114.5", "192.0.2.1"]);
}
