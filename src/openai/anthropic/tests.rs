//! Messages as clients read them, over a real gate and a model that says what it was told to say.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::answer::{Said, Writer};
use super::request::Manner;
use super::request_tests::{add, conversation, read};
use super::stream::Streamed;
use crate::engine::Message;
use crate::gate::testing::{House, Scripted, Then, caller};
use crate::gate::{Ending, ExchangeRequest, ExchangeUsage};
use crate::ids::RequestId;
use crate::openai::events::{self, Finished, Script};
use crate::web::{ApiError, ErrorCode};

fn writer(manner: Manner, context: Option<usize>) -> Writer {
    Writer { request: RequestId::new(), model: "m".into(), manner, context }
}

fn asked(change: &Value) -> (ExchangeRequest, Manner) {
    let (request, manner) = read(change).expect("passes");
    (ExchangeRequest { model: None, ..request }, manner)
}

/// The events of a stream, each with its name.
async fn streamed(engine: Arc<Scripted>, change: &Value) -> Vec<(String, Value)> {
    let house = House::new(engine).await;
    let (asked, manner) = asked(change);
    let handle = house.gate.run(&caller(), asked).await.expect("passes");
    let script = Streamed::new(writer(manner, None), handle.prompt_tokens);
    let body = events::body(handle, script, None);
    let bytes: Vec<u8> = body.map(|part| part.expect("never fails").to_vec()).concat().await;
    let text = String::from_utf8(bytes).expect("whole characters");
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').expect("two lines");
        let name = name.strip_prefix("event: ").expect("a name").to_owned();
        let data: Value =
            serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(data["type"], name);
        (name, data)
    };
    text.trim_end().split("\n\n").map(event).collect()
}

async fn whole(engine: Arc<Scripted>, change: &Value) -> Value {
    let house = House::new(engine).await;
    let (asked, manner) = asked(change);
    let handle = house.gate.run(&caller(), asked).await.expect("passes");
    let mut said = Said::default();
    let Finished { usage, notices } =
        events::to_the_end(handle, |_, event| said.take(event)).await.expect("ends");
    let writer = writer(manner, None);
    let stop = writer.stop(said.ending.expect("ended"), usage);
    let content = said.content(&writer.manner);
    json!(writer.message(content, stop, usage, &notices))
}

const CALLS: &[&str] = &[
    "<think>So",
    "</think>Well.\n<tool_",
    "call>{\"name\": \"add\", \"argu",
    "ments\": {\"a\": 1}}</tool_call>",
];

fn with_tools() -> Value {
    json!({"messages": [{"role": "user", "content": "Hi"}], "tools": [add()]})
}

#[tokio::test]
async fn a_stream_is_begun_told_in_blocks_and_ended() {
    let events = streamed(Scripted::new(CALLS, Then::Finish), &with_tools()).await;
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[0], "message_start");
    assert_eq!(names[names.len() - 2..], ["message_delta", "message_stop"]);
    let start = &events[0].1["message"];
    assert_eq!((&start["content"], &start["stop_reason"]), (&json!([]), &Value::Null));
    assert!(start["id"].as_str().is_some_and(|id| id.starts_with("msg_")));
    assert_eq!(start["usage"]["input_tokens"], 8);
    let mut open: Option<u64> = None;
    let mut blocks: Vec<(Value, String)> = Vec::new();
    for (name, data) in &events[1..events.len() - 2] {
        let place = data["index"].as_u64();
        match name.as_str() {
            "content_block_start" => {
                assert_eq!((open, place), (None, Some(blocks.len() as u64)));
                open = place;
                blocks.push((data["content_block"].clone(), String::new()));
            }
            "content_block_delta" => {
                assert_eq!(open, place);
                let (block, text) = blocks.last_mut().expect("one is open");
                let delta = &data["delta"];
                let (kind, field) = match block["type"].as_str() {
                    Some("thinking") if delta["type"] == "signature_delta" => continue,
                    Some("thinking") => ("thinking_delta", "thinking"),
                    Some("text") => ("text_delta", "text"),
                    _ => ("input_json_delta", "partial_json"),
                };
                assert_eq!(delta["type"], kind);
                text.push_str(delta[field].as_str().expect("a text"));
            }
            "content_block_stop" => {
                assert_eq!(open.take(), place);
            }
            other => panic!("{other}"),
        }
    }
    let told: Vec<(&str, &str)> = blocks
        .iter()
        .map(|(block, text)| (block["type"].as_str().expect("a type"), text.trim()))
        .collect();
    assert_eq!(told, [("thinking", "So"), ("text", "Well."), ("tool_use", "{\"a\": 1}")]);
    assert_eq!((&blocks[2].0["name"], &blocks[2].0["input"]), (&json!("add"), &json!({})));
    let end = &events[events.len() - 2].1;
    assert_eq!(end["delta"], json!({"stop_reason": "tool_use", "stop_sequence": null}));
    assert!(end["usage"]["output_tokens"].as_u64() > Some(0));
}

#[tokio::test]
async fn a_message_in_one_piece_says_the_same() {
    let message = whole(Scripted::new(CALLS, Then::Finish), &with_tools()).await;
    let content = message["content"].as_array().expect("blocks");
    assert_eq!(content.len(), 3);
    assert_eq!(content[0]["signature"], "unsigned");
    assert_eq!(content[0]["thinking"].as_str().map(str::trim), Some("So"));
    assert_eq!(content[1]["text"].as_str().map(str::trim), Some("Well."));
    assert_eq!((&content[2]["name"], &content[2]["input"]), (&json!("add"), &json!({"a": 1})));
    assert_eq!((&message["type"], &message["role"]), (&json!("message"), &json!("assistant")));
    assert_eq!(message["stop_reason"], "tool_use");
    assert!(message.get("strongroom_notices").is_none());
    // It goes back as it came.
    let next = json!({"messages": [{"role": "user", "content": "Hi"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": [{"type": "tool_result",
            "tool_use_id": content[2]["id"], "content": "2"}]}]});
    let messages: Vec<Message> = conversation(next).messages;
    assert_eq!(messages[1].reasoning.as_deref().map(str::trim), Some("So"));
    assert_eq!(messages[2].tool_call_id.as_deref(), content[2]["id"].as_str());
}

#[tokio::test]
async fn thoughts_that_are_not_to_be_shown_are_not() {
    let mut change = with_tools();
    change["thinking"] = json!({"type": "adaptive", "display": "omitted"});
    let message = whole(Scripted::new(CALLS, Then::Finish), &change).await;
    assert_eq!(message["content"][0]["thinking"], "");
    let events = streamed(Scripted::new(CALLS, Then::Finish), &change).await;
    assert!(events.iter().all(|(_, data)| data["delta"]["type"] != "thinking_delta"));
    assert!(events.iter().any(|(_, data)| data["content_block"]["type"] == "thinking"));
}

#[tokio::test]
async fn an_error_on_the_way_is_an_event_and_the_end() {
    let events = streamed(Scripted::new(&["Good"], Then::Fail), &json!({})).await;
    let (name, last) = events.last().expect("some");
    assert_eq!((name.as_str(), &last["error"]["type"]), ("error", &json!("api_error")));
    assert_eq!(last["error"]["details"]["error_code"], "internal_error");
    assert!(events.iter().all(|(name, _)| name != "message_stop"));
}

#[test]
fn an_error_before_there_is_a_message_is_the_same_event() {
    let error = ApiError::new(ErrorCode::ModelMemory);
    let text = Streamed::refuse(error, RequestId::new()).concat();
    let text = String::from_utf8(text).expect("text");
    assert!(text.starts_with("event: error\ndata: {") && text.ends_with("}\n\n"), "{text}");
    assert!(text.contains("\"error_code\":\"model_memory\""), "{text}");
}

#[tokio::test]
async fn a_silent_stream_is_kept_open_with_pings_where_wanted() {
    let house = House::new(Scripted::new(&[], Then::Hang)).await;
    let (asked, manner) = asked(&json!({}));
    let handle = house.gate.run(&caller(), asked).await.expect("passes");
    {
        let beat = Some(Duration::from_millis(5));
        let script = Streamed::new(writer(manner, None), handle.prompt_tokens);
        let mut body = std::pin::pin!(events::body(handle, script, beat));
        let first = body.next().await.expect("the start").expect("never fails");
        assert!(first.starts_with(b"event: message_start\n"));
        let second = body.next().await.expect("a ping").expect("never fails");
        assert_eq!(&second[..], b"event: ping\ndata: {\"type\": \"ping\"}\n\n");
    }
    // Dropping the body ends the work.
    house.engine_is_idle().await;
}

#[test]
fn reasons_are_those_that_are_published() {
    let manner = Manner { stops: vec!["a".into(), "b".into()], ..Manner::default() };
    let writer = writer(manner, Some(100));
    let usage = |prompt_tokens| ExchangeUsage { prompt_tokens, ..ExchangeUsage::default() };
    for (ending, prompt, expected) in [
        (Ending::Stop, 5, json!({"stop_reason": "end_turn", "stop_sequence": null})),
        (Ending::StopText(1), 5, json!({"stop_reason": "stop_sequence", "stop_sequence": "b"})),
        (Ending::ToolCalls, 5, json!({"stop_reason": "tool_use", "stop_sequence": null})),
        (Ending::Length, 5, json!({"stop_reason": "max_tokens", "stop_sequence": null})),
        (
            Ending::Length,
            100,
            json!({"stop_reason": "model_context_window_exceeded", "stop_sequence": null}),
        ),
    ] {
        assert_eq!(json!(writer.stop(ending, usage(prompt))), expected);
    }
    let refused = json!(writer.stop(Ending::ContentFilter, usage(5)));
    assert_eq!(refused["stop_reason"], "refusal");
    assert_eq!(refused["stop_details"]["type"], "refusal");
}

#[test]
fn usage_tells_what_was_in_the_cache_apart() {
    let usage = ExchangeUsage {
        prompt_tokens: 10,
        cached_tokens: 6,
        completion_tokens: 3,
        ..ExchangeUsage::default()
    };
    let writer = writer(Manner::default(), None);
    let message = json!(writer.message(Vec::new(), writer.stop(Ending::Stop, usage), usage, &[]));
    assert_eq!(
        message["usage"],
        json!({"input_tokens": 4, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 6,
            "output_tokens": 3})
    );
}
