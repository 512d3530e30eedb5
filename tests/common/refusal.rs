//! What a refusal may look like, and the text that no answer and no log may show.

use serde_json::{Value, json};

use super::GUIDE;
use super::client::{Answer, Client};
use super::numbered::rows;

/// Stands in every text that is sent here, and must stand in no answer and no log.
pub const CANARY: &str = "vermilion-walrus";
/// Where most requests go.
pub const CHAT: &str = "/v1/chat/completions";

/// Holds an error against what a client may see.
pub fn check(what: &str, answer: &Answer, status: u16, code: &str) {
    let text = answer.text();
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {text}");
    let body: Value = serde_json::from_str(&text).expect("an error is JSON");
    let fields: Vec<&String> = body["error"].as_object().expect("an object").keys().collect();
    assert_eq!(fields, ["message", "type", "param", "code"], "{what}");
    assert!(names_what_it_should(&body["error"]), "{what}: not the `param` of docs/api.md: {text}");
    for inside in [CANARY, "panicked", "src/", ".rs", "/tmp", "rusqlite", "SELECT", "stack"] {
        assert!(!text.contains(inside), "{what} shows `{inside}`: {text}");
    }
    assert!(answer.headers.contains_key("x-request-id"), "{what} has no request id");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{what}");
}

/// Whether an error names the parameter that the table of docs/api.md, which is made from the code, says.
fn names_what_it_should(error: &Value) -> bool {
    let table = rows("api.md", "errors");
    let place = |name: &str| table[0].iter().position(|column| column == name).expect("a column");
    let (code, param) = (place("code"), place("param"));
    let is_its = |row: &&Vec<String>| error["code"] == row[code].trim_matches('`');
    let row = table[1..].iter().find(is_its).expect("its code is in the table");
    match (row[param].as_str(), error["param"].as_str()) {
        ("", named) => named.is_none(),
        ("the parameter at fault", named) => named.is_some(),
        (_, None) => row[param].ends_with(", or none"),
        ("the parameter at fault, or none", Some(_)) => true,
        (one, Some(named)) => one.trim_end_matches(", or none") == format!("`{named}`"),
    }
}

/// Sends a body of any bytes; an answer must come.
pub fn post(client: &Client, path: &str, kind: &str, body: impl Into<Vec<u8>>) -> Answer {
    let sent = client.try_send("POST", path, &[("content-type", kind)], Some(body.into()));
    sent.unwrap_or_else(|error| panic!("POST {path}: {error}"))
}

/// A body that is right.
pub fn chat_body() -> Value {
    json!({"model": GUIDE, "max_tokens": 4, "messages": [{"role": "user", "content": CANARY}]})
}
