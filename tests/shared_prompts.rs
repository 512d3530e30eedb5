//! Shared system prompts from outside: whose cache speeds up whose prompt, with the built-in model.

mod common;

use common::{Client, GUIDE, Home, Server, Session};
use serde_json::{Value, json};

const SHARED: &str = "You help the people of a small town library. Answer briefly, in whole sentences, and say so \
    where you are not certain. Do not speak of prices, and send whoever asks for the opening hours to the desk.";
const OWN: &str = "You help me, and nobody else, with my letters to the bank. Answer briefly, in whole sentences, and \
    say so where you are not certain. My account is my own business and that of nobody else in this town.";

/// A program of whoever is signed in.
fn program(server: &Server, of: &Session) -> Client {
    server.with_key(&of.make_key(&json!({"name": "script"})).1)
}

/// How many tokens of a chat were in a cache.
fn cached(client: &Client, system: &str, question: &str) -> u64 {
    let body = json!({"model": GUIDE, "max_tokens": 1, "messages": [
        {"role": "system", "content": system}, {"role": "user", "content": question}]});
    let usage = client.post("/v1/chat/completions", &body).expect(200)["usage"].clone();
    usage["prompt_tokens_details"]["cached_tokens"].as_u64().expect("a count")
}

fn metric(server: &Server, owner: &Session, from: &str) -> u64 {
    let body = json!({"name": "scrape", "scopes": ["metrics.read"]});
    let text = server.with_key(&owner.make_key(&body).1).get("/metrics").text();
    let name = format!("from=\"{from}\",gen_ai_request_model=\"{GUIDE}\"");
    let other = format!("gen_ai_request_model=\"{GUIDE}\",from=\"{from}\"");
    let line = text.lines().find(|line| {
        line.starts_with("strongroom_engine_prompt_tokens_total{")
            && (line.contains(&name) || line.contains(&other))
    });
    let (_, count) = line.expect("a line").rsplit_once(' ').expect("a number");
    count.parse().expect("a number")
}

#[test]
fn class_15_what_one_person_was_told_speeds_up_nobody_else_unless_it_is_shared() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let owner = server.sign_in();
    let guest = server.invite(&owner, "member");
    let (mine, theirs) = (server.with_key(&home.key()), program(&server, &guest));
    // Not shared yet: each has a cache of their own.
    for system in [SHARED, OWN] {
        assert_eq!(cached(&mine, system, "Who are you?"), 0);
        assert!(cached(&mine, system, "Who are you?") >= 32);
        assert_eq!(cached(&theirs, system, "Who are you?"), 0);
    }
    let prompt = json!({"name": "Library", "text": SHARED, "roles": null, "models": [GUIDE]});
    let made = owner.client.post("/api/admin/prompts", &prompt).expect(201);
    // What was in somebody's own cache is not everybody's for that.
    assert_eq!(cached(&mine, SHARED, "What can you do?"), 0);
    let (before, own) = (metric(&server, &owner, "shared"), metric(&server, &owner, "person"));
    let again = cached(&theirs, SHARED, "Which day is it today?");
    assert!(again >= 32, "{again}");
    assert_eq!(metric(&server, &owner, "shared"), before + again);
    assert_eq!(metric(&server, &owner, "person"), own);
    // The question is the person's: the same one is found again by themselves alone.
    let long =
        "Please tell me about the history of the library and of the town around it. ".repeat(4);
    assert_eq!(cached(&theirs, SHARED, &long), again);
    assert!(cached(&theirs, SHARED, &long) > again);
    assert_eq!(cached(&mine, SHARED, &long), again);
    // A letter more, and it is a prompt like any other: each person's own.
    for system in [format!("! {SHARED}"), format!("! {OWN}")] {
        assert_eq!(cached(&mine, &system, "Who are you?"), 0);
        assert!(cached(&mine, &system, "Who are you?") >= 32);
        assert_eq!(cached(&theirs, &system, "Who are you?"), 0);
    }
    let path = format!("/api/admin/prompts/{}", made["id"].as_str().expect("an id"));
    assert_eq!(owner.client.send("DELETE", &path, None).status, 204);
    // From here on it is a prompt of each person's own again.
    assert_eq!(cached(&mine, SHARED, "And now? What is left of it?"), again);
    assert_eq!(metric(&server, &owner, "shared"), before + 4 * again);
}

#[test]
fn a_chat_stands_under_the_prompt_that_was_chosen_for_it() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let owner = server.sign_in();
    let guest = server.invite(&owner, "member");
    let prompt = json!({"name": "Library", "text": SHARED, "roles": ["member"], "models": null});
    owner.client.post("/api/admin/prompts", &prompt).expect(201);
    let choices = guest.client.get("/api/prompts").expect(200);
    assert_eq!(choices["prompts"][0]["name"], "Library");
    assert!(choices["prompts"][0].get("text").is_none());
    let asked = |prompt: Value| {
        let made = guest.client.post("/api/conversations", &json!({"prompt": prompt})).expect(201);
        let path = format!("/api/conversations/{}", made["id"].as_str().expect("an id"));
        guest.client.post(&format!("{path}/messages"), &json!({"content": "Who are you?"})).text();
        let messages = guest.client.get(&path).expect(200)["messages"].clone();
        messages[1]["usage"]["prompt_tokens"].as_u64().expect("a count")
    };
    let (under, without) = (asked(choices["prompts"][0]["id"].clone()), asked(Value::Null));
    assert!(under > without + 30, "{under} and {without}");
}
