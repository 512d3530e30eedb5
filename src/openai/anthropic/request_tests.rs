//! Bodies that are read, and bodies that are refused where they are wrong.

use serde_json::{Value, json};

use super::request::{self, Manner};
use crate::engine::{Conversation, Grammar, Role, ToolChoice};
use crate::gate::{ExchangeRequest, Input, TokenInput};
use crate::web::body::parse;
use crate::web::{ApiError, ErrorCode};

fn body(change: &Value) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hi"}]});
    for (name, value) in change.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

pub(super) fn read(change: &Value) -> Result<(ExchangeRequest, Manner), ApiError> {
    request::message(parse(body(change).to_string().as_bytes()).expect("well-formed"))
}

fn accepted(change: Value) -> (ExchangeRequest, Manner) {
    read(&change).unwrap_or_else(|error| panic!("{change} gave {error}"))
}

pub(super) fn conversation(change: Value) -> Conversation {
    let Input::Conversation(conversation) = accepted(change).0.input else { panic!("a chat") };
    conversation
}

fn refused(change: &Value) -> (ErrorCode, String) {
    let error = read(change).err().unwrap_or_else(|| panic!("{change} passed"));
    (error.code(), error.at_fault().expect("names the parameter").to_owned())
}

pub(super) fn add() -> Value {
    json!({"name": "add", "description": "Adds.", "input_schema": {"type": "object"}})
}

#[test]
fn every_honoured_parameter_reaches_the_engine() {
    let (request, manner) = accepted(json!({
        "max_tokens": 7, "stream": true, "stop_sequences": ["a", "b"], "temperature": 0.5,
        "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "seed": 3,
        "metadata": {"user_id": "x"}, "service_tier": "auto", "cache_control": {"type": "ephemeral"},
    }));
    let sampling = &request.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k), (0.5, 0.9, 40));
    assert_eq!((sampling.min_p, sampling.repetition_penalty), (0.05, 1.1));
    assert_eq!(sampling.seed, Some(3));
    assert_eq!((request.max_tokens, request.choices), (Some(7), 1));
    assert_eq!((request.model.as_deref(), request.logprobs), (Some("m"), None));
    assert_eq!(request.stop, ["a", "b"]);
    assert!(request.takes_apart && manner.is_streamed);
    assert_eq!(manner.stops, request.stop);
    assert_eq!(accepted(json!({})).1, Manner::default());
}

#[test]
fn turns_come_in_turn_and_the_frame_first() {
    let messages = conversation(json!({
        "system": [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "user", "content": [{"type": "text", "text": "two", "citations": null}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "So", "signature": "unsigned"},
                {"type": "text", "text": "Well."},
                {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1},
                 "caller": {"type": "direct"}}]},
            {"role": "system", "content": "B"},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "2"}]},
                {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": true},
                {"type": "tool_result", "tool_use_id": "t3"},
                {"type": "text", "text": "three"}]},
        ],
    }))
    .messages;
    let seen: Vec<(Role, String)> =
        messages.iter().map(|one| (one.role, one.content.text())).collect();
    let expected = [
        (Role::System, "A\n\nB"),
        (Role::User, "one\ntwo"),
        (Role::Assistant, "Well."),
        (Role::Tool, "2"),
        (Role::Tool, "Error: no"),
        (Role::Tool, ""),
        (Role::User, "three"),
    ];
    assert_eq!(seen, expected.map(|(role, text)| (role, text.to_owned())));
    assert_eq!(messages[2].reasoning.as_deref(), Some("So"));
    let call = &messages[2].tool_calls[0];
    assert_eq!((&*call.id, &*call.name, &call.arguments), ("t1", "add", &json!({"a": 1})));
    assert_eq!(messages[4].tool_call_id.as_deref(), Some("t2"));
}

#[test]
fn tools_are_told_and_called_as_was_chosen() {
    for (choice, expected) in [
        (Value::Null, Some((ToolChoice::Auto, true))),
        (json!({"type": "auto"}), Some((ToolChoice::Auto, true))),
        (
            json!({"type": "any", "disable_parallel_tool_use": true}),
            Some((ToolChoice::Required, false)),
        ),
        (json!({"type": "tool", "name": "add"}), Some((ToolChoice::Function("add".into()), true))),
        (json!({"type": "none"}), None),
    ] {
        let (request, _) = accepted(json!({"tools": [add()], "tool_choice": choice}));
        assert_eq!(request.tools.map(|rules| (rules.choice, rules.is_parallel)), expected);
    }
    let example = json!({"a": 1});
    let mut tool = add();
    tool["type"] = json!("custom");
    tool["input_examples"] = json!([example]);
    tool["strict"] = json!(true);
    tool["defer_loading"] = json!(false);
    tool["allowed_callers"] = json!(["direct"]);
    tool["eager_input_streaming"] = json!(true);
    assert_eq!(
        conversation(json!({ "tools": [tool] })).tools,
        [json!({"type": "function", "function": {"name": "add", "description": "Adds.",
            "parameters": {"type": "object", "examples": [example]}, "strict": true}})]
    );
}

#[test]
fn thinking_effort_and_form_go_where_they_bind() {
    for (thinking, switch, hides) in [
        (json!({"type": "enabled", "budget_tokens": 1024}), true, false),
        (json!({"type": "adaptive", "display": "omitted"}), true, true),
        (json!({"type": "disabled"}), false, false),
    ] {
        let (request, manner) = accepted(json!({ "thinking": thinking }));
        let Input::Conversation(conversation) = request.input else { panic!("a chat") };
        assert_eq!(conversation.arguments["enable_thinking"], switch);
        assert_eq!(manner.hides_thinking, hides);
    }
    assert!(conversation(json!({})).arguments.is_empty());
    let schema = json!({"type": "object"});
    let config = json!({"effort": "max", "format": {"type": "json_schema", "schema": schema}});
    let (request, _) = accepted(json!({ "output_config": config }));
    let held = request.held_to.expect("a form");
    assert_eq!(held.grammar, Grammar::JsonSchema(schema));
    let Input::Conversation(conversation) = request.input else { panic!("a chat") };
    assert_eq!(conversation.arguments["reasoning_effort"], "high");
}

#[test]
fn what_cannot_be_honoured_is_refused_where_it_stands() {
    let said = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let answered = |content: Value| {
        json!({"messages": [{"role": "assistant", "content": content},
            {"role": "user", "content": "x"}]})
    };
    let offered = |field: &str, value: Value| {
        let mut tool = add();
        tool[field] = value;
        json!({ "tools": [tool] })
    };
    let source = json!({"type": "url", "url": "https://a.example/x.png"});
    for (change, param) in [
        (said(json!([{"type": "image", "source": source}])), "messages[0].content[0].type"),
        (said(json!([{"type": "document", "source": source}])), "messages[0].content[0].type"),
        (
            said(json!([{"type": "tool_result", "tool_use_id": "t", "content": [
                {"type": "image", "source": source}]}])),
            "messages[0].content[0].content[0].type",
        ),
        (
            answered(json!([{"type": "redacted_thinking", "data": "x"}])),
            "messages[0].content[0].type",
        ),
        (answered(json!([{"type": "server_tool_use", "id": "x"}])), "messages[0].content[0].type"),
        (
            said(json!([{"type": "text", "text": "x", "citations": [{}]}])),
            "messages[0].content[0].citations",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x"},
                {"role": "assistant", "content": "I"}]}),
            "messages[1].role",
        ),
        (json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}), "tools[0].type"),
        (offered("defer_loading", json!(true)), "tools[0].defer_loading"),
        (offered("allowed_callers", json!(["code_execution"])), "tools[0].allowed_callers"),
        (json!({"container": "c"}), "container"),
        (json!({"speed": "fast"}), "speed"),
        (json!({"service_tier": "priority"}), "service_tier"),
    ] {
        let found = refused(&change);
        assert_eq!(found, (ErrorCode::UnsupportedParameter, param.to_owned()), "{change}");
    }
}

#[test]
fn what_is_wrong_is_refused_where_it_stands() {
    let said = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let many: Vec<&str> = vec!["a"; 17];
    for (change, param) in [
        (json!({"messages": []}), "messages"),
        (json!({"messages": "Hi"}), "messages"),
        (json!({"messages": ["x"]}), "messages[0]"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (json!({"messages": [{"role": "system", "content": "x"}]}), "messages"),
        (json!({"messages": [{"role": "user", "content": "x", "a": 1}]}), "messages[0].a"),
        (said(json!(1)), "messages[0].content"),
        (said(json!(["x"])), "messages[0].content[0]"),
        (said(json!([{"type": "text"}])), "messages[0].content[0].text"),
        (said(json!([{"type": "colour"}])), "messages[0].content[0].type"),
        (said(json!([{"type": "text", "text": "x", "a": 1}])), "messages[0].content[0].a"),
        (
            said(json!([{"type": "text", "text": "x", "cache_control": {"type": "x"}}])),
            "messages[0].content[0].cache_control",
        ),
        // Only an answer thinks and calls, and only a person has results.
        (said(json!([{"type": "thinking", "thinking": "x"}])), "messages[0].content[0].type"),
        (said(json!([{"type": "tool_result"}])), "messages[0].content[0].tool_use_id"),
        (json!({"system": 1}), "system"),
        (json!({"system": [{"type": "thinking", "thinking": "x"}]}), "system[0].type"),
        (json!({"max_tokens": null}), "max_tokens"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"stream": 1}), "stream"),
        (json!({"stop_sequences": many}), "stop_sequences"),
        (json!({"stop_sequences": [""]}), "stop_sequences"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"tools": [{"name": "a b", "input_schema": {}}]}), "tools[0].name"),
        (json!({"tools": [{"name": "a"}]}), "tools[0].input_schema"),
        (json!({"tools": [add(), add()]}), "tools[1].name"),
        (json!({"tools": [add()], "tool_choice": "any"}), "tool_choice"),
        (json!({"tools": [add()], "tool_choice": {"type": "x"}}), "tool_choice.type"),
        (json!({"tools": [add()], "tool_choice": {"type": "tool", "name": "x"}}), "tool_choice"),
        (json!({"tool_choice": {"type": "any"}}), "tool_choice"),
        (json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens"),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 5}}), "thinking.budget_tokens"),
        (json!({"thinking": {"type": "between_tools"}}), "thinking.type"),
        (json!({"output_config": {"effort": "huge"}}), "output_config.effort"),
        (json!({"output_config": {"format": {"type": "text"}}}), "output_config.format.type"),
        (json!({"colour": 1}), "colour"),
    ] {
        let (code, found) = refused(&change);
        assert_eq!(found, param, "{change}");
        assert_ne!(code, ErrorCode::UnsupportedParameter, "{change}");
    }
}

#[test]
fn a_count_is_of_what_an_answer_would_read() {
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "tools": [add()],
        "system": "A", "thinking": {"type": "disabled"}});
    let ask = request::count(parse(body.to_string().as_bytes()).expect("well-formed"));
    let TokenInput::Conversation { conversation: counted, opens_answer } =
        ask.expect("passes").input
    else {
        panic!("a conversation")
    };
    assert_eq!(counted, conversation(body));
    assert!(opens_answer);
}
