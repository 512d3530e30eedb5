//! The first hour of a server, from outside: set-up link, owner, chat, key, programs, restart.

mod common;

use common::client::StreamEvent;
use common::{Client, GUIDE, Home, OWNER, PASSWORD, Server, Session};
use serde_json::{Value, json};

const TITLE: &str = "Harbour lights";
const QUESTION: &str = "What are you, and what can you do?";

#[test]
fn from_the_set_up_link_to_a_restart_everything_stays() {
    let home = Home::empty();
    let mut server = Server::start(&home);
    let session = set_up(&mut server);
    let conversation = session.begin_conversation(TITLE);
    let said = chat(&session, &conversation);
    let (_, key) = session.make_key(&json!({"name": "a program"}));
    let spoken = call(&server.with_key(&key));
    assert!(server.stop().success(), "SIGTERM ends the server in good order");

    let server = Server::start(&home);
    // The session is still good, as are the password, the key, and every word.
    let again = Session { client: moved(&session, &server), me: session.me.clone() };
    assert_eq!(again.client.get("/api/me").expect(200)["person"]["username"], OWNER);
    for session in [again, server.sign_in()] {
        let read = session.client.get(&format!("/api/conversations/{conversation}")).expect(200);
        assert_eq!(read["conversation"]["title"], TITLE);
        let words: Vec<&str> = texts(&read["messages"]);
        assert_eq!(words, [QUESTION, &said]);
    }
    assert_eq!(call(&server.with_key(&key)), spoken, "the same seed gives the same answer");
    assert!(server.stop().success());

    let verified = home.strongroom(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", common::both(&verified));
}

#[test]
fn the_set_up_link_works_once() {
    let home = Home::empty();
    let mut server = Server::start(&home);
    let link = server.setup_link();
    let token = link.split_once('#').expect("a secret").1;
    let body = |token: &str| json!({"token": token, "username": OWNER, "display_name": "Olivia", "password": PASSWORD});
    let wrong = server.client().post("/api/setup", &body(&"0".repeat(token.len())));
    assert!(matches!(wrong.status, 400 | 401), "{}", wrong.text());
    server.client().post("/api/setup", &body(token)).expect(201);
    let second = server.client().post("/api/setup", &body(token));
    assert!(matches!(second.status, 401 | 409), "{} {}", second.status, second.text());
}

#[test]
fn the_data_directory_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::prepared();
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!(mode(&home.data()), 0o700);
    assert_eq!(mode(&home.data().join("keys/root.key")), 0o600);
    assert_eq!(mode(&home.path("key")), 0o600);
}

fn set_up(server: &mut Server) -> Session {
    let status = server.client().get("/api/status").expect(200);
    assert_eq!(status["state"], "setup");
    let link = server.setup_link();
    let page = server.client().get("/setup");
    assert_eq!(page.status, 200);
    let token = link.split_once('#').expect("a secret").1;
    let body = json!({"token": token, "username": OWNER, "display_name": "Olivia Ray",
        "password": PASSWORD});
    let client = server.client();
    let answer = client.post("/api/setup", &body);
    answer.expect(201);
    assert_eq!(server.client().get("/api/status").expect(200)["state"], "ready");
    Session::from_answer(client, &answer)
}

/// Says something in a conversation, and gives the words of the answer.
fn chat(session: &Session, conversation: &str) -> String {
    let events = session.say(conversation, QUESTION);
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names.first(), Some(&"start"), "{names:?}");
    assert_eq!(names.last(), Some(&"done"), "{events:?}");
    let deltas: Vec<&StreamEvent> = events.iter().filter(|event| event.name == "delta").collect();
    assert!(deltas.len() > 1, "the answer streams: {names:?}");
    let done = events.last().expect("there is one").json();
    assert!(done["usage"]["completion_tokens"].as_u64() > Some(0), "{done}");
    let text = |event: &&StreamEvent| event.json()["text"].as_str().expect("text").to_owned();
    deltas.iter().map(text).collect()
}

/// Asks as a program does, unstreamed and streamed, and holds the two against each other.
fn call(client: &Client) -> String {
    let models = client.get("/v1/models").expect(200);
    assert_eq!(models["object"], "list");
    assert_eq!(models["data"][0]["id"], GUIDE);
    let mut body = json!({"model": GUIDE, "seed": 7, "max_tokens": 24,
        "messages": [{"role": "user", "content": QUESTION}]});
    let whole = client.post("/v1/chat/completions", &body).expect(200);
    let text = whole["choices"][0]["message"]["content"].as_str().expect("text").to_owned();
    assert!(!text.is_empty());
    let usage = &whole["usage"];
    let count = |name: &str| usage[name].as_u64().expect("a number");
    assert_eq!(count("total_tokens"), count("prompt_tokens") + count("completion_tokens"));

    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let events: Vec<StreamEvent> = client.stream("/v1/chat/completions", &body).collect();
    let (last, chunks) = events.split_last().expect("there are events");
    assert_eq!(last.data, "[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(StreamEvent::json).collect();
    let piece = |chunk: &Value| {
        chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(chunks.iter().map(piece).collect::<String>(), text);
    let streamed = &chunks.last().expect("there are chunks")["usage"];
    assert_eq!(streamed["total_tokens"], usage["total_tokens"]);
    text
}

/// The client of a session, pointed at the server's new port.
fn moved(session: &Session, server: &Server) -> Client {
    session.client.clone().at(&server.base)
}

fn texts(messages: &Value) -> Vec<&str> {
    let list = messages.as_array().expect("a list");
    list.iter().map(|message| message["content"].as_str().expect("text")).collect()
}
