//! What one person may use of one model, from outside: by whatever name it is asked for, and across a
//! restart.

mod common;

use std::fs;

use common::{Client, GUIDE, Home, Server, guide_file, text};
use serde_json::{Value, json};

#[test]
fn headers_tell_the_limit_that_leaves_least() {
    let home = Home::prepared();
    let other = home.path("other.gguf");
    fs::copy(guide_file(), &other).expect("copies");
    let mut arguments = vec!["--model", text(&other)];
    for setting in [
        "models.default=guide",
        "models.aliases.small=guide",
        "models.limits.guide.person_requests_per_minute=2",
        "models.limits.guide.person_tokens_per_minute=900",
        "limits.person.requests_per_minute=50",
        "limits.key.tokens_per_minute=5000",
    ] {
        arguments.extend(["--set", setting]);
    }
    let server = Server::start_with(&home, &arguments);
    let client = server.with_key(&home.key());
    let told = |path: &str, body: &Value, expected: [&str; 2]| {
        let answer = client.post(path, body);
        let header = |name: &str| {
            let value = answer.headers.get(format!("x-ratelimit-{name}"));
            value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let found = [header("limit-requests"), header("limit-tokens")];
        assert_eq!(found, expected, "{path}: {body}");
        header("remaining-requests")
    };
    let chat = |model: &str| {
        let messages = json!([{"role": "user", "content": "Hello"}]);
        json!({"model": model, "messages": messages, "max_tokens": 1})
    };
    // Its own limits are tighter than all others, by whatever name it is asked for.
    let of_guide = ["2", "900"];
    assert_eq!(told("/v1/chat/completions", &chat("small"), of_guide), "1");
    let streamed = json!({"prompt": "Hello", "max_tokens": 1, "stream": true});
    assert_eq!(
        told("/v1/completions", &streamed, of_guide),
        "0",
        "without a name it is the default"
    );
    let refused = told("/v1/tokenize", &json!({"model": "guide", "prompt": "Hello"}), of_guide);
    assert_eq!(refused, "0");
    told("/v1/detokenize", &json!({"model": "guide", "tokens": [5]}), of_guide);
    assert_eq!(client.get("/v1/models/guide").headers["x-ratelimit-limit-requests"], "2");
    // Another model has none, and so has a request that is not understood.
    told("/v1/chat/completions", &chat("other"), ["50", "5000"]);
    told("/v1/chat/completions", &json!({"model": 7}), ["50", "5000"]);
}

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
