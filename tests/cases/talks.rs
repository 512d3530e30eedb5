//! Conversations: who says what, how much, and what is told of it.

use serde_json::{Value, json};

use super::{CHAT, Place, chat, said, with};
use crate::common::client::StreamEvent;
use crate::common::guides::{no_end, thinking_guide};
use crate::common::refusal::check;
use crate::common::{Client, Home};

/// Tokens of a prompt, by what a chat of it is charged.
fn tokens_of(client: &Client, messages: &Value) -> u64 {
    let body = chat(&json!({"messages": messages, "max_tokens": 1}));
    let answer = client.post(CHAT, &body).expect(200);
    answer["usage"]["prompt_tokens"].as_u64().expect("a count")
}

#[test]
fn case_12_the_assistant_may_have_said_nothing_or_called_functions() {
    let place = Place::with(&[]);
    let client = place.client();
    let call = json!({"id": "call_1", "type": "function",
        "function": {"name": "weather", "arguments": "{\"unit\": \"C\"}"}});
    // As openai-python writes back what it was answered, with and without what is empty.
    for answer in [
        json!({"role": "assistant", "content": null, "tool_calls": [call]}),
        json!({"role": "assistant", "tool_calls": [call]}),
        json!({"role": "assistant", "content": "Let me see.", "tool_calls": [call]}),
        json!({"role": "assistant", "content": "", "tool_calls": [call]}),
        json!({"role": "assistant", "content": null, "refusal": null, "annotations": [], "audio": null,
            "function_call": null, "tool_calls": [call]}),
    ] {
        let messages = json!([{"role": "user", "content": "How is the weather?"}, answer,
            {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."}]);
        assert!(tokens_of(&client, &messages) > 10, "{answer}");
    }
    for answer in [json!({"role": "assistant", "content": null}), json!({"role": "assistant"})] {
        let messages = json!([{"role": "user", "content": "Hello"}, answer,
            {"role": "user", "content": "Are you there?"}]);
        assert!(tokens_of(&client, &messages) > 10, "{answer}");
    }
    // Nobody else may say nothing.
    for role in ["user", "system", "tool"] {
        let message = json!({"role": role, "content": null, "tool_call_id": "x"});
        let refused = client.post(CHAT, &chat(&json!({"messages": [message]})));
        check(role, &refused, 400, "invalid_value");
        assert_eq!(refused.expect(400)["error"]["param"], "messages[0].content", "{role}");
    }
}

#[test]
fn case_13_the_system_speaks_first_and_once_and_nobody_is_left_out() {
    let place = Place::with(&[]);
    let client = place.client();
    let answer = |messages: Value| {
        let body = chat(&json!({"messages": messages, "temperature": 0}));
        let answer = client.post(CHAT, &body).expect(200);
        (answer["usage"]["prompt_tokens"].clone(), said(&answer).to_owned())
    };
    let (brief, kind) = ("Answer in one short sentence.", "Be kind.");
    let user = json!({"role": "user", "content": "What are you?"});
    let one = |role: &str, text: &str| json!({"role": role, "content": text});
    let together = answer(json!([one("system", &format!("{brief}\n\n{kind}")), user]));
    for messages in [
        json!([one("system", brief), one("system", kind), user]),
        json!([one("developer", brief), one("system", kind), user]),
        json!([one("developer", brief), one("developer", kind), user]),
        json!([one("system", brief), user, one("system", kind)]),
        json!([user, one("system", brief), one("developer", kind)]),
    ] {
        assert_eq!(answer(messages.clone()), together, "{messages}");
    }
    // Each further message is read.
    let mut messages = vec![one("system", brief), user];
    let mut before = tokens_of(&client, &json!(messages));
    for further in [
        one("assistant", "I am a guide."),
        one("user", "Of what?"),
        json!({"role": "user", "name": "ann", "content": "Of this house?"}),
        one("assistant", "Of this house."),
        one("developer", kind),
        one("user", "Go on."),
    ] {
        messages.push(further.clone());
        let now = tokens_of(&client, &json!(messages));
        assert!(now > before, "{further} was left out");
        before = now;
    }
    for role in
        [json!("robot"), json!("System"), json!("function"), json!(""), json!(7), Value::Null]
    {
        let messages = json!([{"role": role, "content": "x"}]);
        let refused = client.post(CHAT, &chat(&json!({"messages": messages})));
        check(&role.to_string(), &refused, 400, "invalid_value");
        assert_eq!(refused.expect(400)["error"]["param"], "messages[0].role");
    }
}

#[test]
fn case_14_content_in_parts_is_the_text_that_it_is() {
    let place = Place::with(&[]);
    let client = place.client();
    let part = |text: &str| json!({"type": "text", "text": text});
    let answer = |role: &str, content: Value| {
        let messages = json!([{"role": role, "content": content},
            {"role": "user", "content": "What are you?"}]);
        let body = chat(&json!({"messages": messages, "temperature": 0}));
        let answer = client.post(CHAT, &body).expect(200);
        (answer["usage"]["prompt_tokens"].clone(), said(&answer).to_owned())
    };
    for role in ["user", "assistant", "system", "developer"] {
        let plain = answer(role, json!("Good evening."));
        assert_eq!(answer(role, json!([part("Good evening.")])), plain, "{role}");
        let lines = answer(role, json!("Good evening.\nHow are you?"));
        let parts = json!([part("Good evening."), part("How are you?")]);
        assert_eq!(answer(role, parts), lines, "{role}");
    }
}

#[test]
fn case_15_the_newer_bound_goes_before_the_older_one_and_ends_with_length() {
    let place = Place::with(&[]);
    let client = place.client();
    let free = json!({"logit_bias": no_end()});
    for (change, tokens) in [
        (json!({"max_tokens": null, "max_completion_tokens": 3}), 3),
        (json!({"max_tokens": 9, "max_completion_tokens": 3}), 3),
        (json!({"max_tokens": 3, "max_completion_tokens": 9}), 9),
        (json!({"max_tokens": 5}), 5),
    ] {
        let body = with(chat(&free), &change);
        let answer = client.post(CHAT, &body).expect(200);
        assert_eq!(answer["usage"]["completion_tokens"], tokens, "{change}");
        assert_eq!(answer["choices"][0]["finish_reason"], "length", "{change}");
        let body = with(body, &json!({"stream": true}));
        let events: Vec<StreamEvent> = client.stream(CHAT, &body).collect();
        let last = events[events.len() - 2].json();
        assert_eq!(last["choices"][0]["finish_reason"], "length", "{change}");
    }
}

#[test]
fn case_19_thoughts_are_told_apart_and_come_back_in_what_was_said_before() {
    let home = Home::prepared();
    let model = thinking_guide(&home, "thinking");
    let place = Place::serving(home, &[model], &[]);
    let client = place.client();
    let asks = json!({"model": "thinking", "logit_bias": no_end()});
    let whole = client.post(CHAT, &chat(&asks)).expect(200);
    let message = &whole["choices"][0]["message"];
    let thought = message["reasoning_content"].as_str().expect("it thinks").to_owned();
    assert!(!thought.trim().is_empty(), "{message}");
    assert_eq!(message["reasoning"], thought, "by the other name too");
    assert_eq!(said(&whole), "", "it has not come to its answer");
    let body = with(chat(&asks), &json!({"stream": true}));
    let events: Vec<StreamEvent> = client.stream(CHAT, &body).collect();
    let deltas =
        events[..events.len() - 1].iter().map(|event| event.json()["choices"][0]["delta"].clone());
    let mut pieces = String::new();
    for delta in deltas {
        assert!(delta["content"].as_str().is_none_or(str::is_empty), "{delta}");
        assert_eq!(delta["reasoning"], delta["reasoning_content"]);
        pieces.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
    }
    assert_eq!(pieces, thought);
    // It goes back as it came, by either name, and is no part of what was said.
    let before = |change: Value| {
        let answer = with(json!({"role": "assistant", "content": "I am a guide."}), &change);
        json!([{"role": "user", "content": "What are you?"}, answer, {"role": "user", "content": "Of what?"}])
    };
    let plain = tokens_of(&client, &before(json!({})));
    for change in [
        json!({"reasoning_content": thought}),
        json!({"reasoning": thought}),
        json!({"reasoning_content": thought, "reasoning": thought}),
        json!({"reasoning_content": null, "reasoning": null}),
    ] {
        assert_eq!(tokens_of(&client, &before(change.clone())), plain, "{change}");
    }
}

#[test]
fn case_25_seeds_repeat_answers_are_numbered_stops_never_show_and_tokens_have_bytes() {
    let place = Place::with(&[]);
    let client = place.client();
    let texts = |change: &Value| {
        let answer = client.post(CHAT, &chat(change)).expect(200);
        let choices = answer["choices"].as_array().expect("a list").clone();
        for (place, choice) in choices.iter().enumerate() {
            assert_eq!(choice["index"], place);
        }
        let text =
            |choice: &Value| choice["message"]["content"].as_str().expect("a text").to_owned();
        choices.iter().map(text).collect::<Vec<_>>()
    };
    let hot =
        |seed: u64, n: u64| json!({"seed": seed, "n": n, "temperature": 1.5, "max_tokens": 24});
    let three = texts(&hot(11, 3));
    assert_eq!(texts(&hot(11, 3)), three);
    assert_eq!(texts(&hot(11, 1)), three[..1]);
    assert!((12..20).any(|seed| texts(&hot(seed, 1)) != three[..1]), "seeds differ");

    // Every stop text of a few letters, wherever the borders of the tokens are.
    let cold = json!({"temperature": 0, "max_tokens": 24, "logit_bias": no_end()});
    let whole = texts(&cold).remove(0);
    let letters: Vec<char> = whole.chars().collect();
    for begin in (2..letters.len().saturating_sub(4)).step_by(3) {
        let stop: String = letters[begin..begin + 4].iter().collect();
        let expected = whole.split(&stop).next().expect("it begins with something");
        let change = with(cold.clone(), &json!({"stop": [stop], "stream": true}));
        let events: Vec<StreamEvent> = client.stream(CHAT, &chat(&change)).collect();
        let choices =
            events[..events.len() - 1].iter().map(|event| event.json()["choices"][0].clone());
        let choices: Vec<Value> = choices.collect();
        let pieces = choices.iter().filter_map(|choice| choice["delta"]["content"].as_str());
        assert_eq!(pieces.collect::<String>().trim(), expected.trim(), "{stop:?} in {whole:?}");
        assert_eq!(choices.last().expect("one")["finish_reason"], "stop", "{stop:?}");
    }

    let change = json!({"temperature": 0, "logprobs": true, "top_logprobs": 3});
    let answer = client.post(CHAT, &chat(&change)).expect(200);
    let tokens = answer["choices"][0]["logprobs"]["content"].as_array().expect("a list");
    assert!(!tokens.is_empty());
    let mut bytes: Vec<u8> = Vec::new();
    for token in tokens {
        bytes.extend(serde_json::from_value::<Vec<u8>>(token["bytes"].clone()).expect("bytes"));
        let top = token["top_logprobs"].as_array().expect("a list");
        assert_eq!(top.len(), 3);
        assert_eq!(top[0]["bytes"], token["bytes"], "the likeliest is taken");
        assert!(top.iter().all(|one| one["bytes"].is_array() && one["logprob"].is_number()));
    }
    assert_eq!(String::from_utf8_lossy(&bytes).trim(), said(&answer).trim());
}
