//! Answers as clients read them, over a real gate and a model that says what it was told to say.

mod opening;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::answer::{About, Answer, Writer};
use super::events;
use super::parameters::Endpoint;
use crate::engine::{Conversation, Message, Role, ToolChoice, ToolRules};
use crate::gate::testing::{House, Scripted, Then, caller, request};
use crate::gate::{Ending, ExchangeEvent, ExchangeHandle, ExchangeRequest, ExchangeUsage, Input};
use crate::ids::RequestId;

fn writer(endpoint: Endpoint, is_streamed: bool, with_usage: bool, with_logprobs: bool) -> Writer {
    Writer::new(about(endpoint, is_streamed, with_usage, with_logprobs))
}

fn about(endpoint: Endpoint, is_streamed: bool, with_usage: bool, with_logprobs: bool) -> About {
    About {
        endpoint,
        request: RequestId::new(),
        model: "m".into(),
        digest: Some("0123456789abcdef".into()),
        created: crate::clock::Timestamp::from_ms(1_800_000_000_000),
        is_streamed,
        with_usage,
        with_logprobs,
        choices: 1,
    }
}

async fn streamed(engine: Arc<Scripted>, writer: Writer, asked: ExchangeRequest) -> Vec<String> {
    let house = House::new(engine).await;
    let handle = house.gate.run(&caller(), asked).await.expect("passes");
    read(handle, writer).await
}

async fn read(handle: ExchangeHandle, writer: Writer) -> Vec<String> {
    let body = events::body(handle, writer, None);
    let bytes: Vec<u8> = body.map(|part| part.expect("never fails").to_vec()).concat().await;
    let text = String::from_utf8(bytes).expect("whole characters");
    assert!(text.ends_with("\n\n"));
    text.trim_end()
        .split("\n\n")
        .map(|event| event.strip_prefix("data: ").expect("an event").to_owned())
        .collect()
}

fn chunks(events: &[String]) -> Vec<Value> {
    events.iter().filter_map(|event| serde_json::from_str(event).ok()).collect()
}

#[tokio::test]
async fn a_stream_is_role_pieces_reason_and_done() {
    let engine = Scripted::new(&["Good ", "day"], Then::Finish);
    let events = streamed(engine, writer(Endpoint::Chat, true, false, false), request("Hi")).await;
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let chunks = chunks(&events);
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(chunks[1]["choices"][0]["delta"], json!({"content": "Good "}));
    assert_eq!(chunks[2]["choices"][0]["delta"], json!({"content": "day"}));
    assert_eq!(chunks[3]["choices"][0]["delta"], json!({}));
    assert_eq!(chunks.len(), 4);
    for (place, chunk) in chunks.iter().enumerate() {
        for field in ["id", "created", "model", "object", "system_fingerprint"] {
            assert_eq!(chunk[field], chunks[0][field]);
        }
        let reason = if place == 3 { json!("stop") } else { Value::Null };
        assert_eq!(chunk["choices"][0]["finish_reason"], reason);
        assert!(chunk.get("usage").is_none());
    }
    assert_eq!(chunks[0]["object"], "chat.completion.chunk");
    assert!(chunks[0]["id"].as_str().is_some_and(|id| id.starts_with("chatcmpl-")));
}

#[tokio::test]
async fn usage_comes_in_a_chunk_without_choices_when_asked_for() {
    let engine = Scripted::new(&["Good"], Then::Finish);
    let chunks =
        chunks(&streamed(engine, writer(Endpoint::Chat, true, true, false), request("Hi")).await);
    let (last, others) = chunks.split_last().expect("some");
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["total_tokens"], 6);
    assert!(others.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
}

#[tokio::test]
async fn several_answers_come_side_by_side_with_their_numbers() {
    for endpoint in [Endpoint::Chat, Endpoint::Completions] {
        let writer = Writer::new(About { choices: 3, ..about(endpoint, true, true, false) });
        let asked = ExchangeRequest { choices: 3, ..request("Hi") };
        let engine = Scripted::new(&["Good ", "day"], Then::Finish);
        let events = streamed(engine, writer, asked).await;
        assert_eq!(events.iter().filter(|event| *event == "[DONE]").count(), 1);
        let mut chunks = chunks(&events);
        let usage = chunks.pop().expect("a chunk with the usage");
        assert_eq!(usage["usage"]["prompt_tokens"], 2);
        assert_eq!(usage["usage"]["completion_tokens"], 24);
        for index in 0..3 {
            let own: Vec<&Value> = chunks
                .iter()
                .map(|chunk| &chunk["choices"][0])
                .filter(|choice| choice["index"] == index)
                .collect();
            let text: String = own
                .iter()
                .filter_map(|choice| {
                    choice["delta"]["content"].as_str().or(choice["text"].as_str())
                })
                .collect();
            assert_eq!(text, "Good day");
            let reasons = own.iter().filter(|choice| choice["finish_reason"] == "stop");
            assert_eq!(reasons.count(), 1);
            assert_eq!(own.last().expect("some")["finish_reason"], "stop");
        }
    }
}

#[tokio::test]
async fn an_error_on_the_way_is_an_event_and_the_end() {
    let engine = Scripted::new(&["Good"], Then::Fail);
    let events = streamed(engine, writer(Endpoint::Chat, true, false, false), request("Hi")).await;
    let chunks = chunks(&events);
    let last = chunks.last().expect("some");
    assert_eq!(last["error"]["code"], "internal_error");
    assert_eq!(events.len(), chunks.len(), "no [DONE] after an error");
}

#[tokio::test]
async fn an_answer_that_was_given_up_for_its_reader_does_not_look_whole() {
    // More pieces than may wait for a reader; this one comes when the answer was given up.
    let pieces = vec!["word "; 100];
    let house = House::new(Scripted::new(&pieces, Then::Finish)).await;
    let handle = house.gate.run(&caller(), request("Hi")).await.expect("passes");
    house.engine_is_idle().await;
    house.gate.drain(Duration::from_mins(1)).await;
    let events = read(handle, writer(Endpoint::Chat, true, true, false)).await;
    let chunks = chunks(&events);
    let (last, others) = chunks.split_last().expect("some");
    assert_eq!(last["error"]["code"], "request_timeout");
    assert_eq!(events.len(), chunks.len(), "no [DONE] after an error");
    assert!(others.len() > 10 && others.iter().all(|chunk| chunk["usage"].is_null()));
    let mut reasons = others.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]);
    assert!(reasons.all(Value::is_null));
    assert_eq!(house.events().await[1], "generation.end cancelled");
}

#[tokio::test]
async fn the_older_form_streams_texts() {
    let engine = Scripted::new(&["Good ", "day"], Then::Finish);
    let events =
        streamed(engine, writer(Endpoint::Completions, true, true, false), request("Hi")).await;
    let chunks = chunks(&events);
    let texts: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["text"]).collect();
    assert_eq!(texts, [&json!("Good "), &json!("day"), &json!(""), &Value::Null]);
    assert!(chunks.iter().all(|chunk| chunk["object"] == "text_completion"));
    assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn logprobs_come_with_their_text() {
    let asked = ExchangeRequest { logprobs: Some(0), ..request("Hi") };
    let engine = Scripted::new(&["ab"], Then::Finish);
    let chat = streamed(engine, writer(Endpoint::Chat, true, false, true), asked.clone()).await;
    let content = &chunks(&chat)[1]["choices"][0]["logprobs"]["content"];
    assert_eq!(
        content[1],
        json!({"token": "b", "logprob": -0.5, "bytes": [98], "top_logprobs": []})
    );
    let engine = Scripted::new(&["ab ", "c"], Then::Finish);
    let text = streamed(engine, writer(Endpoint::Completions, true, false, true), asked).await;
    assert_eq!(chunks(&text)[1]["choices"][0]["logprobs"]["text_offset"], json!([3]));
}

#[tokio::test]
async fn a_silent_stream_is_kept_open_with_comments_where_wanted() {
    let house = House::new(Scripted::new(&[], Then::Hang)).await;
    let handle = house.gate.run(&caller(), request("Hi")).await.expect("passes");
    let beat = Some(Duration::from_millis(5));
    let body = events::body(handle, writer(Endpoint::Completions, true, false, false), beat);
    let mut body = std::pin::pin!(body);
    let first = body.next().await.expect("a comment").expect("never fails");
    assert_eq!(&first[..], b": waiting\n\n");
}

#[tokio::test]
async fn dropping_the_body_ends_the_work() {
    let house = House::new(Scripted::new(&["Good "], Then::Hang)).await;
    let handle = house.gate.run(&caller(), request("Hi")).await.expect("passes");
    {
        let body = events::body(handle, writer(Endpoint::Chat, true, false, false), None);
        let mut body = std::pin::pin!(body);
        body.next().await;
    }
    house.engine_is_idle().await;
}

#[test]
fn whole_answers_have_the_published_form() {
    let said = |ending| Answer { text: "Hi".into(), ending: Some(ending), ..Answer::default() };
    let usage = ExchangeUsage { prompt_tokens: 3, completion_tokens: 4, ..Default::default() };
    let chat = writer(Endpoint::Chat, false, false, false);
    let answer = chat.whole(&[said(Ending::Length)], usage, &[]);
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(
        answer["choices"],
        json!([{"index": 0, "message": {"role": "assistant", "content": "Hi", "refusal": null},
            "logprobs": null, "finish_reason": "length"}])
    );
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 0}})
    );
    assert!(answer.get("strongroom_notices").is_none());
    let text = writer(Endpoint::Completions, false, false, false);
    let answer = text.whole(&[said(Ending::Stop)], usage, &[]);
    assert_eq!(answer["choices"][0]["text"], "Hi");
    assert!(answer["id"].as_str().is_some_and(|id| id.starts_with("cmpl-")));
}

/// A conversation in which one function may be called.
fn with_tools() -> ExchangeRequest {
    let tool = json!({"type": "function", "function": {"name": "add"}});
    let said = vec![Message::new(Role::User, "Hi")];
    let conversation = Conversation { tools: vec![tool], ..said.into() };
    ExchangeRequest {
        input: Input::Conversation(conversation),
        tools: Some(ToolRules { choice: ToolChoice::Auto, is_parallel: true }),
        takes_apart: true,
        ..request("")
    }
}

const CALLS: &[&str] = &[
    "<think>So",
    "</think>Well.\n<tool_",
    "call>{\"name\": \"add\", \"argu",
    "ments\": {\"a\": 1}}</tool_call><tool_call>{\"name\": \"add\", \"arguments\": {}}</tool_call>",
];

#[tokio::test]
async fn calls_are_streamed_name_first_and_no_mark_of_them_is_content() {
    let engine = Scripted::new(CALLS, Then::Finish);
    let events = streamed(engine, writer(Endpoint::Chat, true, false, false), with_tools()).await;
    let chunks = chunks(&events);
    let deltas: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    let text =
        |name: &str| -> String { deltas.iter().filter_map(|delta| delta[name].as_str()).collect() };
    assert_eq!((text("content").trim(), text("reasoning_content").trim()), ("Well.", "So"));
    assert_eq!(text("reasoning"), text("reasoning_content"));
    let calls: Vec<&Value> = deltas
        .iter()
        .map(|delta| &delta["tool_calls"][0])
        .filter(|call| call.is_object())
        .collect();
    let begun: Vec<&&Value> = calls.iter().filter(|call| call["id"].is_string()).collect();
    assert_eq!(begun.len(), 2);
    for (index, call) in begun.iter().enumerate() {
        assert_eq!(call["index"], index);
        assert_eq!(call["type"], "function");
        assert_eq!(call["function"], json!({"name": "add", "arguments": ""}));
    }
    let arguments = |index: usize| -> String {
        let of_call = calls.iter().filter(|call| call["index"] == index);
        of_call.filter_map(|call| call["function"]["arguments"].as_str()).collect()
    };
    assert_eq!((arguments(0).as_str(), arguments(1).as_str()), ("{\"a\": 1}", "{}"));
    assert_eq!(chunks.last().expect("some")["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn several_answers_that_think_and_call_are_each_written_by_themselves() {
    let asked = || ExchangeRequest { choices: 2, ..with_tools() };
    let house = House::new(Scripted::new(CALLS, Then::Finish)).await;
    let mut handle = house.gate.run(&caller(), asked()).await.expect("passes");
    let mut answers = vec![Answer::default(); 2];
    while let Some(event) = handle.next().await {
        if let Some(choice) = event.choice() {
            answers[choice].take(event);
        }
    }
    let chat = writer(Endpoint::Chat, false, false, false);
    let whole = chat.whole(&answers, ExchangeUsage::default(), &[]);
    let events = streamed(
        Scripted::new(CALLS, Then::Finish),
        Writer::new(About { choices: 2, ..about(Endpoint::Chat, true, false, false) }),
        asked(),
    );
    let chunks = chunks(&events.await);
    for index in 0..2 {
        let choice = &whole["choices"][index];
        assert_eq!(
            (&choice["index"], &choice["finish_reason"]),
            (&json!(index), &json!("tool_calls"))
        );
        let message = &choice["message"];
        assert_eq!(message["reasoning_content"].as_str().map(str::trim), Some("So"));
        assert_eq!(message["reasoning"], message["reasoning_content"]);
        assert_eq!(message["content"].as_str().map(str::trim), Some("Well."));
        assert_eq!(message["tool_calls"].as_array().map(Vec::len), Some(2));
        assert_eq!(message["tool_calls"][0]["function"]["arguments"], "{\"a\": 1}");
        let own = chunks.iter().map(|chunk| &chunk["choices"][0]);
        let own: Vec<&Value> = own.filter(|choice| choice["index"] == index).collect();
        let text = |name: &str| -> String {
            own.iter().filter_map(|choice| choice["delta"][name].as_str()).collect()
        };
        assert_eq!((text("content").trim(), text("reasoning_content").trim()), ("Well.", "So"));
        let begun = own.iter().filter(|choice| choice["delta"]["tool_calls"][0]["id"].is_string());
        assert_eq!(begun.count(), 2);
        assert_eq!(own.last().expect("some")["finish_reason"], "tool_calls");
    }
}

/// What an answer looks like whole and streamed: its reason, and what the guard told.
async fn ended(endpoint: Endpoint, pieces: &[&str], then: Then, asked: ExchangeRequest) -> Told {
    let house = House::new(Scripted::new(pieces, then)).await;
    let mut handle = house.gate.run(&caller(), asked.clone()).await.expect("passes");
    let (mut answers, mut notices) = (vec![Answer::default()], handle.notices.clone());
    while let Some(event) = handle.next().await {
        match event {
            ExchangeEvent::Notice(notice) => notices.push(notice),
            other => answers[0].take(other),
        }
    }
    let writer = |is_streamed| writer(endpoint, is_streamed, false, false);
    let whole = writer(false).whole(&answers, ExchangeUsage::default(), &notices);
    let events = streamed(Scripted::new(pieces, then), writer(true), asked).await;
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let chunks = chunks(&events);
    let told = chunks.iter().filter_map(|chunk| chunk["strongroom_notices"].as_array());
    let told: Vec<Value> = told.flatten().cloned().collect();
    let of_whole = whole.get("strongroom_notices").and_then(Value::as_array).cloned();
    assert_eq!(told, of_whole.unwrap_or_default());
    let reason = &chunks.last().expect("some")["choices"][0]["finish_reason"];
    assert_eq!(*reason, whole["choices"][0]["finish_reason"]);
    let earlier = &chunks[..chunks.len() - 1];
    assert!(earlier.iter().all(|chunk| chunk["choices"][0]["finish_reason"].is_null()));
    Told { reason: reason.as_str().expect("a reason").to_owned(), notices: told, whole, chunks }
}

struct Told {
    reason: String,
    notices: Vec<Value>,
    whole: Value,
    chunks: Vec<Value>,
}

#[tokio::test]
async fn what_the_guard_ends_ends_as_content_filter_and_is_told_of() {
    let pieces = ["Pay to GB82 WEST 1234 ", "5698 7654 32 at ", "once, and so on."];
    for endpoint in [Endpoint::Chat, Endpoint::Completions] {
        let told = ended(endpoint, &pieces, Then::Finish, request("Hi")).await;
        assert_eq!(told.reason, "content_filter", "{endpoint:?}");
        assert_eq!(
            told.notices,
            [
                json!({"category": "personal.iban", "action": "stop", "direction": "output", "count": 1})
            ]
        );
        assert!(!told.whole.to_string().contains("5698"), "{endpoint:?}");
        assert!(told.chunks.iter().all(|chunk| !chunk.to_string().contains("5698")));
    }
}

#[tokio::test]
async fn what_the_guard_does_to_a_prompt_is_told_by_either_endpoint() {
    let asked = request("Card 4111 1111 1111 1111");
    for endpoint in [Endpoint::Chat, Endpoint::Completions] {
        let told = ended(endpoint, &["Yes"], Then::Finish, asked.clone()).await;
        assert_eq!(told.notices.len(), 1, "{endpoint:?}");
        assert_eq!(
            (&told.notices[0]["category"], &told.notices[0]["action"]),
            (&json!("personal.card"), &json!("redact"))
        );
        // Clients read `choices` of every chunk.
        assert!(told.chunks.iter().all(|chunk| chunk["choices"][0].is_object()));
        assert!(told.chunks[0].get("strongroom_notices").is_some(), "before the answer");
    }
    let told = ended(Endpoint::Completions, &["Yes"], Then::Finish, request("Hi")).await;
    assert_eq!((told.notices.len(), told.chunks.len()), (0, 2));
}

#[tokio::test]
async fn a_bound_that_cuts_calls_off_ends_them_as_length() {
    for pieces in [CALLS, &["<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": "]] {
        let told = ended(Endpoint::Chat, pieces, Then::Cut, with_tools()).await;
        assert_eq!(told.reason, "length");
        let calls = told.whole["choices"][0]["message"]["tool_calls"].as_array().map(Vec::len);
        assert!(calls.is_some_and(|calls| calls > 0), "{}", told.whole);
    }
}
