//! Requests that name themselves by `Idempotency-Key`: one generation, however often they come.

mod common;

use common::client::Client;
use common::{Answer, GUIDE, Home, Server, Session, pause, wait_for};
use serde_json::{Value, json};

const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";

fn count(owner: &Session, action: &str) -> usize {
    let told = owner.client.get(&format!("/api/admin/audit?action={action}")).expect(200);
    told["events"].as_array().expect("a list").len()
}

fn is_again(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

/// Asks under a name: the answer.
fn ask(program: &Client, name: &str, path: &str, body: &Value) -> Answer {
    program.clone().with("idempotency-key", name).post(path, body)
}

fn chat() -> Value {
    json!({"model": GUIDE, "max_tokens": 16, "temperature": 1,
        "messages": [{"role": "user", "content": "What does Strongroom do?"}]})
}

#[test]
fn one_generation_answers_a_request_that_comes_again_even_after_a_restart() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let program = server.with_key(&home.key());
    let first = ask(&program, "once", CHAT, &chat());
    assert_eq!((first.status, is_again(&first)), (200, false), "{}", first.text());
    let again = ask(&program, "once", CHAT, &chat());
    assert_eq!((again.status, is_again(&again)), (200, true));
    assert_eq!(again.body, first.body);
    let key = home.key();
    assert!(!ask(&server.with_key(&key), "once", CHAT, &chat()).text().is_empty());
    assert!(server.stop().success());
    let server = Server::start(&home);
    let program = server.with_key(&key);
    let before = count(&server.sign_in(), "generation.start");
    let again = ask(&program, "once", CHAT, &chat());
    let other = ask(&program, "once", CHAT, &json!({"model": GUIDE, "messages": []}));
    assert_eq!((other.status, other.code().as_str()), (400, "idempotency_key_reused"));
    assert!(is_again(&again), "{}", again.text());
    assert_eq!(count(&server.sign_in(), "generation.start"), before, "nobody's tokens");
}

#[test]
fn a_stream_comes_again_as_the_same_events() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let (program, owner) = (server.with_key(&home.key()), server.sign_in());
    for (path, is_message) in [(CHAT, false), ("/v1/messages", true), ("/v1/responses", false)] {
        let mut body = chat();
        body["stream"] = json!(true);
        if path == "/v1/responses" {
            body = json!({"model": GUIDE, "input": "What does Strongroom do?", "stream": true,
                "max_output_tokens": 16});
        }
        let before = count(&owner, "generation.start");
        let first = ask(&program, path, path, &body);
        let again = ask(&program, path, path, &body);
        assert_eq!((first.status, is_again(&first)), (200, false), "{path}: {}", first.text());
        assert_eq!((again.status, is_again(&again)), (200, true), "{path}: {}", again.text());
        assert_eq!(again.headers["content-type"], first.headers["content-type"]);
        assert_eq!(again.text(), first.text(), "{path}");
        assert!(!is_message || again.text().contains("event: message_stop"));
        assert_eq!(count(&owner, "generation.start"), before + 1, "{path}");
    }
}

#[test]
fn a_response_that_was_deleted_is_not_sent_again() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let program = server.with_key(&home.key());
    let body = json!({"model": GUIDE, "input": "What does Strongroom do?", "store": true,
        "max_output_tokens": 16});
    let ask = || ask(&program, "gone", "/v1/responses", &body);
    let first = ask();
    assert_eq!((first.status, is_again(&first)), (200, false), "{}", first.text());
    assert!(is_again(&ask()));
    let told: Value = serde_json::from_slice(&first.body).expect("JSON");
    let path = format!("/v1/responses/{}", told["id"].as_str().expect("an id"));
    program.send("DELETE", &path, None).expect(200);
    let anew = ask();
    assert_eq!((anew.status, is_again(&anew)), (200, false), "{}", anew.text());
    assert_ne!(anew.body, first.body);
}

#[test]
fn a_request_that_is_being_answered_is_not_answered_twice() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let program = server.with_key(&home.key());
    let long = json!({"model": GUIDE, "prompt": "Strongroom", "max_tokens": 400,
        "logit_bias": {"0": -100, "1": -100, "2": -100}});
    let mut turn = 0;
    wait_for("two at the same time", || {
        let name = format!("turn-{turn}");
        std::thread::scope(|scope| {
            let first = scope.spawn(|| ask(&program, &name, COMPLETIONS, &long));
            pause(&mut turn);
            let second = ask(&program, &name, COMPLETIONS, &long);
            let first = first.join().expect("it is answered");
            let (answer, other) =
                if second.status == 409 { (first, second) } else { (second, first) };
            assert_eq!(answer.status, 200, "{}", answer.text());
            if other.status == 409 {
                assert_eq!(other.code(), "idempotency_in_progress");
                assert!(other.headers.contains_key("retry-after"));
            }
            other.status == 409
        })
    });
}

#[test]
fn who_left_a_stream_asks_anew_under_the_same_name() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let (key, owner) = (home.key(), server.sign_in());
    let body = json!({"model": GUIDE, "prompt": "Strongroom", "max_tokens": 400, "stream": true,
        "logit_bias": {"0": -100, "1": -100, "2": -100}});
    let text = body.to_string();
    let request = format!(
        "POST {COMPLETIONS} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\
         idempotency-key: left\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    let mut raw = server.raw();
    raw.send(request.as_bytes()).expect("taken");
    raw.receive().expect("it begins");
    drop(raw);
    wait_for("the end of the work", || count(&owner, "generation.end") == 1);
    let program = server.with_key(&key);
    let mut answer = None;
    wait_for("the name to be free", || {
        let again = ask(&program, "left", COMPLETIONS, &body);
        let is_free = again.status != 409;
        answer = Some(again);
        is_free
    });
    let answer = answer.expect("it was waited for");
    assert_eq!(answer.status, 200);
    // Where it was written to its end before the client had gone, it is the one that was kept.
    assert!(answer.text().ends_with("data: [DONE]\n\n"));
    assert!(is_again(&answer) || count(&owner, "generation.start") == 2);
}
