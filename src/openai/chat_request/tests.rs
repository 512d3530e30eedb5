//! Bodies that are read, and those that are refused where they are wrong.

use serde_json::json;

use super::*;
use crate::web::body::parse;

fn request(change: Value) -> Result<(ExchangeRequest, Delivery), ApiError> {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    for (name, value) in change.as_object().expect("an object") {
        body[name] = value.clone();
    }
    read(parse(body.to_string().as_bytes()).expect("well-formed"))
}

fn accepted(change: Value) -> ExchangeRequest {
    request(change.clone()).unwrap_or_else(|error| panic!("{change} gave {error}")).0
}

fn refused_at(change: Value) -> String {
    let error = request(change.clone()).err().unwrap_or_else(|| panic!("{change} passed"));
    let body = serde_json::to_value(error.body()).expect("plain");
    body["error"]["param"].as_str().expect("names the parameter").to_owned()
}

fn said(change: Value) -> Vec<(Role, String)> {
    let Input::Conversation(conversation) = accepted(json!({ "messages": change })).input else {
        panic!("a conversation")
    };
    let messages = conversation.messages.into_iter();
    messages.map(|message| (message.role, message.content.text())).collect()
}

#[test]
fn every_honoured_parameter_reaches_the_engine() {
    let request = accepted(json!({
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "seed": -1,
        "repetition_penalty": 1.1, "repeat_last_n": 64, "typical_p": 0.9,
        "dry_multiplier": 0.5, "dry_base": 1.5, "dry_allowed_length": 3,
        "dry_penalty_last_n": 128, "dry_sequence_breakers": ["."], "presence_penalty": -0.5, "frequency_penalty": 2,
        "logit_bias": {"7": -100, "0": 1.5}, "stop": ["a", "b"], "max_tokens": 9,
        "max_completion_tokens": 5, "n": 3, "logprobs": true, "top_logprobs": 3,
    }));
    assert_eq!(
        request.sampling,
        crate::engine::Sampling {
            temperature: 0.5,
            top_p: 0.9,
            top_k: 40,
            min_p: 0.05,
            seed: Some(u64::MAX),
            presence_penalty: -0.5,
            frequency_penalty: 2.0,
            repetition_penalty: 1.1,
            repetition_last_n: Some(64),
            typical_p: 0.9,
            dry: Some(crate::engine::Dry {
                multiplier: 0.5,
                base: 1.5,
                allowed_length: 3,
                last_n: Some(128),
                sequence_breakers: vec![".".into()],
            }),
            logit_bias: vec![(7, -100.0), (0, 1.5)],
        }
    );
    assert_eq!(request.choices, 3);
    assert_eq!(request.stop, ["a", "b"]);
    assert_eq!((request.max_tokens, request.logprobs), (Some(5), Some(3)));
    assert_eq!(request.model.as_deref(), Some("m"));
}

#[test]
fn several_answers_and_sampling_go_with_tools_and_with_forms() {
    let function = json!({"type": "function", "function": {"name": "add"}});
    let schema = json!({"name": "s", "schema": {"type": "object"}});
    for form in [
        json!({"tools": [function], "tool_choice": "required"}),
        json!({"response_format": {"type": "json_schema", "json_schema": schema}}),
        json!({"guided_regex": "a+"}),
    ] {
        let mut change = json!({
            "n": 2, "logit_bias": {"7": 5}, "typical_p": 0.5, "dry_multiplier": 0.8,
            "repeat_last_n": 32, "repetition_penalty": 1.1,
        });
        for (name, value) in form.as_object().expect("an object") {
            change[name] = value.clone();
        }
        let request = accepted(change);
        assert!(request.tools.is_some() != request.held_to.is_some(), "{form}");
        let sampling = &request.sampling;
        assert_eq!((request.choices, sampling.typical_p), (2, 0.5), "{form}");
        assert_eq!(sampling.repetition_last_n, Some(32), "{form}");
        assert!(sampling.dry.is_some() && sampling.logit_bias == [(7, 5.0)], "{form}");
    }
}

#[test]
fn tools_go_with_a_form_and_an_effort_is_told_to_the_template() {
    let function = json!({"type": "function", "function": {"name": "add"}});
    let request = accepted(json!({
        "tools": [function], "response_format": {"type": "json_object"}, "reasoning_effort": "low",
    }));
    assert!(request.tools.is_some() && request.held_to.is_some());
    let Input::Conversation(conversation) = request.input else { panic!("a conversation") };
    assert_eq!(conversation.arguments["reasoning_effort"], "low");
    assert_eq!(conversation.arguments["enable_thinking"], true);
    for wrong in [json!("much"), json!(1), json!("")] {
        assert_eq!(refused_at(json!({ "reasoning_effort": wrong })), "reasoning_effort");
    }
}

#[test]
fn what_is_absent_means_what_the_specification_says() {
    let request = accepted(json!({"stop": null, "temperature": null, "logprobs": false}));
    assert_eq!((request.sampling.temperature, request.sampling.top_p), (1.0, 1.0));
    assert_eq!((request.max_tokens, request.logprobs, request.stop.len()), (None, None, 0));
    assert_eq!(accepted(json!({"top_p": 0})).sampling.top_k, 1);
    let all = json!({"repeat_last_n": -1, "dry_multiplier": 0, "dry_base": 2});
    let sampling = accepted(all).sampling;
    assert_eq!((sampling.repetition_last_n, sampling.dry), (None, None));
    assert_eq!(accepted(json!({"stop": "x"})).stop, ["x"]);
}

#[test]
fn usage_is_sent_in_streams_that_ask_for_it() {
    let delivery = |change| request(change).expect("passes").1;
    assert_eq!(delivery(json!({})), Delivery::default());
    let both = delivery(json!({"stream": true, "stream_options": {"include_usage": true}}));
    assert!(both.is_streamed && both.with_usage);
    assert_eq!(refused_at(json!({"stream_options": {"include_usage": true}})), "stream_options");
    assert_eq!(refused_at(json!({"stream": true, "stream_options": {"x": 1}})), "stream_options.x");
}

#[test]
fn values_of_the_wrong_kind_or_size_are_refused_by_name() {
    let huge = "x".repeat(300);
    let many: Vec<&str> = vec!["a"; 17];
    for (name, values) in [
        ("temperature", vec![json!(-0.1), json!(2.1), json!("1"), json!([1]), json!(1e300)]),
        ("top_p", vec![json!(-1), json!(1.5), json!(true)]),
        ("top_k", vec![json!(-1), json!(1.5), json!(99_999_999), json!("5")]),
        ("min_p", vec![json!(-0.5), json!(2)]),
        ("typical_p", vec![json!(0), json!(1.5), json!("x")]),
        ("repeat_last_n", vec![json!(-2), json!(1.5), json!(i64::MAX)]),
        ("dry_multiplier", vec![json!(-1), json!(101), json!([])]),
        ("dry_base", vec![json!(0.5), json!(1e9)]),
        ("dry_allowed_length", vec![json!(0), json!("2")]),
        ("dry_penalty_last_n", vec![json!(-2)]),
        ("dry_sequence_breakers", vec![json!("a"), json!([""]), json!([1]), json!([huge])]),
        ("repetition_penalty", vec![json!(0), json!(-1), json!(11)]),
        ("presence_penalty", vec![json!(-3), json!("x")]),
        ("frequency_penalty", vec![json!(3), json!({})]),
        ("seed", vec![json!(1.5), json!("1"), json!(u64::MAX)]),
        ("max_tokens", vec![json!(0), json!(-5), json!(1.5), json!("9"), json!(i64::MAX)]),
        ("max_completion_tokens", vec![json!(0), json!(-1)]),
        ("stop", vec![json!(1), json!([1]), json!(""), json!(huge), json!(many)]),
        (
            "logit_bias",
            vec![
                json!([1]),
                json!({"x": 1}),
                json!({"1": 101}),
                json!({"-1": 0}),
                json!({"+1": 0}),
                json!({"1": "a"}),
                json!({"99999999999": 1}),
            ],
        ),
        ("n", vec![json!(0), json!(129), json!(1.5), json!("2")]),
        ("logprobs", vec![json!(1), json!("true")]),
        ("top_logprobs", vec![json!(21), json!(-1), json!(2)]),
        ("stream", vec![json!("true"), json!(1)]),
        ("stream_options", vec![json!(true), json!([])]),
        ("model", vec![json!(1), json!(""), json!(huge)]),
        ("messages", vec![json!([]), json!("Hi"), json!({}), json!(null)]),
    ] {
        for value in values {
            assert_eq!(refused_at(json!({ name: value })), name);
        }
    }
}

#[test]
fn system_and_developer_messages_come_first_as_one() {
    let messages = said(json!([
        {"role": "system", "content": "A"},
        {"role": "user", "content": "Hi"},
        {"role": "developer", "content": [{"type": "text", "text": "B"}]},
        {"role": "assistant", "content": "Yes"},
    ]));
    let expected = [(Role::System, "A\n\nB"), (Role::User, "Hi"), (Role::Assistant, "Yes")];
    assert_eq!(messages, expected.map(|(role, text)| (role, text.to_owned())));
}

#[test]
fn an_assistants_content_may_be_absent_and_its_extras_come_back() {
    let messages = said(json!([
        {"role": "user", "content": "Hi", "name": "ann"},
        {"role": "assistant", "content": null, "refusal": null, "tool_calls": [],
         "function_call": null, "audio": null, "annotations": [], "reasoning_content": "x"},
        {"role": "assistant"},
        {"role": "assistant", "refusal": "No."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]));
    let texts: Vec<&str> = messages.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["Hi", "", "", "No.", "a\nb"]);
}

#[test]
fn what_was_thought_comes_back_under_either_name() {
    for (thought, expected) in [
        (json!({"reasoning_content": "x"}), Some("x")),
        (json!({"reasoning": "y"}), Some("y")),
        (json!({"reasoning_content": "x", "reasoning": "x"}), Some("x")),
        (json!({"reasoning_content": null, "reasoning": null}), None),
        (json!({}), None),
    ] {
        let mut message = thought.clone();
        message["role"] = json!("assistant");
        message["content"] = json!("Yes");
        let asked = accepted(json!({"messages": [{"role": "user", "content": "Hi"}, message]}));
        let Input::Conversation(conversation) = asked.input else { panic!("a conversation") };
        assert_eq!(conversation.messages[1].reasoning.as_deref(), expected, "{thought}");
    }
}

#[test]
fn messages_that_cannot_be_honoured_are_refused_where_they_stand() {
    let image = json!([{"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}]);
    for (message, param) in [
        (json!({"role": "robot", "content": "x"}), "messages[0].role"),
        (json!({"content": "x"}), "messages[0].role"),
        (json!({"role": 1, "content": "x"}), "messages[0].role"),
        (json!({"role": "function", "content": "x", "name": "f"}), "messages[0].role"),
        (json!({"role": "tool", "content": "x"}), "messages[0].tool_call_id"),
        (json!({"role": "user"}), "messages[0].content"),
        (json!({"role": "user", "content": null}), "messages[0].content"),
        (json!({"role": "user", "content": 1}), "messages[0].content"),
        (json!({"role": "user", "content": {"type": "text"}}), "messages[0].content"),
        (json!({"role": "user", "content": image}), "messages[0].content[0].image_url"),
        (json!({"role": "user", "content": ["x"]}), "messages[0].content[0]"),
        (json!({"role": "user", "content": [{"type": "text"}]}), "messages[0].content[0].text"),
        (json!({"role": "user", "content": [{"type": "x"}]}), "messages[0].content[0].type"),
        (json!({"role": "user", "content": "x", "name": ""}), "messages[0].name"),
        (json!({"role": "user", "content": "x", "colour": 1}), "messages[0].colour"),
        (
            json!({"role": "assistant", "tool_calls": [{"id": "1"}]}),
            "messages[0].tool_calls[0].type",
        ),
        (json!("x"), "messages[0]"),
    ] {
        assert_eq!(refused_at(json!({ "messages": [message] })), param);
    }
}

#[test]
fn a_field_that_is_empty_hides_none_that_is_unknown() {
    let message = |more: Value| {
        let mut message = json!({"role": "user", "content": "Hi", "a": null});
        message["z"] = more;
        json!({ "messages": [message] })
    };
    accepted(message(Value::Null));
    assert_eq!(refused_at(message(json!(1))), "messages[0].z");
}
