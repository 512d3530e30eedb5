//! Every route of the server's own table, with every kind of caller and every method: nothing answers whom
//! its row does not name, and what is in no row is not there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{is_for_programs, path_of, start};
use crate::common::numbered::rows;
use crate::common::{Answer, Client, Home, OWNER, PASSWORD, Server, Session};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// Codes of those who are not let in.
const SHUT: [&str; 4] = ["not_signed_in", "invalid_api_key", "permission_denied", "cross_origin"];

/// What other servers of this kind have open.
const ELSEWHERE: [&str; 49] = [
    "/api/tags",
    "/api/generate",
    "/api/chat",
    "/api/pull",
    "/api/ps",
    "/api/version",
    "/api/show",
    "/health",
    "/ping",
    "/version",
    "/info",
    "/props",
    "/slots",
    "/slots/0",
    "/completion",
    "/infill",
    "/lora-adapters",
    "/embedding",
    "/apply-template",
    "/invocations",
    "/pause",
    "/resume",
    "/sleep",
    "/wake_up",
    "/reset_prefix_cache",
    "/update_weights",
    "/collective_rpc",
    "/server_info",
    "/v1/load_lora_adapter",
    "/v1/internal/model/load",
    "/v1/files",
    "/v1/audio/transcriptions",
    "/v1/realtime",
    "/v1/realtime/sessions",
    "/debug/pprof",
    "/actuator",
    "/admin/config",
    "/config",
    "/.env",
    "/.git/HEAD",
    "/server-status",
    "/metrics/",
    "/v1/models/",
    "/API/me",
    "/Api/admin/people",
    "/api//me",
    "/api/me/",
    "/api/admin",
    "/V1/models",
];

struct Route {
    method: String,
    path: String,
    /// `everybody`, `who is signed in`, or a permission.
    who: String,
}

fn routes() -> Vec<Route> {
    let word = |cell: &str| cell.trim_matches('`').to_owned();
    let table = rows("api.md", "routes");
    assert_eq!(table[0], ["method", "path", "who"]);
    let route = |row: &Vec<String>| Route {
        method: row[0].clone(),
        path: word(&row[1]),
        who: word(&row[2]),
    };
    table[1..].iter().map(route).collect()
}

/// What each role may, by the table of permissions.
fn permissions(role: &str) -> BTreeSet<String> {
    let table = rows("security.md", "permissions");
    let column = table[0].iter().position(|name| name == role).expect("a role");
    let has = table[1..].iter().filter(|row| row[column] == "yes");
    has.map(|row| row[0].trim_matches('`').to_owned()).collect()
}

/// How somebody comes.
enum Comes {
    /// With nothing, or with nothing that is good.
    NotIn,
    /// As somebody who is signed in to the web app.
    Signed(BTreeSet<String>),
    /// With a key of these scopes.
    Keyed(BTreeSet<String>),
}

impl Comes {
    fn may(&self, route: &Route) -> bool {
        let programs = is_for_programs(&route.path);
        match self {
            _ if route.who == "everybody" => true,
            Self::NotIn => false,
            Self::Signed(held) => {
                !programs && (route.who == "who is signed in" || held.contains(&route.who))
            }
            Self::Keyed(held) => programs && held.contains(&route.who),
        }
    }
}

fn send(client: &Client, method: &str, path: &str) -> Answer {
    // A body that no handler takes, so that nothing is done where somebody is let in.
    let body = (!matches!(method, "GET" | "HEAD" | "OPTIONS")).then(|| b"{}".to_vec());
    let headers = [("content-type", "application/json")];
    client
        .try_send(method, path, &headers, body)
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// Everybody who may come, by name.
fn callers(home: &Home, server: &Server, owner: &Session) -> Vec<(&'static str, Client, Comes)> {
    let member = server.invite(owner, "member");
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let key = |session: &Session, body: &serde_json::Value| session.make_key(body).1;
    let (gone_id, gone) = owner.make_key(&json!({"name": "gone"}));
    let path = format!("/api/me/keys/{gone_id}");
    assert_eq!(owner.client.send("DELETE", &path, None).status, 204);
    // The cookie of a session, kept where a browser would forget it when the session ends.
    let client = server.client();
    let begun = client.post("/api/session", &json!({"username": OWNER, "password": PASSWORD}));
    let cookie = begun.headers["set-cookie"].to_str().expect("text");
    let cookie = cookie.split(';').next().expect("a value").to_owned();
    let left = Session::from_answer(client, &begun);
    assert_eq!(left.client.send("DELETE", "/api/session", None).status, 204);
    let scraper = key(owner, &json!({"name": "scraper", "scopes": ["metrics.read"]}));
    let script = key(&member, &json!({"name": "script"}));
    let unknown = format!("sr-{}", "0".repeat(72));
    vec![
        ("nobody", server.client(), Comes::NotIn),
        ("an unknown key", server.with_key(&unknown), Comes::NotIn),
        ("a revoked key", server.with_key(&gone), Comes::NotIn),
        ("a session that has ended", server.client().with("cookie", &cookie), Comes::NotIn),
        (
            "a key as a cookie",
            server.client().with("cookie", &format!("__Host-strongroom={script}")),
            Comes::NotIn,
        ),
        ("a member", member.client, Comes::Signed(permissions("member"))),
        ("a member's key", server.with_key(&script), Comes::Keyed(set(&["api.use"]))),
        ("a key for numbers", server.with_key(&scraper), Comes::Keyed(set(&["metrics.read"]))),
        ("the owner's key", server.with_key(&home.key()), Comes::Keyed(set(&["api.use"]))),
    ]
}

#[test]
fn class_04_every_route_is_shut_to_all_but_those_whom_its_row_names() {
    let home = Home::prepared();
    let mut server = start(&home, &[]);
    let owner = server.sign_in();
    let callers = callers(&home, &server, &owner);
    let (mut let_in, mut shut_out) = (0, 0);
    for route in routes() {
        let path = path_of(&route.path, "nothing");
        for (name, client, comes) in &callers {
            // It would end the session that the next rows need.
            if path == "/api/session" && route.method == "DELETE" && comes.may(&route) {
                continue;
            }
            let answer = send(client, &route.method, &path);
            let place =
                format!("{name}: {} {path}: {} {}", route.method, answer.status, answer.text());
            let is_shut = SHUT.contains(&answer.code().as_str());
            // Those who are let in are told that there is nothing, or that the body is wrong.
            assert_eq!(is_shut, !comes.may(&route), "{place}");
            if is_shut {
                assert!(matches!(answer.status, 401 | 403), "{place}");
                shut_out += 1;
            } else {
                let_in += 1;
            }
        }
    }
    assert!(let_in > 100 && shut_out > 200, "{let_in} were let in, {shut_out} not");
    server.assert_alive();
}

#[test]
fn class_04_a_change_from_a_session_without_its_pages_token_is_shut_out_everywhere() {
    let home = Home::prepared();
    let server = start(&home, &[]);
    let bare = server.client();
    bare.post("/api/session", &json!({"username": OWNER, "password": PASSWORD})).expect(200);
    let mut tried = 0;
    for route in routes() {
        let changes = route.method != "GET" && route.who != "everybody";
        if !changes || is_for_programs(&route.path) {
            continue;
        }
        let path = path_of(&route.path, "nothing");
        for client in [bare.clone(), bare.clone().with("x-strongroom-csrf", &"0".repeat(64))] {
            let answer = send(&client, &route.method, &path);
            let place = format!("{} {path}", route.method);
            assert_eq!((answer.status, answer.code().as_str()), (403, "cross_origin"), "{place}");
            tried += 1;
        }
    }
    assert!(tried > 40, "{tried}");
    bare.get("/api/me").expect(200);
}

#[test]
fn class_04_methods_and_addresses_that_are_in_no_row_are_not_there() {
    let home = Home::prepared();
    let mut server = start(&home, &[]);
    let owner = server.sign_in();
    let program = server.with_key(&home.key());
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for route in routes() {
        methods.entry(route.path).or_default().insert(route.method);
    }
    for (pattern, taken) in &methods {
        let path = path_of(pattern, "nothing");
        for method in METHODS.iter().filter(|method| !taken.contains(**method)) {
            for (name, client) in
                [("nobody", &server.client()), ("the owner", &owner.client), ("a key", &program)]
            {
                let answer = send(client, method, &path);
                let place = format!("{name}: {method} {path}: {} {}", answer.status, answer.text());
                // The same address may be another route's, whose parameter takes more of it.
                let is_told = name != "nobody" && answer.status == 400;
                assert!(is_told || matches!(answer.status, 401 | 403 | 404 | 405), "{place}");
            }
        }
    }
    for path in ELSEWHERE {
        for method in ["GET", "POST"] {
            let answer = send(&server.client(), method, path);
            let place = format!("{method} {path}: {} {}", answer.status, answer.text());
            // `/admin/…` are addresses of the page, which has nothing in it but a way to sign in.
            let is_page = path.starts_with("/admin/") && answer.text().contains("<!doctype html>");
            assert!(is_page || matches!(answer.status, 401 | 404 | 405), "{place}");
        }
    }
    server.assert_alive();
}
