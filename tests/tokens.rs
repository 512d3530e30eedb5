//! Texts as tokens and back, from outside: the real binary with the built-in model and one that makes
//! vectors.

mod common;

use std::path::Path;

use common::{GUIDE, Home, Server, text};
use serde_json::{Value, json};

const EMBEDDING: &str = "bert-mean";

fn serve(home: &Home) -> Server {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/embeddings/bert-mean.gguf");
    Server::start_with(home, &["--set", "models.default=guide", "--model", text(&file)])
}

fn numbers(answer: &Value) -> Vec<u64> {
    let tokens = answer["tokens"].as_array().expect("a list").iter();
    tokens.map(|token| token.as_u64().expect("a number")).collect()
}

#[test]
fn a_text_becomes_tokens_and_comes_back() {
    let home = Home::prepared();
    let server = serve(&home);
    let client = server.with_key(&home.key());
    let said = "Grüße, 12 €\n\tund 🚀 <|im_end|>";
    let read = client.post("/v1/tokenize", &json!({"model": GUIDE, "prompt": said})).expect(200);
    let tokens = numbers(&read);
    assert_eq!(read["count"], tokens.len());
    assert!(read["max_model_len"].as_u64().expect("a number") > 100);
    assert!(read.get("token_strs").is_none());
    let spelled = client.post("/v1/detokenize", &json!({"tokens": tokens})).expect(200);
    assert_eq!(spelled, json!({"prompt": said, "content": said}));
    // The count is what a completion of the same text is charged.
    let body = json!({"model": GUIDE, "prompt": said, "max_tokens": 1});
    let usage = client.post("/v1/completions", &body).expect(200)["usage"].clone();
    assert_eq!(usage["prompt_tokens"], read["count"]);
    // Each token with what it stands for; a character of several tokens comes as bytes.
    let body = json!({"content": said, "with_pieces": true, "return_token_strs": true});
    let read = client.post("/v1/tokenize", &body).expect(200);
    let bytes: Vec<u8> = read["tokens"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|token| match &token["piece"] {
            Value::String(piece) => piece.clone().into_bytes(),
            piece => serde_json::from_value(piece.clone()).expect("bytes"),
        })
        .collect();
    assert_eq!(String::from_utf8(bytes).expect("whole").trim_start(), said);
    assert_eq!(
        read["token_strs"].as_array().map(Vec::len),
        read["tokens"].as_array().map(Vec::len)
    );
}

#[test]
fn a_conversation_has_as_many_tokens_as_the_chat_is_charged() {
    let home = Home::prepared();
    let server = serve(&home);
    let client = server.with_key(&home.key());
    let messages = json!([{"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello <|im_end|>"}]);
    let read = client.post("/v1/tokenize", &json!({"messages": messages})).expect(200);
    let body = json!({"messages": messages, "max_tokens": 1});
    let usage = client.post("/v1/chat/completions", &body).expect(200)["usage"].clone();
    assert_eq!(usage["prompt_tokens"], read["count"]);
    let body = json!({"messages": messages, "add_generation_prompt": false});
    let closed = client.post("/v1/tokenize", &body).expect(200);
    assert!(closed["count"].as_u64() < read["count"].as_u64());
}

#[test]
fn what_people_write_is_no_control_token_unless_it_is_asked_for() {
    let home = Home::prepared();
    let server = serve(&home);
    let client = server.with_key(&home.key());
    let said = json!([{"role": "user", "content": "x"}]);
    let body = json!({"messages": said, "return_token_strs": true});
    let framed = client.post("/v1/tokenize", &body).expect(200);
    // A control token of the chat template: it is there as a token, and not in the text.
    let (tokens, names) = (numbers(&framed), &framed["token_strs"]);
    let spelled = |token: u64| {
        client.post("/v1/detokenize", &json!({"tokens": [token]})).expect(200)["content"].clone()
    };
    let is_control = |at: &usize| spelled(tokens[*at]) == "";
    let at = (0..tokens.len()).find(is_control).expect("the template has one");
    let name = names[at].as_str().expect("a name");
    let plain = client.post("/v1/tokenize", &json!({"content": name})).expect(200);
    assert!(!numbers(&plain).contains(&tokens[at]), "{name}");
    let body = json!({"content": name, "parse_special": true});
    assert_eq!(numbers(&client.post("/v1/tokenize", &body).expect(200)), [tokens[at]]);
}

#[test]
fn a_model_that_makes_vectors_shows_its_tokens_too() {
    let home = Home::prepared();
    let server = serve(&home);
    let client = server.with_key(&home.key());
    let framed = client.post("/v1/tokenize", &json!({"model": EMBEDDING, "prompt": "t9 t10"}));
    assert_eq!(framed.expect(200)["count"], 4);
    let bare = client.post("/v1/tokenize", &json!({"model": EMBEDDING, "content": "t9 t10"}));
    assert_eq!(numbers(&bare.expect(200)), [9, 10]);
    let said = json!([{"role": "user", "content": "t9"}]);
    let refused = client.post("/v1/tokenize", &json!({"model": EMBEDDING, "messages": said}));
    assert_eq!(refused.code(), "invalid_value");
}

#[test]
fn whoever_may_not_is_refused_and_nothing_of_the_text_is_kept() {
    let home = Home::prepared();
    let server = Server::start_with(&home, &["--set", "limits.key.requests_per_minute=4"]);
    let secret = "cinnamon heliotrope";
    let body = json!({"prompt": secret});
    assert_eq!(server.client().post("/v1/tokenize", &body).status, 401);
    assert_eq!(server.client().post("/v1/detokenize", &json!({"tokens": [1]})).status, 401);
    let client = server.with_key(&home.key());
    for (path, body, code, param) in [
        ("tokenize", json!({"prompt": secret, "model": "none"}), "model_not_found", "model"),
        ("detokenize", json!({"tokens": [4_000_000]}), "invalid_value", "tokens"),
        ("tokenize", json!({"prompt": "x".repeat(1_048_577)}), "invalid_value", "prompt"),
        // What is malformed is refused before it counts.
        ("tokenize", json!({"prompt": secret, "colour": 1}), "unknown_parameter", "colour"),
    ] {
        let answer = client.post(&format!("/v1/{path}"), &body);
        assert_eq!(answer.code(), code, "{path}: {}", answer.text());
        let error: Value = serde_json::from_str(&answer.text()).expect("JSON");
        assert_eq!(error["error"]["param"], param);
    }
    client.post("/v1/tokenize", &body).expect(200);
    assert_eq!(client.post("/v1/tokenize", &body).code(), "rate_limit_exceeded");
    let owner = server.sign_in();
    let events = owner.client.get("/api/admin/audit?action=tokens.read").text();
    assert!(events.contains("tokens.read") && !events.contains("cinnamon"), "{events}");
    assert!(!server.log().contains("cinnamon"));
}

#[test]
fn clients_of_other_servers_find_the_same_without_v1() {
    let home = Home::prepared();
    let server = serve(&home);
    let client = server.with_key(&home.key());
    let body = json!({"model": GUIDE, "prompt": "Hello"});
    let read = client.post("/tokenize", &body).expect(200);
    assert_eq!(read, client.post("/v1/tokenize", &body).expect(200));
    let tokens = json!({"model": GUIDE, "tokens": read["tokens"]});
    assert_eq!(client.post("/detokenize", &tokens).expect(200)["prompt"], "Hello");
    let unranked = json!({"model": GUIDE, "query": "a", "documents": ["b"]});
    assert_eq!(client.post("/rerank", &unranked).code(), "invalid_value");
    // Long texts are taken, and the limits are told, as below /v1.
    let long = json!({"model": GUIDE, "content": "x".repeat(200_000)});
    let answer = client.post("/tokenize", &long);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.headers.contains_key("x-ratelimit-limit-requests"));
    // A key opens them, and nothing else does.
    let owner = server.sign_in();
    for path in ["/tokenize", "/detokenize", "/rerank"] {
        assert_eq!(server.client().post(path, &body).code(), "invalid_api_key", "{path}");
        assert_eq!(owner.client.post(path, &body).code(), "invalid_api_key", "{path}");
        assert_eq!(client.get(path).code(), "method_not_allowed", "{path}");
    }
    let events = owner.client.get("/api/admin/audit?action=tokens.read").text();
    assert!(events.matches("tokens.read").count() >= 4, "{events}");
}
