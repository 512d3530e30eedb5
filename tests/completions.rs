//! `/v1/completions` from outside: the real binary with the built-in model. Several prompts in one request,
//! and prompts that are sent back.

mod common;

use common::client::Client;
use common::{GUIDE, Home, Server};
use serde_json::{Value, json};

const COMPLETIONS: &str = "/v1/completions";
const PROMPTS: [&str; 3] = ["Strongroom is", "A key opens", "Nobody reads"];

fn body(change: &Value) -> Value {
    let mut body = json!({"model": GUIDE, "prompt": PROMPTS, "max_tokens": 6, "seed": 7});
    for (name, value) in change.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

fn answer(client: &Client, change: &Value) -> Value {
    client.post(COMPLETIONS, &body(change)).expect(200)
}

fn texts(answer: &Value) -> Vec<String> {
    let choices = answer["choices"].as_array().expect("choices").iter().enumerate();
    let text = |(index, choice): (usize, &Value)| {
        assert_eq!(choice["index"], index);
        choice["text"].as_str().expect("a text").to_owned()
    };
    choices.map(text).collect()
}

fn total(answer: &Value, name: &str) -> u64 {
    answer["usage"][name].as_u64().expect("a number")
}

#[test]
fn several_prompts_are_answered_as_each_would_be_alone() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let client = server.with_key(&home.key());
    let all = answer(&client, &json!({"n": 2}));
    let alone: Vec<Value> =
        PROMPTS.iter().map(|prompt| answer(&client, &json!({"prompt": prompt, "n": 2}))).collect();
    assert_eq!(texts(&all), alone.iter().flat_map(texts).collect::<Vec<_>>());
    for name in ["prompt_tokens", "completion_tokens"] {
        assert_eq!(total(&all, name), alone.iter().map(|one| total(one, name)).sum::<u64>());
    }
    // As tokens they are the same prompts.
    let tokens: Vec<Value> = PROMPTS
        .iter()
        .map(|prompt| {
            client.post("/v1/tokenize", &json!({"content": prompt})).expect(200)["tokens"].clone()
        })
        .collect();
    assert_eq!(texts(&answer(&client, &json!({"prompt": tokens, "n": 2}))), texts(&all));
    // Streamed, each piece says which answer it belongs to.
    let streamed =
        body(&json!({"n": 2, "stream": true, "stream_options": {"include_usage": true}}));
    let mut pieces = vec![String::new(); 6];
    let (mut ended, mut usage) = (Vec::new(), Value::Null);
    for event in client.stream(COMPLETIONS, &streamed).filter(|event| event.data != "[DONE]") {
        let chunk = event.json();
        for choice in chunk["choices"].as_array().expect("choices") {
            let index = choice["index"].as_u64().expect("a number");
            let at = usize::try_from(index).expect("small");
            pieces[at].push_str(choice["text"].as_str().expect("a text"));
            ended.extend(choice["finish_reason"].as_str().map(|_| at));
        }
        if !chunk["usage"].is_null() {
            usage = chunk["usage"].clone();
        }
    }
    ended.sort_unstable();
    assert_eq!((pieces, ended), (texts(&all), (0..6).collect()));
    assert_eq!(usage["total_tokens"], all["usage"]["total_tokens"]);
    // One request is one record of a beginning and one of an end.
    let log = server.sign_in().client.get("/api/admin/audit?action=generation.start").text();
    assert!(log.contains("prompt_digests") && !log.contains("opens"), "{log}");
}

#[test]
fn a_prompt_comes_back_with_how_likely_it_was() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let client = server.with_key(&home.key());
    let prompt = "Grüße, 12 €";
    let plain = answer(&client, &json!({"prompt": prompt, "logprobs": 2}));
    let whole = answer(&client, &json!({"prompt": prompt, "logprobs": 2, "echo": true}));
    assert_eq!(texts(&whole)[0], format!("{prompt}{}", texts(&plain)[0]));
    assert_eq!(whole["usage"]["total_tokens"], plain["usage"]["total_tokens"]);
    let of = |answer: &Value, name: &str| {
        answer["choices"][0]["logprobs"][name].as_array().expect("a list").clone()
    };
    let (told, own) = (of(&whole, "tokens"), of(&plain, "tokens"));
    let before = told.len() - own.len();
    assert!(before > 3 && told[before..] == own, "{told:?} and {own:?}");
    let judged = of(&whole, "token_logprobs");
    assert!(judged[1..before].iter().all(|one| one.as_f64().is_some_and(|one| one <= 0.0)));
    // Where the answer begins is where the prompt ends.
    let offsets = of(&whole, "text_offset");
    assert_eq!((&offsets[0], &offsets[before]), (&json!(0), &json!(prompt.chars().count())));
    // Without an answer it is the prompt alone, as programs that judge texts ask for it.
    let alone =
        answer(&client, &json!({"prompt": prompt, "logprobs": 2, "echo": true, "max_tokens": 0}));
    assert_eq!(texts(&alone), [prompt]);
    assert_eq!(of(&alone, "tokens"), told[..before]);
    assert_eq!(alone["choices"][0]["finish_reason"], "length");
    assert_eq!(
        (total(&alone, "completion_tokens"), total(&alone, "prompt_tokens")),
        (0, total(&plain, "prompt_tokens"))
    );
    let apart = |(a, b): (&Value, &Value)| match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() < 1e-3,
        (a, b) => a == b,
    };
    assert!(of(&alone, "token_logprobs").iter().zip(&judged[..before]).all(apart));
    // What the model just said is judged as it was said.
    let said = texts(&whole)[0].clone();
    let again =
        answer(&client, &json!({"prompt": said, "logprobs": 0, "echo": true, "max_tokens": 0}));
    assert_eq!(texts(&again), [said]);
    // Streamed, the prompt is the first piece.
    let streamed = body(&json!({"prompt": prompt, "echo": true, "stream": true}));
    let first = client.stream(COMPLETIONS, &streamed).next().expect("an event").json();
    assert_eq!(first["choices"][0]["text"], prompt);
}

#[test]
fn what_is_too_much_or_does_not_fit_is_refused_by_name() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let client = server.with_key(&home.key());
    let long = "many words ".repeat(5_000);
    for (change, code, param) in [
        (json!({"prompt": vec!["a"; 33]}), "invalid_value", "prompt"),
        (json!({"prompt": ["a", 1]}), "invalid_value", "prompt"),
        (json!({"prompt": [[1], []]}), "invalid_value", "prompt"),
        (json!({"prompt": ["a", long]}), "context_length_exceeded", "prompt"),
        (json!({"prompt": [[1], [4_000_000]]}), "invalid_value", "prompt"),
        (json!({"n": 43}), "invalid_value", "n"),
        (json!({"max_tokens": 0}), "invalid_value", "max_tokens"),
        (json!({"echo": 1}), "invalid_value", "echo"),
        (json!({"suffix": "x"}), "unsupported_parameter", "suffix"),
        (json!({"best_of": 2}), "unsupported_parameter", "best_of"),
    ] {
        let answer = client.post(COMPLETIONS, &body(&change));
        let shown: String = change.to_string().chars().take(80).collect();
        assert_eq!(answer.code(), code, "{shown}: {}", answer.text());
        assert_eq!(answer.expect(400)["error"]["param"], param, "{shown}");
    }
    server.assert_alive();
}
