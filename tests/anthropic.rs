//! Anthropic's Messages API from outside: the real binary with the built-in model.

mod common;

use common::client::StreamEvent;
use common::{Answer, Client, GUIDE, Home, Server, Session, text};
use serde_json::{Value, json};

const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";
const CARD: &str = "4111 1111 1111 1111";
const CANARY: &str = "cinnamon heliotrope";

fn serve(home: &Home, settings: &[&str]) -> Server {
    let fixed = ["models.default=guide", "limits.person.requests_per_minute=0"];
    let all = fixed.iter().chain(settings).flat_map(|setting| ["--set", *setting]);
    Server::start_with(home, &all.collect::<Vec<_>>())
}

fn message(content: &str) -> Value {
    json!({"model": GUIDE, "max_tokens": 24, "temperature": 0,
        "messages": [{"role": "user", "content": content}]})
}

fn with(mut body: Value, change: &Value) -> Value {
    for (name, value) in change.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

/// Holds an error against what Anthropic's clients read.
fn check(what: &str, answer: &Answer, status: u16, kind: &str, code: &str) {
    let text = answer.text();
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {text}");
    let body: Value = serde_json::from_slice(&answer.body).expect("an error is JSON");
    let names = |value: &Value| value.as_object().expect("an object").keys().cloned().collect();
    let (outer, inner): (Vec<String>, Vec<String>) = (names(&body), names(&body["error"]));
    assert_eq!(outer, ["type", "error", "request_id"], "{what}");
    assert_eq!(inner, ["type", "message", "details"], "{what}");
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)), "{what}");
    for name in ["request-id", "x-request-id"] {
        let id = answer.headers[name].to_str().expect("text");
        assert_eq!(body["request_id"], id, "{what}: {name}");
    }
    assert!(!text.contains(CANARY), "{what}: {text}");
}

/// The text of a stream, and its last event but one.
fn told(events: &[StreamEvent]) -> (String, Value) {
    let text =
        events.iter().filter_map(|event| event.json()["delta"]["text"].as_str().map(str::to_owned));
    (text.collect(), events[events.len() - 2].json())
}

#[test]
fn a_message_is_the_same_in_one_piece_and_streamed() {
    let home = Home::prepared();
    let server = serve(&home, &[]);
    let client = server.with_key(&home.key());
    let body = with(message("What is Strongroom?"), &json!({"system": "Be brief."}));
    let whole = client.post(MESSAGES, &body).expect(200);
    let [block] = whole["content"].as_array().expect("blocks").as_slice() else {
        panic!("{whole}")
    };
    assert_eq!((&whole["type"], &whole["role"]), (&json!("message"), &json!("assistant")));
    assert_eq!((&whole["model"], &block["type"]), (&json!(GUIDE), &json!("text")));
    assert!(!block["text"].as_str().expect("a text").is_empty());
    let usage = &whole["usage"];
    let read = usage["input_tokens"].as_u64().zip(usage["cache_read_input_tokens"].as_u64());
    let read = read.map(|(anew, cached)| anew + cached);
    // The count is what the message was charged.
    let counted = json!({"model": GUIDE, "system": "Be brief.", "messages": body["messages"]});
    let counted = client.post(COUNT, &counted).expect(200);
    assert_eq!(counted, json!({ "input_tokens": read }));
    // So is what a chat of OpenAI's API reads.
    let chat = json!({"model": GUIDE, "max_tokens": 1, "messages": [
        {"role": "system", "content": "Be brief."}, body["messages"][0]]});
    let chat = client.post("/v1/chat/completions", &chat).expect(200);
    assert_eq!(chat["usage"]["prompt_tokens"].as_u64(), read);

    let body = with(body, &json!({"stream": true}));
    let events: Vec<StreamEvent> = client.stream(MESSAGES, &body).collect();
    let (said, end) = told(&events);
    assert_eq!(Some(said.as_str()), block["text"].as_str());
    assert_eq!(end["delta"]["stop_reason"], whole["stop_reason"]);
    assert_eq!(end["usage"]["output_tokens"], usage["output_tokens"]);
    assert!(events.iter().all(|event| event.json()["type"] == event.name));
    let mut names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    names.dedup();
    let expected = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names, expected);
}

#[test]
fn an_answer_ends_as_was_asked_and_says_why() {
    let home = Home::prepared();
    let server = serve(&home, &[]);
    let client = server.with_key(&home.key());
    let ask = |change: Value| client.post(MESSAGES, &with(message("Hello"), &change)).expect(200);
    let cut = ask(json!({"max_tokens": 2}));
    assert_eq!((&cut["stop_reason"], &cut["stop_sequence"]), (&json!("max_tokens"), &Value::Null));
    assert_eq!(cut["usage"]["output_tokens"], 2);
    let whole = ask(json!({"max_tokens": 40}));
    let said = whole["content"][0]["text"].as_str().expect("a text");
    let stop = said.split_whitespace().nth(2).expect("some words");
    let stopped = ask(json!({"max_tokens": 40, "stop_sequences": ["<never>", stop]}));
    let why = (&stopped["stop_reason"], &stopped["stop_sequence"]);
    assert_eq!(why, (&json!("stop_sequence"), &json!(stop)));
    let before = stopped["content"][0]["text"].as_str().expect("a text");
    assert!(said.starts_with(before) && !before.contains(stop), "{before}");
}

#[test]
fn tools_are_called_and_their_results_go_back() {
    let home = Home::prepared();
    let server = serve(&home, &[]);
    let client = server.with_key(&home.key());
    let tools = json!([{"name": "weather", "input_schema": {"type": "object",
        "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"],
        "additionalProperties": false}}]);
    let choice = json!({"type": "any", "disable_parallel_tool_use": true});
    let change = json!({"tools": tools, "tool_choice": choice, "max_tokens": 200});
    let body = with(message("How is the weather?"), &change);
    let called = client.post(MESSAGES, &body).expect(200);
    assert_eq!(called["stop_reason"], "tool_use", "{called}");
    let [call] = called["content"].as_array().expect("blocks").as_slice() else {
        panic!("{called}")
    };
    assert_eq!((&call["type"], &call["name"]), (&json!("tool_use"), &json!("weather")));
    assert!(["C", "F"].map(Value::from).contains(&call["input"]["unit"]), "{call}");

    let events: Vec<StreamEvent> =
        client.stream(MESSAGES, &with(body.clone(), &json!({"stream": true}))).collect();
    let pieces = events.iter().map(StreamEvent::json);
    let input: String = pieces
        .filter_map(|data| data["delta"]["partial_json"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(serde_json::from_str::<Value>(&input).expect("JSON"), call["input"]);

    let messages = json!([body["messages"][0], {"role": "assistant", "content": called["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"],
            "content": "Sunny."}]}]);
    let change = json!({"messages": messages, "tool_choice": {"type": "none"}, "max_tokens": 8});
    let answered = client.post(MESSAGES, &with(body, &change)).expect(200);
    assert_ne!(answered["stop_reason"], "tool_use");

    let format = json!({"type": "json_schema", "schema": tools[0]["input_schema"]});
    let change = json!({"output_config": {"format": format}, "max_tokens": 60});
    let held = client.post(MESSAGES, &with(message("How is the weather?"), &change)).expect(200);
    let said: Value =
        serde_json::from_str(held["content"][0]["text"].as_str().expect("a text")).expect("JSON");
    assert!(["C", "F"].map(Value::from).contains(&said["unit"]), "{said}");
}

#[test]
fn case_23_whatever_goes_wrong_is_told_in_their_shape() {
    let home = Home::prepared();
    let server = serve(&home, &["limits.key.requests_per_minute=2", "server.body_bytes_max=65536"]);
    let client = server.with_key(&home.key());
    let right = message(CANARY);
    let invalid = "invalid_request_error";
    for (path, body, status, kind, code) in [
        (MESSAGES, with(right.clone(), &json!({"colour": 1})), 400, invalid, "unknown_parameter"),
        (
            MESSAGES,
            with(right.clone(), &json!({"speed": "fast"})),
            400,
            invalid,
            "unsupported_parameter",
        ),
        (MESSAGES, json!({"messages": []}), 400, invalid, "invalid_request"),
        (COUNT, json!({"messages": []}), 400, invalid, "invalid_value"),
        (COUNT, right.clone(), 400, invalid, "unknown_parameter"),
        (
            MESSAGES,
            with(right.clone(), &json!({"system": "x".repeat(70_000)})),
            413,
            "request_too_large",
            "payload_too_large",
        ),
        ("/v1/messages/batches", right.clone(), 404, "not_found_error", "not_found"),
    ] {
        check(path, &client.post(path, &body), status, kind, code);
    }
    for (method, path) in [("GET", MESSAGES), ("DELETE", COUNT)] {
        let answer = client.try_send(method, path, &[], None).expect("an answer");
        check(method, &answer, 405, invalid, "method_not_allowed");
    }
    let plain = [("content-type", "text/plain")];
    let answer = client.try_send("POST", MESSAGES, &plain, Some(right.to_string().into_bytes()));
    check("text", &answer.expect("an answer"), 415, invalid, "unsupported_media_type");
    let json = [("content-type", "application/json")];
    let answer = client.try_send("POST", MESSAGES, &json, Some(b"{".to_vec()));
    check("half a body", &answer.expect("an answer"), 400, invalid, "invalid_json");

    let unknown = with(right.clone(), &json!({"model": "none"}));
    check("no model", &client.post(MESSAGES, &unknown), 404, "not_found_error", "model_not_found");
    client.post(MESSAGES, &right).expect(200);
    let limited = client.post(MESSAGES, &right);
    check("too many", &limited, 429, "rate_limit_error", "rate_limit_exceeded");
    assert!(limited.headers.contains_key("retry-after"));
    assert!(!server.log().contains(CANARY));
}

#[test]
fn a_server_that_is_shut_says_so_in_their_shape() {
    let home = Home::empty();
    let passphrase = home.write("passphrase", "three grey geese in a green field");
    home.init(&["--passphrase-file", text(&passphrase)]);
    let server = Server::launch(&home, &[]).expect("a sealed server starts");
    server.wait_until(503);
    let answer = server.with_key(&home.key()).post(MESSAGES, &message("Hello"));
    check("sealed", &answer, 503, "api_error", "sealed");
}

#[test]
fn case_24_a_key_is_the_same_credential_in_either_header() {
    let home = Home::prepared();
    let server = serve(&home, &[]);
    let key = home.key();
    let by = |client: Client| client.post(MESSAGES, &message("Hello"));
    by(server.with_key(&key)).expect(200);
    let api_key = |key: &str| server.client().with("x-api-key", key);
    by(api_key(&key)).expect(200);
    let version = |named: &str| by(api_key(&key).with("anthropic-version", named));
    for known in ["2023-06-01", "2026-10-21"] {
        version(known).expect(200);
    }
    let beta = api_key(&key).with("anthropic-beta", "one-2025-01-01,two-2025-01-01");
    beta.post("/v1/messages?beta=true", &message("Hello")).expect(200);
    let refused = version("2020-01-01");
    check("an old version", &refused, 400, "invalid_request_error", "invalid_value");

    let denied = "authentication_error";
    check("no key", &by(server.client()), 401, denied, "invalid_api_key");
    check("no key", &by(api_key("sr-nothing")), 401, denied, "invalid_api_key");
    let both = by(server.with_key(&key).with("x-api-key", &key));
    check("two keys", &both, 400, "invalid_request_error", "invalid_request");
    // Every rule of a key holds for this door.
    let session: Session = server.sign_in();
    let (_, narrow) = session.make_key(&json!({"name": "narrow", "scopes": ["metrics.read"]}));
    check("no scope", &by(api_key(&narrow)), 403, "permission_error", "permission_denied");
    let (id, gone) = session.make_key(&json!({"name": "gone"}));
    by(api_key(&gone)).expect(200);
    assert_eq!(session.client.send("DELETE", &format!("/api/me/keys/{id}"), None).status, 204);
    check("revoked", &by(api_key(&gone)), 401, denied, "invalid_api_key");
}

#[test]
fn the_guard_stands_at_this_door_too() {
    let home = Home::prepared();
    let policy = home.write("guard.toml", "[phrases]\ndenied = [\"project falcon\"]\n");
    let server = serve(&home, &[&format!("guard.policy_file={}", text(&policy))]);
    let client = server.with_key(&home.key());
    let refused = client.post(MESSAGES, &message("Tell me about Project Falcon."));
    check("a phrase", &refused, 400, "invalid_request_error", "content_policy");
    let result = json!({"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t", "content": "project falcon"}]});
    let call = json!({"role": "assistant", "content": [
        {"type": "tool_use", "id": "t", "name": "read", "input": {}}]});
    let asked = json!({"messages": [message("x")["messages"][0], call, result]});
    let refused = client.post(MESSAGES, &with(message("x"), &asked));
    check("a result", &refused, 400, "invalid_request_error", "content_policy");

    let words = format!("My card is {CARD}. What is Strongroom?");
    let notice = json!([
        {"category": "personal.card", "action": "redact", "direction": "input", "count": 1}
    ]);
    let whole = client.post(MESSAGES, &message(&words)).expect(200);
    assert_eq!(whole["strongroom_notices"], notice);
    let streamed = with(message(&words), &json!({"stream": true}));
    let events: Vec<StreamEvent> = client.stream(MESSAGES, &streamed).collect();
    assert_eq!(events[0].json()["message"]["strongroom_notices"], notice);
    let session = server.sign_in();
    let events = session.client.get("/api/admin/audit?action=generation.end").text();
    assert!(events.contains("generation.end") && !events.contains(CARD));
    assert!(!server.log().contains(CARD));
}

#[test]
fn models_are_listed_as_anthropics_clients_read_them() {
    let home = Home::prepared();
    let server = serve(&home, &["models.aliases.small=guide"]);
    let (client, theirs) = (server.with_key(&home.key()), server.with_key(&home.key()));
    let theirs = theirs.with("anthropic-version", "2023-06-01");
    let listed = theirs.get("/v1/models?limit=5").expect(200);
    assert_eq!((&listed["has_more"], &listed["first_id"]), (&json!(false), &json!(GUIDE)));
    let model = listed["data"][0].clone();
    assert_eq!((&model["type"], &model["id"]), (&json!("model"), &json!(GUIDE)));
    assert!(model["created_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{model}");
    assert!(model["max_input_tokens"].as_u64().is_some_and(|tokens| tokens > 100), "{model}");
    assert_eq!(theirs.get("/v1/models/guide").expect(200), model);
    assert_eq!(theirs.get("/v1/models/small").expect(200), model);
    // Everybody else reads what OpenAI's clients read.
    assert_eq!(client.get("/v1/models").expect(200)["object"], "list");
    assert_eq!(client.get("/v1/models/guide").expect(200)["object"], "model");
    for (path, status, kind, code) in [
        ("/v1/models/none", 404, "not_found_error", "model_not_found"),
        ("/v1/models?limit=0", 400, "invalid_request_error", "invalid_value"),
        ("/v1/models?after_id=none", 400, "invalid_request_error", "invalid_value"),
        ("/v1/models?colour=1", 400, "invalid_request_error", "unknown_parameter"),
    ] {
        check(path, &theirs.get(path), status, kind, code);
    }
    let nobody = server.client().with("anthropic-version", "2023-06-01");
    check("no key", &nobody.get("/v1/models"), 401, "authentication_error", "invalid_api_key");
    let old = server.with_key(&home.key()).with("anthropic-version", "2022-01-01");
    let refused = old.get("/v1/models");
    check("another version", &refused, 400, "invalid_request_error", "invalid_value");
}

#[test]
fn beside_tools_a_message_has_its_form() {
    let home = Home::prepared();
    let server = serve(&home, &[]);
    let client = server.with_key(&home.key());
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"], "additionalProperties": false});
    let asked = with(
        message("Is it so?"),
        &json!({"max_tokens": 200,
        "tools": [{"name": "look", "input_schema": schema, "strict": true}],
        "output_config": {"format": {"type": "json_schema", "schema": schema}}}),
    );
    let answer = client.post(MESSAGES, &asked).expect(200);
    for block in answer["content"].as_array().expect("blocks") {
        let value: Value = match block["type"].as_str() {
            Some("text") => {
                serde_json::from_str(block["text"].as_str().expect("a text")).expect("JSON")
            }
            _ => block["input"].clone(),
        };
        assert!(value["ok"].is_boolean(), "{answer}");
    }
}
