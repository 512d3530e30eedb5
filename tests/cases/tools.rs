//! Functions that are called, and forms that answers are held to.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{CHAT, Place, chat, said, with};
use crate::common::Home;
use crate::common::client::StreamEvent;
use crate::common::guides::{long_guide, no_end};
use crate::common::refusal::check;

/// What openai-python makes of two functions.
fn functions() -> Value {
    json!([
        {"type": "function", "function": {"name": "weather", "description": "Tells the weather.",
            "strict": true, "parameters": {"type": "object", "additionalProperties": false,
                "properties": {"unit": {"enum": ["C", "F"], "type": "string"}}, "required": ["unit"]}}},
        {"type": "function", "function": {"name": "now", "strict": true, "parameters": {
            "type": "object", "properties": {}, "required": [], "additionalProperties": false}}},
    ])
}

fn calling(change: &Value) -> Value {
    let asks = json!({"tools": functions(), "tool_choice": "required", "max_tokens": 200});
    with(chat(&asks), change)
}

/// The arguments of a call, as JSON.
fn arguments(call: &Value) -> Value {
    let text = call["function"]["arguments"].as_str().expect("a text");
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The calls that the pieces of a stream make together, as clients put them together: by their index.
fn together(events: &[StreamEvent]) -> (Vec<Value>, Vec<String>) {
    let (mut calls, mut reasons): (Vec<Value>, Vec<String>) = (Vec::new(), Vec::new());
    for event in &events[..events.len() - 1] {
        let choice = event.json()["choices"][0].clone();
        reasons.extend(choice["finish_reason"].as_str().map(str::to_owned));
        for piece in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let index = piece["index"].as_u64().expect("an index");
            let index = usize::try_from(index).expect("a small one");
            if index == calls.len() {
                // The first piece says what it is.
                assert!(
                    piece["id"].is_string() && piece["function"]["name"].is_string(),
                    "{piece}"
                );
                assert_eq!(piece["type"], "function");
                calls.push(piece.clone());
                continue;
            }
            assert!(index < calls.len() && piece["id"].is_null(), "{piece}");
            let more = piece["function"]["arguments"].as_str().expect("a text");
            let before = calls[index]["function"]["arguments"].as_str().expect("a text");
            calls[index]["function"]["arguments"] = json!(format!("{before}{more}"));
        }
    }
    (calls, reasons)
}

#[test]
fn case_09_calls_are_numbered_have_their_ids_and_texts_as_arguments() {
    let home = Home::prepared();
    let model = long_guide(&home, "guide-long");
    let place = Place::serving(home, &[model], &[]);
    let client = place.client();
    let mut ids = BTreeSet::new();
    // The model may not end, so it calls again and again.
    let many = json!({"model": "guide-long", "logit_bias": no_end(), "max_tokens": 400});
    let whole = client.post(CHAT, &calling(&many)).expect(200);
    let calls = whole["choices"][0]["message"]["tool_calls"].as_array().expect("calls");
    assert!(calls.len() > 1, "{whole}");
    for call in calls {
        assert_eq!(call["type"], "function");
        assert!(["weather", "now"].map(Value::from).contains(&call["function"]["name"]), "{call}");
        assert!(call["function"]["arguments"].is_string(), "{call}");
        let id = call["id"].as_str().expect("an id").to_owned();
        assert!(!id.is_empty() && ids.insert(id), "{call}");
    }
    let body = with(calling(&many), &json!({"stream": true}));
    let events: Vec<StreamEvent> = client.stream(CHAT, &body).collect();
    let (streamed, _) = together(&events);
    assert_eq!(streamed.len(), calls.len());
    for (one, other) in streamed.iter().zip(calls) {
        assert_eq!(one["function"], other["function"]);
        let id = one["id"].as_str().expect("an id").to_owned();
        assert!(ids.insert(id), "ids of two answers are not the same");
    }
}

#[test]
fn case_10_the_reason_is_one_of_openais_the_same_in_both_forms_and_length_goes_first() {
    let place = Place::with(&[]);
    let client = place.client();
    for (change, expected) in [
        (json!({"parallel_tool_calls": false}), &["tool_calls"][..]),
        (json!({"parallel_tool_calls": false, "max_tokens": 6}), &["length"]),
        (json!({"tools": null, "tool_choice": null, "max_tokens": 2}), &["length", "stop"]),
        (
            json!({"tools": null, "tool_choice": null, "max_tokens": 2, "logit_bias": no_end()}),
            &["length"],
        ),
    ] {
        let whole = client.post(CHAT, &calling(&change)).expect(200);
        let reason = whole["choices"][0]["finish_reason"].as_str().expect("a reason");
        assert!(expected.contains(&reason), "{change}: {whole}");
        let body = with(calling(&change), &json!({"stream": true}));
        let events: Vec<StreamEvent> = client.stream(CHAT, &body).collect();
        assert_eq!(together(&events).1, [reason], "{change}");
    }
}

#[test]
fn case_11_a_function_by_name_and_any_function_are_called_and_none_without_functions() {
    let place = Place::with(&[]);
    let client = place.client();
    let named = |name: &str| json!({"type": "function", "function": {"name": name}});
    for name in ["weather", "now"] {
        let change = json!({"tool_choice": named(name), "parallel_tool_calls": false});
        let whole = client.post(CHAT, &calling(&change)).expect(200);
        let message = &whole["choices"][0]["message"];
        let [call] = message["tool_calls"].as_array().expect("calls").as_slice() else {
            panic!("{whole}")
        };
        assert_eq!(call["function"]["name"], name);
        assert!(message["content"].is_null(), "{message}");
        match name {
            "weather" => assert!(["C", "F"].map(Value::from).contains(&arguments(call)["unit"])),
            _ => assert_eq!(arguments(call), json!({})),
        }
    }
    let whole = client.post(CHAT, &calling(&json!({"parallel_tool_calls": false}))).expect(200);
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    let none =
        client.post(CHAT, &calling(&json!({"tool_choice": "none", "max_tokens": 8}))).expect(200);
    assert!(none["choices"][0]["message"]["tool_calls"].is_null(), "{none}");
    for change in [
        json!({"tools": null}),
        json!({"tools": []}),
        json!({"tool_choice": named("nobody")}),
        json!({"tools": null, "tool_choice": named("weather")}),
        json!({"tool_choice": "any"}),
    ] {
        let refused = client.post(CHAT, &calling(&change));
        check(&change.to_string(), &refused, 400, "invalid_value");
        assert_eq!(refused.expect(400)["error"]["param"], "tool_choice", "{change}");
    }
}

/// As pydantic writes it and openai-python makes it strict.
fn schema() -> Value {
    json!({
        "$defs": {
            "Unit": {"enum": ["C", "F"], "title": "Unit", "type": "string"},
            "Day": {"type": "object", "title": "Day", "additionalProperties": false,
                "properties": {"number": {"type": "integer", "minimum": 1, "maximum": 9, "title": "Number"},
                    "unit": {"$ref": "#/$defs/Unit"}},
                "required": ["number", "unit"]},
        },
        "type": "object", "title": "Forecast", "additionalProperties": false,
        "properties": {
            "day": {"$ref": "#/$defs/Day"},
            "note": {"anyOf": [{"type": "string", "maxLength": 8}, {"type": "null"}], "title": "Note"},
        },
        "required": ["day", "note"],
    })
}

fn fits(value: &Value) -> bool {
    let names = |value: &Value| {
        let fields = value.as_object().into_iter().flatten();
        fields.map(|(name, _)| name.clone()).collect::<BTreeSet<_>>()
    };
    let has =
        |value: &Value, expected: [&str; 2]| names(value) == expected.map(str::to_owned).into();
    let day = &value["day"];
    has(value, ["day", "note"])
        && has(day, ["number", "unit"])
        && day["number"].as_u64().is_some_and(|number| (1..=9).contains(&number))
        && ["C", "F"].map(Value::from).contains(&day["unit"])
        && (value["note"].is_null()
            || value["note"].as_str().is_some_and(|note| note.chars().count() <= 8))
}

#[test]
fn case_17_schemas_of_every_kind_bind_and_so_does_any_object() {
    let place = Place::with(&[]);
    let client = place.client();
    for is_strict in [json!(true), json!(false), Value::Null] {
        for seed in 0..4 {
            let format = json!({"type": "json_schema",
                "json_schema": {"name": "Forecast", "schema": schema(), "strict": is_strict}});
            let change = json!({"response_format": format, "seed": seed, "temperature": 1.2, "max_tokens": 200});
            let answer = client.post(CHAT, &chat(&change)).expect(200);
            assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
            let value = serde_json::from_str(said(&answer)).expect("JSON");
            assert!(fits(&value), "{value}");
        }
    }
    assert!(!fits(&json!({"day": {"number": 1, "unit": "K"}, "note": null})), "the test can fail");
    // Without a schema the form is the model's to know: it is helped to close what it opens.
    let change = json!({"response_format": {"type": "json_object"}, "logit_bias": {"95": 20}, "max_tokens": 300});
    let answer = client.post(CHAT, &chat(&change)).expect(200);
    assert!(said(&answer).starts_with('{'), "{answer}");
    if answer["choices"][0]["finish_reason"] == "stop" {
        let value: Value = serde_json::from_str(said(&answer)).expect("JSON");
        assert!(value.is_object(), "{value}");
    }
    // What cannot be followed is refused, and not ignored.
    let wrong =
        json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "colour"}}});
    let refused = client.post(CHAT, &chat(&json!({"response_format": wrong})));
    check("a colour", &refused, 400, "invalid_value");
    assert_eq!(refused.expect(400)["error"]["param"], "response_format");
}
