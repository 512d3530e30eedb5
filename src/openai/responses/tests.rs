//! Responses as clients read them, over a real gate and a model that says what it was told to say.

mod kept;

use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::answer::{End, Head};
use super::input::Given;
use super::items::Item;
use super::request::{self, Ask};
use super::stream::{Closing, Composer, Writing};
use crate::gate::testing::{House, Scripted, Then, caller};
use crate::gate::{Ending, ExchangeEvent, ExchangeUsage, Notice};
use crate::ids::{RequestId, ResponseId};
use crate::openai::events::to_end;
use crate::openai::events::{Script, body};
use crate::web::body::parse;
use crate::web::{ApiError, ErrorCode};

fn ask(change: &Value) -> Ask {
    let mut body = json!({"model": "m", "input": "Hi", "max_output_tokens": 8});
    for (name, value) in change.as_object().expect("an object") {
        body[name] = value.clone();
    }
    request::read(parse(body.to_string().as_bytes()).expect("well-formed")).expect("passes")
}

/// The items of a request that names none by their ids.
fn items(ask: &Ask) -> Vec<Item> {
    let items = ask.input.iter().map(|given| match given {
        Given::Item(item) => item.clone(),
        Given::Reference(id) => panic!("{id} is a reference"),
    });
    items.collect()
}

fn head(ask: &Ask, house: &House) -> Head {
    let (created, echo) = (house.clock.now(), ask.echo.clone());
    Head { id: ResponseId::new(), created, model: "m".into(), echo }
}

fn closing(house: &House) -> Closing {
    Closing { gate: house.gate.clone(), clock: house.clock.clone(), keeping: None }
}

/// The events of a response, and the names that stand before them.
async fn streamed(engine: Arc<Scripted>, change: &Value) -> Vec<Value> {
    let house = House::new(engine).await;
    let ask = ask(change);
    let handle = house.gate.run(&caller(), ask.exchange(&[], &items(&ask))).await.expect("passes");
    let composer = Composer::new(head(&ask, &house), handle.notices.clone());
    let script = Writing { composer, closing: closing(&house) };
    let bytes: Vec<u8> =
        body(handle, script, None).map(|part| part.expect("never fails").to_vec()).concat().await;
    let text = String::from_utf8(bytes).expect("whole characters");
    let event = |block: &str| {
        let (name, data) = block.split_once('\n').expect("a name and data");
        let data = data.strip_prefix("data: ").expect("data");
        let event: Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(name.strip_prefix("event: "), event["type"].as_str());
        event
    };
    let events: Vec<Value> = text.trim_end().split("\n\n").map(event).collect();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    events
}

async fn whole(engine: Arc<Scripted>, change: &Value) -> Value {
    let house = House::new(engine).await;
    let ask = ask(change);
    let handle = house.gate.run(&caller(), ask.exchange(&[], &items(&ask))).await.expect("passes");
    let mut composer = Composer::new(head(&ask, &house), handle.notices.clone());
    let (ending, usage) =
        to_end(handle, |event| drop(composer.take(event))).await.expect("comes to its end");
    closing(&house).close(&mut composer, ending, usage).await.expect("closes");
    composer.response()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["type"].as_str()).collect()
}

/// The response without what is another one each time.
fn timeless(response: &Value) -> String {
    let id = response["id"].as_str().expect("an id").trim_start_matches("resp_").to_owned();
    response.to_string().replace(&id, "ID")
}

const CALLS: &[&str] = &[
    "<think>So",
    "</think>Well.\n<tool_",
    "call>{\"name\": \"add\", \"argu",
    "ments\": {\"a\": 1}}</tool_call>",
];

fn with_tools() -> Value {
    json!({"tools": [{"type": "function", "name": "add", "parameters": {"type": "object"}}]})
}

#[tokio::test]
async fn a_stream_is_created_filled_piece_by_piece_and_completed() {
    let engine = || Scripted::new(&["Good ", "day"], Then::Finish);
    let events = streamed(engine(), &json!({})).await;
    assert_eq!(
        kinds(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert_eq!(events[0]["response"]["output"], json!([]));
    assert_eq!(events[0]["response"]["usage"], Value::Null);
    let item = &events[2]["item"];
    assert_eq!(
        (&item["type"], &item["role"], &item["content"]),
        (&json!("message"), &json!("assistant"), &json!([]))
    );
    for event in &events[3..8] {
        assert_eq!((&event["item_id"], &event["output_index"]), (&item["id"], &json!(0)));
        assert_eq!(event["content_index"], 0);
    }
    assert_eq!(
        events[3]["part"],
        json!({"type": "output_text", "text": "", "annotations": [], "logprobs": []})
    );
    assert_eq!((&events[4]["delta"], &events[5]["delta"]), (&json!("Good "), &json!("day")));
    assert_eq!(
        (&events[6]["text"], &events[7]["part"]["text"]),
        (&json!("Good day"), &json!("Good day"))
    );
    let last = &events[9]["response"];
    assert_eq!(last["status"], "completed");
    assert_eq!(last["output"][0], events[8]["item"]);
    assert_eq!(last["output"][0]["content"][0]["text"], "Good day");
    assert_eq!(
        last["usage"]["total_tokens"],
        last["usage"]["input_tokens"].as_u64().expect("a number") + 8
    );
    assert_eq!(timeless(last), timeless(&whole(engine(), &json!({})).await));
}

#[tokio::test]
async fn thoughts_words_and_calls_are_items_of_their_own() {
    let events = streamed(Scripted::new(CALLS, Then::Finish), &with_tools()).await;
    let added: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "response.output_item.added")
        .map(|event| &event["item"]["type"])
        .collect();
    assert_eq!(added, ["reasoning", "message", "function_call"]);
    let text = |kind: &str| -> String {
        let deltas = events.iter().filter(|event| event["type"] == kind);
        deltas.filter_map(|event| event["delta"].as_str()).collect()
    };
    assert_eq!(text("response.reasoning_text.delta").trim(), "So");
    assert_eq!(text("response.output_text.delta").trim(), "Well.");
    assert_eq!(text("response.function_call_arguments.delta"), "{\"a\": 1}");
    let done = |kind: &str| events.iter().find(|event| event["type"] == kind).expect(kind);
    assert_eq!(done("response.reasoning_text.done")["text"].as_str().map(str::trim), Some("So"));
    let call = done("response.function_call_arguments.done");
    assert_eq!((&call["name"], &call["arguments"]), (&json!("add"), &json!("{\"a\": 1}")));
    let response = &events.last().expect("some")["response"];
    assert_eq!(response["status"], "completed");
    let output = response["output"].as_array().expect("items");
    assert_eq!(output.len(), 3);
    assert!(output.iter().all(|item| item["status"] == "completed"));
    assert_eq!(output[0]["summary"], json!([]));
    assert_eq!(output[2]["item_id"], Value::Null);
    assert!(output[2]["call_id"].as_str().is_some_and(|id| id.len() == 9));
    // One byte is one token here.
    assert_eq!(response["usage"]["output_tokens_details"]["reasoning_tokens"], 2);
    let alone = whole(Scripted::new(CALLS, Then::Finish), &with_tools()).await;
    let calls = |response: &Value| response["output"][2]["arguments"].clone();
    assert_eq!(calls(&alone), calls(response));
    assert_eq!(alone["output"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn white_space_between_items_is_no_item() {
    let house = House::new(Scripted::new(&[], Then::Finish)).await;
    let ask = ask(&with_tools());
    let text =
        |text: &str| ExchangeEvent::Text { choice: 0, text: text.into(), logprobs: Vec::new() };
    let call = |index| ExchangeEvent::Call { choice: 0, index, id: "c".into(), name: "add".into() };
    let output = |events: Vec<ExchangeEvent>| {
        let mut composer = Composer::new(head(&ask, &house), Vec::new());
        let end = ExchangeEvent::Ended { choice: 0, ending: Ending::Stop };
        for event in events.into_iter().chain([end]) {
            composer.take(event);
        }
        composer.response()["output"].clone()
    };
    let calls = output(vec![text("\n"), call(0), text("\n"), call(1), text("\n")]);
    let kinds: Vec<&Value> =
        calls.as_array().expect("items").iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["function_call", "function_call"]);
    // Where a text follows it belongs to that; and alone it is all that was said.
    for (pieces, whole) in [(&["\n", "a ", "\n"][..], "\na \n"), (&["\n", " "], "\n "), (&[], "")] {
        let said = output(pieces.iter().map(|piece| text(piece)).collect());
        assert_eq!(said[0]["content"][0]["text"], whole);
    }
}

#[tokio::test]
async fn what_fails_on_the_way_is_the_last_event() {
    let events = streamed(Scripted::new(&["Good"], Then::Fail), &json!({})).await;
    let last = events.last().expect("some");
    assert_eq!(last["type"], "response.failed");
    let response = &last["response"];
    assert_eq!(response["status"], "failed");
    assert_eq!(response["error"]["code"], "server_error");
    assert_eq!(response["error"]["type"], ErrorCode::Internal.name());
    assert_eq!(response["output"][0]["status"], "incomplete");
    assert_eq!(response["output"][0]["content"][0]["text"], "Good");
    assert_eq!(response["completed_at"], Value::Null);
}

#[tokio::test]
async fn log_probabilities_come_with_their_text() {
    let asked = json!({"include": ["message.output_text.logprobs"]});
    let events = streamed(Scripted::new(&["ab"], Then::Finish), &asked).await;
    let delta = events.iter().find(|event| event["type"] == "response.output_text.delta");
    let b = json!({"token": "b", "logprob": -0.5, "bytes": [98], "top_logprobs": []});
    assert_eq!(delta.expect("one")["logprobs"][1], b);
    let response = &events.last().expect("some")["response"];
    assert_eq!(response["output"][0]["content"][0]["logprobs"][1], b);
}

#[tokio::test]
async fn what_cut_an_answer_short_is_told() {
    let house = House::new(Scripted::new(&[], Then::Finish)).await;
    let ask = ask(&json!({}));
    for (ending, status, kind, reason) in [
        (Ending::Stop, "completed", "response.completed", Value::Null),
        (Ending::ToolCalls, "completed", "response.completed", Value::Null),
        (Ending::Length, "incomplete", "response.incomplete", json!("max_output_tokens")),
        (Ending::ContentFilter, "incomplete", "response.incomplete", json!("content_filter")),
        (Ending::Cancelled, "failed", "response.failed", Value::Null),
    ] {
        let mut composer = Composer::new(head(&ask, &house), Vec::new());
        composer.take(ExchangeEvent::Text { choice: 0, text: "a".into(), logprobs: Vec::new() });
        composer.take(ExchangeEvent::Notice(Notice::trimmed(1)));
        composer.take(ExchangeEvent::Ended { choice: 0, ending });
        let (usage, at) = (ExchangeUsage::default(), house.clock.now());
        composer.end(End { ending, usage, reasoning_tokens: 0, at });
        let response = composer.response();
        assert_eq!((&response["status"], &composer.last()["type"]), (&json!(status), &json!(kind)));
        assert_eq!(response["incomplete_details"]["reason"], reason);
        assert_eq!(response["error"].is_null(), status != "failed");
        assert_eq!(response["completed_at"].is_null(), status != "completed");
        let whole = if status == "completed" { "completed" } else { "incomplete" };
        assert_eq!(response["output"][0]["status"], whole);
        assert_eq!(response["strongroom_notices"][0]["category"], "context");
    }
}

#[tokio::test]
async fn an_answer_without_a_word_is_an_empty_message() {
    let response = whole(
        Scripted::new(&[], Then::Finish),
        &json!({"instructions": "x", "metadata": {"a": "b"}}),
    )
    .await;
    assert_eq!(response["output"][0]["content"][0]["text"], "");
    assert_eq!(response["output"][0]["status"], "completed");
    assert_eq!(response["instructions"], "x");
    assert_eq!(response["metadata"], json!({"a": "b"}));
    let fields: Vec<&str> =
        response.as_object().expect("an object").keys().map(String::as_str).collect();
    for name in [
        "id",
        "object",
        "created_at",
        "status",
        "error",
        "incomplete_details",
        "instructions",
        "max_output_tokens",
        "metadata",
        "model",
        "output",
        "parallel_tool_calls",
        "previous_response_id",
        "reasoning",
        "store",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_p",
        "truncation",
        "usage",
        "background",
        "completed_at",
        "service_tier",
        "top_logprobs",
        "max_tool_calls",
    ] {
        assert!(fields.contains(&name), "{name}");
    }
}

#[tokio::test]
async fn the_conversation_reaches_the_model_in_order() {
    let house = House::new(Scripted::new(&["ok"], Then::Finish)).await;
    let before = items(&ask(&json!({"input": "first"})));
    let now =
        ask(&json!({"instructions": "frame", "input": [{"role": "user", "content": "second"}]}));
    let handle =
        house.gate.run(&caller(), now.exchange(&before, &items(&now))).await.expect("passes");
    to_end(handle, drop).await.expect("comes to its end");
    let seen = house.engine.seen.lock().clone();
    assert_eq!(seen, ["System:frame\nUser:first\nUser:second\n"]);
}

#[test]
fn an_error_before_there_is_a_response_is_an_event_of_its_own() {
    let error = ApiError::new(ErrorCode::InvalidValue).message("too hot").param("temperature");
    let events = Writing::refuse(error, RequestId::new());
    let text = String::from_utf8(events.concat()).expect("text");
    let data = text.strip_prefix("event: error\ndata: ").expect("an event").trim_end();
    assert_eq!(
        serde_json::from_str::<Value>(data).expect("JSON"),
        json!({"type": "error", "sequence_number": 0, "code": "invalid_value",
            "message": "too hot", "param": "temperature"})
    );
}
