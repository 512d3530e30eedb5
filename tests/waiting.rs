//! The web chat where a model has to be loaded first: the answer begins at once and tells how far it is,
//! is stopped and met again meanwhile, and says what went wrong.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;
#[path = "common/large.rs"]
mod large;

use std::fs;

use common::client::{Events, StreamEvent};
use common::{GUIDE, Home, Server, Session, guide_file, text, wait_for};
use large::{INNER, write_large};
use serde_json::{Value, json};

/// What takes long to load, and what does not.
const LARGE: &str = "large";
const SMALL: &str = "small";

/// Little memory beside the weights, and no end of patience.
const SETTINGS: [&str; 4] = [
    "engine.kv_budget_mib=16",
    "models.load_wait_s=600",
    "limits.person.requests_per_minute=0",
    "limits.person.concurrent=0",
];

/// A server with both, neither of them loaded.
fn serve(home: &Home, more: &[&str]) -> Server {
    let models = home.path("models");
    fs::create_dir(&models).expect("the directory can be made");
    write_large(&models.join(format!("{LARGE}.gguf")), 100 * INNER);
    fs::copy(guide_file(), models.join(format!("{SMALL}.gguf"))).expect("it can be copied");
    let directory = format!("models.directory={}", models.display());
    let mut arguments = vec!["--set", &directory];
    for setting in SETTINGS {
        arguments.extend(["--set", setting]);
    }
    arguments.extend(more);
    Server::start_with(home, &arguments)
}

fn at(conversation: &str, what: &str) -> String {
    format!("/api/conversations/{conversation}{what}")
}

fn question(model: &str, content: &str) -> Value {
    json!({"model": model, "content": content})
}

/// Asks for the large model, and reads up to where it is told that it is loaded.
fn ask(session: &Session, conversation: &str) -> (Events, Vec<StreamEvent>) {
    let asked = question(LARGE, "Hello");
    let mut events = session.client.stream(&at(conversation, "/messages"), &asked);
    let told = up_to_loading(&mut events);
    (events, told)
}

fn up_to_loading(events: &mut Events) -> Vec<StreamEvent> {
    let mut told = Vec::new();
    for event in events {
        let is_last = event.name == "loading" || event.name == "started";
        told.push(event);
        if is_last {
            break;
        }
    }
    told
}

fn state(session: &Session) -> Value {
    let all = session.client.get("/api/admin/models").expect(200);
    let mut models = all["models"].as_array().expect("a list").iter();
    models.find(|model| model["id"] == LARGE).cloned().expect("it is listed")
}

/// Ends the answer, and takes the model out of the memory: a fast machine was too fast.
fn begin_again(session: &Session, conversation: &str) {
    // Not found: it has ended.
    session.client.post(&at(conversation, "/stop"), &json!({}));
    wait_for("the answer to end", || opened(session, conversation)["active"].is_null());
    wait_for("the model to go", || {
        // Refused as long as it is being loaded.
        session.client.post("/api/admin/models/large/unload", &json!({}));
        let model = state(session);
        model["state"] == "not_loaded" && model["progress"].is_null()
    });
}

fn opened(session: &Session, conversation: &str) -> Value {
    session.client.get(&at(conversation, "")).expect(200)
}

/// The last of the messages, and how it ended.
fn last_ending(session: &Session, conversation: &str) -> (Value, Value) {
    let messages = opened(session, conversation)["messages"].clone();
    let last = messages.as_array().and_then(|all| all.last()).expect("a message").clone();
    (last["role"].clone(), last["finish_reason"].clone())
}

#[test]
fn an_answer_begins_before_its_model_is_there_is_met_again_and_says_why_it_did_not_come() {
    let home = Home::prepared();
    let server = serve(&home, &[]);
    let owner = server.sign_in();
    wait_for("a load to be cancelled before it has ended", || {
        let id = owner.begin_conversation("Waiting");
        let (events, told) = ask(&owner, &id);
        let request = events.headers["x-request-id"].to_str().expect("text").to_owned();
        assert_eq!(told[0].name, "start");
        // As a browser does that loads its page anew: the connection ends, the wait does not.
        drop(events);
        let met = opened(&owner, &id);
        let Ok(mut again) = owner.client.follow(&at(&id, "/stream")) else {
            begin_again(&owner, &id);
            return false;
        };
        let told_again = up_to_loading(&mut again);
        owner.client.post("/api/admin/models/large/cancel", &json!({}));
        let mut percents = Vec::new();
        let end = again.by_ref().find(|event| {
            percents.extend((event.name == "loading").then(|| event.json()["percent"].as_u64()));
            event.name == "started" || event.name == "error"
        });
        let Some(error) = end.filter(|event| event.name == "error") else {
            begin_again(&owner, &id);
            return false;
        };
        for told in [&told, &told_again] {
            assert_eq!(told.last().map(|event| &*event.name), Some("loading"), "{told:?}");
        }
        assert!(percents.is_sorted() && percents.iter().all(|one| *one <= Some(100)));
        assert_eq!(met["active"]["message_id"], told[0].json()["message_id"]);
        assert_eq!(met["messages"].as_array().map(Vec::len), Some(1), "the question: {met}");
        check_failed(&owner, &id, &error.json(), &request);
        true
    });
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// Holds a wait that came to nothing against what a page reads of it.
fn check_failed(owner: &Session, id: &str, told: &Value, request: &str) {
    let error = &told["error"];
    assert_eq!(error["code"], "model_not_ready", "{told}");
    assert_eq!(error["message"], "The model does not answer. Its loading was cancelled.");
    assert_eq!((&told["request_id"], &told["retry_after"]), (&json!(request), &Value::Null));
    assert_eq!(last_ending(owner, id), (json!("assistant"), json!("interrupted")));
    // What was asked is answered by another model, and stands there once.
    let again = json!({"regenerate": true, "model": GUIDE});
    let events: Vec<_> = owner.client.stream(&at(id, "/messages"), &again).collect();
    assert_eq!(events.last().map(|event| &*event.name), Some("done"), "{events:?}");
    assert_eq!(opened(owner, id)["messages"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_wait_that_is_stopped_frees_its_place_and_a_full_line_is_a_refusal() {
    let home = Home::prepared();
    let server = serve(&home, &["--set", "models.load_waiting_max=1"]);
    let owner = server.sign_in();
    wait_for("a place to be freed while the model is loaded", || {
        let (first, second) =
            (owner.begin_conversation("First"), owner.begin_conversation("Second"));
        let path = at(&second, "/messages");
        let (events, _) = ask(&owner, &first);
        let Err(why) = owner.client.try_stream(&path, &question(LARGE, "Hello")) else {
            // The first did not wait any longer.
            begin_again(&owner, &first);
            begin_again(&owner, &second);
            return false;
        };
        assert!(why.starts_with("503") && why.contains("\"busy\""), "{why}");
        assert_eq!(opened(&owner, &second)["messages"], json!([]), "a refusal leaves nothing");
        owner.client.post(&at(&first, "/stop"), &json!({})).expect(202);
        let last = events.last().expect("a last word");
        assert_eq!((&*last.name, &last.json()["finish_reason"]), ("done", &json!("cancelled")));
        assert_eq!(last_ending(&owner, &first), (json!("assistant"), json!("cancelled")));
        let mut told = Vec::new();
        wait_for("the place", || {
            let second = owner.client.try_stream(&path, &question(LARGE, "Hello"));
            let Ok(mut events) = second else { return false };
            told = up_to_loading(&mut events);
            true
        });
        let is_loading = told.last().is_some_and(|event| event.name == "loading");
        if !is_loading {
            begin_again(&owner, &second);
        }
        is_loading
    });
}

#[test]
fn what_can_be_refused_before_a_model_is_loaded_keeps_its_status_and_loads_none() {
    let home = Home::prepared();
    let policy = home.write("guard.toml", "[phrases]\ndenied = [\"project falcon\"]\n");
    let policy = format!("guard.policy_file={}", text(&policy));
    let server = serve(&home, &["--set", &policy]);
    let owner = server.sign_in();
    let id = owner.begin_conversation("Falcons");
    let path = at(&id, "/messages");
    for (model, content, status, code) in [
        (LARGE, "Tell me about Project Falcon.", 400, "content_policy"),
        ("none", "Hello", 404, "model_not_found"),
        (LARGE, "", 400, "invalid_value"),
    ] {
        let answer = owner.client.post(&path, &question(model, content));
        assert_eq!((answer.status, &*answer.code()), (status, code), "{}", answer.text());
    }
    let program = server.with_key(&home.key());
    let body = json!({"model": LARGE, "prompt": "Project Falcon", "stream": true});
    let answer = program.post("/v1/completions", &body);
    assert_eq!((answer.status, &*answer.code()), (400, "content_policy"), "{}", answer.text());
    let model = state(&owner);
    assert_eq!((&model["state"], &model["progress"]), (&json!("not_loaded"), &Value::Null));
    assert_eq!(opened(&owner, &id)["messages"], json!([]));
    // And what is let through is answered once the model is there.
    let asked = question(SMALL, "Who are you?");
    let events: Vec<_> = owner.client.stream(&path, &asked).collect();
    assert_eq!(events.last().map(|event| &*event.name), Some("done"), "{events:?}");
}
