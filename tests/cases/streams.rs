//! Answers in events.

use std::time::Duration;

use serde_json::{Value, json};

use super::{CHAT, COMPLETIONS, Place, chat, said, with};
use crate::common::client::StreamEvent;
use crate::common::guides::{long_guide, no_end};
use crate::common::{GUIDE, Home, wait_for};

/// Tokens of an answer that nobody waits for.
const ENDLESS: u64 = 30_000;

/// The data of every event, up to `[DONE]`, which must be the last.
fn chunks(events: impl Iterator<Item = StreamEvent>) -> Vec<Value> {
    let mut all: Vec<StreamEvent> = events.collect();
    assert_eq!(all.pop().map(|last| last.data).as_deref(), Some("[DONE]"));
    all.iter().map(StreamEvent::json).collect()
}

fn text_of(chunks: &[Value]) -> String {
    let pieces = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().expect("choices"));
    pieces.filter_map(|choice| choice["delta"]["content"].as_str()).collect()
}

/// An answer that goes on until it is ended, of the guide with the long context.
fn endless(change: &Value) -> Value {
    let long = json!({"model": "guide-long", "max_tokens": ENDLESS, "logit_bias": no_end()});
    with(chat(&long), change)
}

fn place_of_long_answers(settings: &[&str]) -> Place {
    let home = Home::prepared();
    let model = long_guide(&home, "guide-long");
    Place::serving(home, &[model], settings)
}

#[test]
fn case_03_the_chunk_without_choices_is_the_usage_and_comes_where_it_is_asked_for() {
    let place = Place::with(&[]);
    let client = place.client();
    let body = chat(&json!({"stream": true}));
    for chunk in chunks(client.stream(CHAT, &body)) {
        assert_eq!(chunk["choices"].as_array().map(Vec::len), Some(1), "{chunk}");
        assert!(chunk["usage"].is_null(), "{chunk}");
    }
    let whole = client.post(CHAT, &chat(&json!({}))).expect(200);
    let body = with(body, &json!({"stream_options": {"include_usage": true}}));
    let mut all = chunks(client.stream(CHAT, &body));
    let last = all.pop().expect("a chunk");
    assert_eq!(last["choices"], json!([]));
    for name in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert_eq!(last["usage"][name], whole["usage"][name], "{name}");
    }
    for chunk in all {
        assert_eq!(chunk["choices"].as_array().map(Vec::len), Some(1), "{chunk}");
        assert!(chunk["usage"].is_null(), "{chunk}");
    }
}

#[test]
fn case_04_a_stream_begins_with_the_role_is_one_answer_throughout_and_ends_with_done() {
    let place = Place::with(&[]);
    let client = place.client();
    let all = chunks(client.stream(CHAT, &chat(&json!({"stream": true}))));
    let first = &all[0]["choices"][0];
    assert_eq!(first["delta"]["role"], "assistant");
    assert!(first["finish_reason"].is_null());
    for chunk in &all {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        for name in ["id", "created", "model"] {
            assert!(!chunk[name].is_null());
            assert_eq!(chunk[name], all[0][name], "{name}");
        }
        assert_eq!(chunk["choices"][0]["index"], 0);
    }
    let reasons = all.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]);
    let reasons: Vec<&Value> = reasons.filter(|reason| !reason.is_null()).collect();
    let whole = client.post(CHAT, &chat(&json!({}))).expect(200);
    assert_eq!(reasons, [&whole["choices"][0]["finish_reason"]]);
    assert_eq!(text_of(&all), said(&whole));
}

/// OpenAI's own client raises it: `test_case_05_…` in tests/clients/python/test_calls.py.
#[test]
fn case_05_an_error_after_the_begin_is_an_event_and_the_end() {
    let place = place_of_long_answers(&[]);
    let session = place.server.sign_in();
    let mut cut = None;
    // On a fast machine the answer may end before the key is withdrawn: then once more.
    wait_for("a stream to be cut off", || {
        let (id, key) = session.make_key(&json!({"name": "to be withdrawn"}));
        let client = super::python(place.server.with_key(&key));
        let mut events = client.stream(CHAT, &endless(&json!({"stream": true})));
        let begin: Vec<StreamEvent> = events.by_ref().take(3).collect();
        assert_eq!(begin.len(), 3, "the answer begins");
        let gone = session.client.send("DELETE", &format!("/api/me/keys/{id}"), None);
        assert_eq!(gone.status, 204);
        let rest: Vec<StreamEvent> = events.collect();
        let is_cut = rest.last().is_none_or(|last| last.data != "[DONE]");
        cut = is_cut.then_some(rest);
        is_cut
    });
    let rest = cut.expect("it was waited for");
    let error = rest.last().expect("a word at the end").json()["error"].clone();
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
    assert_eq!(
        (&error["code"], &error["type"]),
        (&json!("permission_denied"), &json!("permission_error"))
    );
    assert!(rest.iter().all(|event| event.data != "[DONE]"), "nothing says that it is whole");
    let mut before = rest[..rest.len() - 1].iter().map(StreamEvent::json);
    assert!(before.all(|chunk| chunk["choices"][0]["finish_reason"].is_null()));
}

#[test]
fn case_20_characters_come_whole_and_comments_can_be_turned_off() {
    const LETTERS: &str = "äöü€漢🚀";
    let home = Home::prepared();
    let model = long_guide(&home, "guide-long");
    let one =
        ["models.limits.guide-long.streams_max=1", "models.limits.guide-long.kv_budget_mib=128"];
    let place = Place::serving(
        home,
        std::slice::from_ref(&model),
        &[&one[..], &["api.heartbeat_s=1"]].concat(),
    );
    let client = place.client();
    let form = json!({"regex": format!("[{LETTERS}]{{24}}")});
    let body = chat(&json!({"stream": true, "max_tokens": 400, "temperature": 1.5,
        "structured_outputs": form}));
    let all = chunks(client.stream(CHAT, &body));
    let text = text_of(&all);
    assert_eq!(text.chars().count(), 24, "{text}");
    assert!(text.chars().all(|c| LETTERS.contains(c)), "{text}");
    // Whatever the tokens are, what is sent of them is text: nothing stands for half a character.
    let is_whole = |chunk: &Value| {
        chunk["choices"][0]["delta"]["content"]
            .as_str()
            .is_none_or(|text| !text.contains('\u{fffd}'))
    };
    assert!(all.iter().all(is_whole));

    // A stream that waits for its turn says nothing but that, or nothing at all.
    assert!(hears_a_comment(&place), "somebody in between could take it for dead");
    let Place { server, home } = place;
    assert!(server.stop().success());
    let place = Place::serving(home, &[model], &[&one[..], &["api.heartbeat_s=0"]].concat());
    assert!(!hears_a_comment(&place), "there are clients that do not understand comments");
}

/// Whether a stream that waits behind another one has a comment within seconds.
fn hears_a_comment(place: &Place) -> bool {
    let client = place.client();
    let mut running = client.stream(CHAT, &endless(&json!({"stream": true, "n": 1})));
    assert!(running.next().is_some(), "it runs");
    let body = endless(&json!({"stream": true})).to_string();
    let key = place.home.key();
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut raw = place.server.raw();
    raw.send(request.as_bytes()).expect("taken");
    raw.wait_at_most(Duration::from_secs(3));
    let mut heard = Vec::new();
    while let Ok(bytes) = raw.receive() {
        heard.extend(bytes);
        let text = String::from_utf8_lossy(&heard);
        if text.contains("\n: ") {
            return true;
        }
        // Once it runs, there is no silence any more.
        if text.matches("data: ").count() > 2 {
            return false;
        }
    }
    false
}

#[test]
fn case_21_whoever_leaves_ends_the_work_streamed_or_not() {
    let place = place_of_long_answers(&[]);
    let owner = place.server.sign_in();
    let key = place.home.key();
    for is_streamed in [true, false] {
        let body = endless(&json!({"stream": is_streamed})).to_string();
        let request = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let ends = || {
            let events = owner.client.get("/api/admin/audit?action=generation.end").expect(200);
            events["events"].as_array().expect("a list").clone()
        };
        let before = ends().len();
        let mut raw = place.server.raw();
        raw.send(request.as_bytes()).expect("taken");
        wait_for("the answer to be written", || {
            let begun = owner.client.get("/api/admin/audit?action=generation.start").expect(200);
            begun["events"].as_array().is_some_and(|events| events.len() > before)
        });
        drop(raw);
        wait_for("its end", || ends().len() > before);
        let end = ends()[0].clone();
        let tokens = end["detail"]["completion_tokens"].as_u64().expect("a count");
        assert!(tokens < ENDLESS, "streamed: {is_streamed}: {end}");
    }
}

#[test]
fn case_26_completions_take_texts_lists_and_tokens_and_their_usage_is_a_chunk() {
    let place = Place::with(&[]);
    let client = place.client();
    let prompt = "Once upon a time";
    let read = client.post("/v1/tokenize", &json!({"model": GUIDE, "prompt": prompt})).expect(200);
    let tokens = read["tokens"].clone();
    let body =
        |prompt: Value| json!({"model": GUIDE, "prompt": prompt, "max_tokens": 8, "seed": 3});
    let whole = client.post(COMPLETIONS, &body(json!(prompt))).expect(200);
    assert_eq!(whole["object"], "text_completion");
    let text = whole["choices"][0]["text"].as_str().expect("a text");
    assert!(!text.is_empty());
    for same in [json!([prompt]), tokens.clone(), json!([tokens])] {
        let answer = client.post(COMPLETIONS, &body(same.clone())).expect(200);
        assert_eq!(answer["choices"], whole["choices"], "{same}");
        for name in ["prompt_tokens", "completion_tokens", "total_tokens"] {
            assert_eq!(answer["usage"][name], whole["usage"][name], "{name} of {same}");
        }
    }
    let change = json!({"stream": true, "stream_options": {"include_usage": true}});
    let mut all = chunks(client.stream(COMPLETIONS, &with(body(json!(prompt)), &change)));
    let last = all.pop().expect("a chunk");
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
    let streamed: String =
        all.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(streamed, text);
    let reasons = all.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]);
    assert_eq!(reasons.filter(|reason| !reason.is_null()).count(), 1);
}
