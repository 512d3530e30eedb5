//! What one person may use of one model, from outside: by whatever name it is asked for, and across a
//! restart.

mod common;

use std::fs;

use common::{Client, GUIDE, Home, Server, guide_file, text};
use serde_json::json;

fn ask(client: &Client, model: &str) -> String {
    let messages = json!([{"role": "user", "content": "Hello"}]);
    let body = json!({"model": model, "messages": messages, "max_tokens": 1});
    let answer = client.post("/v1/chat/completions", &body);
    if answer.status == 200 { "ok".to_owned() } else { answer.code() }
}

#[test]
fn one_person_may_use_so_much_of_a_model_by_whatever_name() {
    let home = Home::prepared();
    let other = home.path("other.gguf");
    fs::copy(guide_file(), &other).expect("copies");
    let arguments = [
        "--model",
        text(&other),
        "--set",
        "models.default=guide",
        "--set",
        "models.aliases.small=guide",
        "--set",
        "models.limits.guide.person_requests_per_minute=1",
        "--set",
        "limits.weights.owner=4",
    ];
    let server = Server::start_with(&home, &arguments);
    let client = server.with_key(&home.key());
    assert_eq!(ask(&client, GUIDE), "ok");
    // Texts that are shown as tokens count as requests of the model too.
    let body = json!({"model": "small", "prompt": "Hello"});
    assert_eq!(client.post("/v1/tokenize", &body).code(), "rate_limit_exceeded");
    for model in [GUIDE, "small"] {
        assert_eq!(ask(&client, model), "rate_limit_exceeded", "{model}");
    }
    assert_eq!(ask(&client, "other"), "ok");
    let owner = server.sign_in();
    let guest = server.invite(&owner, "member");
    let (_, key) = guest.make_key(&json!({"name": "script"}));
    assert_eq!(ask(&server.with_key(&key), "small"), "ok", "it is each person's own");
    let events = owner.client.get("/api/admin/audit?action=generation.refuse").text();
    assert!(events.contains("requests_per_minute") && events.contains(GUIDE), "{events}");
    assert!(server.stop().success());
    let server = Server::start_with(&home, &arguments);
    let client = server.with_key(&home.key());
    assert_eq!(ask(&client, "small"), "rate_limit_exceeded", "a restart gives nothing away");
    assert_eq!(ask(&client, "other"), "ok");
}
