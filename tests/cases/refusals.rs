//! What clients read of answers that are no answers, and which models they see.

use std::io::ErrorKind;
use std::net::TcpListener;

use serde_json::{Value, json};

use super::{CHAT, COMPLETIONS, Place, chat, with};
use crate::common::guides::{long_guide, no_end, number};
use crate::common::refusal::{check, post};
use crate::common::{Answer, Client, GUIDE, Home, guide_file};

/// The `general.file_type` of a file whose weights are in Q8_0, as llama.cpp numbers them.
const OF_Q8_0: u32 = 7;

fn param(answer: &Answer) -> Value {
    let body: Value = serde_json::from_slice(&answer.body).expect("an error is JSON");
    body["error"]["param"].clone()
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().expect("text"))
}

#[test]
fn case_06_every_error_has_the_four_fields_whatever_is_wrong() {
    let place = Place::with(&["server.body_bytes_max=65536"]);
    let (client, stranger) = (place.client(), super::python(place.server.client()));
    let none = super::python(place.server.with_key("sr-none"));
    let right = chat(&json!({}));
    check("no key", &stranger.post(CHAT, &right), 401, "invalid_api_key");
    check("a wrong key", &none.post(CHAT, &right), 401, "invalid_api_key");
    for client in [&client, &stranger] {
        for path in ["/v1", "/v1/", "/v1/nothing", "/v1/chat", "/v1/audio/speech", "/v1/files"] {
            check(path, &client.get(path), 404, "not_found");
            check(path, &client.post(path, &right), 404, "not_found");
        }
        for (method, path) in
            [("GET", CHAT), ("PUT", CHAT), ("DELETE", "/v1/models"), ("PATCH", COMPLETIONS)]
        {
            check(path, &client.send(method, path, None), 405, "method_not_allowed");
        }
    }
    for (change, status, code) in [
        (json!({"temperature": 9}), 400, "invalid_value"),
        (json!({"messages": null}), 400, "invalid_request"),
        (json!({"colour": 1}), 400, "unknown_parameter"),
        (json!({"audio": {"voice": "alloy"}}), 400, "unsupported_parameter"),
        (json!({"model": "nobody"}), 404, "model_not_found"),
        (json!({"user": "x".repeat(70_000)}), 413, "payload_too_large"),
    ] {
        check(code, &client.post(CHAT, &with(right.clone(), &change)), status, code);
    }
    check("half", &post(&client, CHAT, "application/json", "{"), 400, "invalid_json");
    let plain = post(&client, CHAT, "text/plain", right.to_string());
    check("plain text", &plain, 415, "unsupported_media_type");
    check("no model", &client.get("/v1/models/nobody"), 404, "model_not_found");
}

/// That clients wait and ask again, and do not where they are told not to, their own tests show:
/// `test_case_07_…` in tests/clients/python/test_calls.py.
#[test]
fn case_07_refusals_say_when_to_come_back_and_whether_at_all() {
    let place = Place::with(&["limits.key.requests_per_minute=1"]);
    let client = place.client();
    client.post(CHAT, &chat(&json!({"max_tokens": 1}))).expect(200);
    let refused = client.post(CHAT, &chat(&json!({"max_tokens": 1})));
    check("a minute", &refused, 429, "rate_limit_exceeded");
    let number = |name: &str| header(&refused, name).and_then(|text| text.parse::<u64>().ok());
    let (seconds, ms) = (number("retry-after").expect("s"), number("retry-after-ms").expect("ms"));
    assert!((1..=60_000).contains(&ms) && seconds == ms.div_ceil(1_000), "{seconds} s, {ms} ms");
    assert_eq!(header(&refused, "x-should-retry"), None, "asking again is worth it");
    drop(place);

    let place = Place::with(&["limits.key.tokens_per_day=120"]);
    let client = place.client();
    let mut answers = (0..200).map(|_| client.post(CHAT, &chat(&json!({"max_tokens": 8}))));
    let refused = answers.find(|answer| answer.status != 200).expect("a budget has an end");
    check("a day", &refused, 429, "insufficient_quota");
    assert_eq!(header(&refused, "x-should-retry"), Some("false"));
    // What is wrong stays wrong, and clients do not ask again after 400.
    let wrong = client.post(CHAT, &chat(&json!({"temperature": 9})));
    assert_eq!((wrong.status, header(&wrong, "retry-after")), (400, None));
}

#[test]
fn case_08_the_id_of_a_request_is_on_every_answer() {
    let place = Place::with(&[]);
    let client = place.client();
    let streamed = chat(&json!({"stream": true}));
    let answers = [
        client.post(CHAT, &chat(&json!({}))),
        client.post(CHAT, &streamed),
        client.get("/v1/models"),
        client.post("/v1/moderations", &json!({"input": "Hello"})),
        client.post(CHAT, &chat(&json!({"temperature": 9}))),
        client.get("/v1/models/nobody"),
        client.get("/v1/nothing"),
        super::python(place.server.client()).get("/v1/models"),
    ];
    let mut ids: Vec<&str> = answers
        .iter()
        .map(|answer| header(answer, "x-request-id").expect("an id"))
        .inspect(|id| assert!(id.starts_with("req_") && id.len() > 20, "{id}"))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), answers.len(), "each has its own");
}

#[test]
fn case_16_a_prompt_that_is_too_long_is_refused_and_never_cut() {
    let place = Place::with(&[]);
    let client = place.client();
    let model = client.get(&format!("/v1/models/{GUIDE}")).expect(200);
    let context = model["context_length"].as_u64().expect("a number");
    let asked = |words: usize| json!([{"role": "user", "content": "many words ".repeat(words)}]);
    let count = |words: usize| {
        let body = json!({"model": GUIDE, "messages": asked(words)});
        client.post("/v1/tokenize", &body).expect(200)["count"].as_u64().expect("a number")
    };
    // The longest that leaves room for a word, and the first that does not.
    let fits = (1..2_000).take_while(|words| count(*words) < context).last().expect("one fits");
    let body = |words: usize| json!({"model": GUIDE, "messages": asked(words), "max_tokens": 1});
    let usage = client.post(CHAT, &body(fits)).expect(200)["usage"].clone();
    assert_eq!(usage["prompt_tokens"].as_u64(), Some(count(fits)), "all of it was read");
    for words in [fits + 1, fits + 10, 20_000] {
        let refused = client.post(CHAT, &body(words));
        check("too long", &refused, 400, "context_length_exceeded");
        assert_eq!(param(&refused), "messages");
        let error = refused.expect(400)["error"].clone();
        assert_eq!(error["type"], "invalid_request_error");
        // LangChain and LiteLLM look for the word.
        assert!(error["message"].as_str().is_some_and(|text| text.contains("context")), "{error}");
    }
    let prompt = json!({"model": GUIDE, "prompt": "many words ".repeat(2_000), "max_tokens": 1});
    let refused = client.post(COMPLETIONS, &prompt);
    check("too long", &refused, 400, "context_length_exceeded");
    assert_eq!(param(&refused), "prompt");
    // A prompt that fits, and more asked for than is left: the answer is shorter, the prompt whole.
    let change = json!({"max_tokens": 100_000, "logit_bias": no_end()});
    let answer = client.post(CHAT, &with(body(fits), &change)).expect(200);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["prompt_tokens"], usage["prompt_tokens"]);
}

#[test]
fn case_18_harmless_fields_pass_and_what_is_not_supported_is_refused_by_name() {
    let place = Place::with(&[]);
    let client = place.client();
    // What clients and frameworks write by themselves.
    for change in [
        json!({"store": false, "service_tier": "auto", "user": "u", "metadata": {"trace": "1"}}),
        json!({"n": 1, "stop": null, "tools": null, "tool_choice": null, "logit_bias": null}),
        json!({"functions": [], "function_call": "none", "modalities": ["text"]}),
        json!({"prompt_cache_key": "k", "safety_identifier": "s", "verbosity": "medium"}),
        json!({"parallel_tool_calls": true, "reasoning_effort": null, "seed": null}),
        json!({"stream": false, "stream_options": null, "logprobs": false, "top_logprobs": null}),
    ] {
        let answer = client.post(CHAT, &chat(&change));
        assert_eq!(answer.status, 200, "{change}: {}", answer.text());
    }
    for (name, value) in [
        ("audio", json!({"voice": "alloy", "format": "mp3"})),
        ("modalities", json!(["text", "audio"])),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("web_search_options", json!({})),
        ("functions", json!([{"name": "f"}])),
        ("store", json!(true)),
        ("service_tier", json!("flex")),
    ] {
        let refused = client.post(CHAT, &chat(&json!({ name: value })));
        check(name, &refused, 400, "unsupported_parameter");
        assert_eq!(param(&refused), name);
    }
}

#[test]
fn case_22_models_have_their_context_and_ids_may_contain_slashes_and_only_ones_own_are_listed() {
    const ALIAS: &str = "org/team/guide";
    let place = Place::with(&[]);
    let (client, owner) = (place.client(), place.server.sign_in());
    let add = json!({"alias": ALIAS, "model": GUIDE});
    owner.client.post("/api/admin/model-aliases", &add).expect(201);
    let listed = client.get("/v1/models").expect(200);
    assert_eq!(listed["object"], "list");
    let [one] = listed["data"].as_array().expect("a list").as_slice() else { panic!("{listed}") };
    assert_eq!((&one["id"], &one["object"]), (&json!(GUIDE), &json!("model")));
    assert!(one["created"].is_u64() && one["owned_by"].is_string(), "{one}");
    // As openai-python and openai-node write them, and as they stand.
    for id in [ALIAS.to_owned(), ALIAS.replace('/', "%2F"), GUIDE.to_owned()] {
        let found = client.get(&format!("/v1/models/{id}")).expect(200);
        assert_eq!(&found, one, "{id}");
    }
    let body = chat(&json!({"model": ALIAS, "max_tokens": 1}));
    assert_eq!(client.post(CHAT, &body).expect(200)["model"], GUIDE);
    let guest = place.server.invite(&owner, "member");
    let (_, key) = guest.make_key(&json!({"name": "script"}));
    let theirs = super::python(place.server.with_key(&key));
    assert_eq!(theirs.get("/v1/models").expect(200)["data"], listed["data"]);
    let only = json!({"roles": ["auditor"]});
    let path = format!("/api/admin/models/{GUIDE}");
    owner.client.send("PATCH", &path, Some(&only)).expect(200);
    for client in [&client, &theirs] {
        check_closed(client, &[GUIDE, ALIAS]);
    }
}

#[test]
fn case_22_what_is_told_of_a_model_is_what_its_file_says() {
    let home = Home::prepared();
    let long = long_guide(&home, "guide-long");
    let place = Place::serving(home, std::slice::from_ref(&long), &[]);
    let (client, mut contexts) = (place.client(), Vec::new());
    for (name, file) in [(GUIDE, guide_file()), ("guide-long", long)] {
        // Once it has answered, it is there.
        client.post(CHAT, &chat(&json!({"model": name, "max_tokens": 1}))).expect(200);
        let told = client.get(&format!("/v1/models/{name}")).expect(200);
        let context = number(&file, "llama.context_length");
        assert_eq!(told["context_length"], context, "{told}");
        // By the name that clients of vLLM look for.
        assert_eq!(told["max_model_len"], context, "{told}");
        assert_eq!(number(&file, "general.file_type"), OF_Q8_0);
        assert_eq!(told["strongroom"]["quantization"], "Q8_0", "{told}");
        assert_eq!(told["strongroom"]["architecture"], "llama", "{told}");
        contexts.push(context);
    }
    assert_ne!(contexts[0], contexts[1], "it is not the same number for all");
}

fn check_closed(client: &Client, names: &[&str]) {
    assert_eq!(client.get("/v1/models").expect(200)["data"], json!([]));
    for name in names {
        check(name, &client.get(&format!("/v1/models/{name}")), 404, "model_not_found");
        let body = chat(&json!({"model": name, "max_tokens": 1}));
        let refused = client.post(CHAT, &body);
        check(name, &refused, 404, "model_not_found");
        assert_eq!(param(&refused), "model");
    }
}

#[test]
fn case_27_the_address_of_an_image_is_refused_by_name_and_nothing_is_fetched() {
    let place = Place::with(&[]);
    let client = place.client();
    let bait = TcpListener::bind("127.0.0.1:0").expect("a port");
    bait.set_nonblocking(true).expect("it can");
    let at = bait.local_addr().expect("an address");
    for url in [
        format!("http://{at}/a.png"),
        format!("https://{at}/a.png"),
        format!("http://[::ffff:127.0.0.1]:{}/a.png", at.port()),
        "data:image/png;base64,iVBORw0KGgo=".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let image = json!({"type": "image_url", "image_url": {"url": url, "detail": "auto"}});
        let content = json!([{"type": "text", "text": "What is this?"}, image]);
        let said = json!([{"role": "user", "content": content}]);
        let refused = client.post(CHAT, &chat(&json!({"messages": said})));
        check(&url, &refused, 400, "unsupported_parameter");
        assert_eq!(param(&refused), "messages[0].content[1].image_url");
        let judged = client.post("/v1/moderations", &json!({"input": [image]}));
        check(&url, &judged, 400, "unsupported_parameter");
        let asked = json!({"model": GUIDE, "store": false, "input": [{"role": "user", "content": [
            {"type": "input_image", "image_url": url}]}]});
        check(&url, &client.post("/v1/responses", &asked), 400, "unsupported_parameter");
    }
    let nobody = bait.accept().expect_err("nobody came");
    assert_eq!(nobody.kind(), ErrorKind::WouldBlock, "{nobody}");
}
