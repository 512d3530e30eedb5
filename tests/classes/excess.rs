//! Parameters that would take the server's time or memory: each is refused before it costs anything, the
//! server answers others afterwards, and its memory is what it was.

use serde_json::{Value, json};

use super::{CHAT, start};
use crate::common::refusal::post;
use crate::common::{Client, GUIDE, Home};

const COMPLETIONS: &str = "/v1/completions";
const MESSAGES: &str = "/v1/messages";
const MANY: usize = 100_000;
const MIB: usize = 1 << 20;
/// Bodies may be larger than they are as a rule, so that what is behind their bound is reached.
const BODY_BYTES_MAX: usize = 16 * MIB;
/// What the memory of the server may grow by: a few bodies, and what is read of them.
const PEAK_MIB: u64 = 1_024;
const GROWTH_MIB: u64 = 256;

/// What is sent where, and whether an answer may come of it too, so long as it ends.
struct Excess {
    what: String,
    path: &'static str,
    /// The parameter.
    name: String,
    body: Vec<u8>,
    may_pass: bool,
}

/// JSON with this in the place of the value, whatever it is.
fn raw(path: &'static str, rest: &str, name: &str, value: &str) -> Excess {
    let body = format!("{{{rest}, \"{name}\": {value}}}");
    let shown: String = value.chars().take(40).collect();
    let what = format!("{path}: {name}: {shown}");
    Excess { what, path, name: name.to_owned(), body: body.into(), may_pass: false }
}

fn rest_of(path: &str) -> String {
    let said = r#""messages": [{"role": "user", "content": "Hello"}]"#;
    match path {
        CHAT | MESSAGES => format!(r#""model": "{GUIDE}", {said}, "max_tokens": 2"#),
        COMPLETIONS => format!(r#""model": "{GUIDE}", "prompt": "Hello", "max_tokens": 2"#),
        "/v1/responses" => {
            format!(
                r#""model": "{GUIDE}", "input": "Hello", "max_output_tokens": 2, "store": false"#
            )
        }
        "/v1/embeddings" => r#""input": "Hello""#.to_owned(),
        "/v1/rerank" => r#""query": "Hello", "documents": ["there"]"#.to_owned(),
        _ => format!(r#""model": "{GUIDE}""#),
    }
}

/// On top of a request that is right; a field that stands in it is taken out.
fn one(path: &'static str, name: &str, value: &str) -> Excess {
    let rest = rest_of(path);
    let fields: serde_json::Map<String, Value> =
        serde_json::from_str(&format!("{{{rest}}}")).expect("a request");
    let kept = fields.into_iter().filter(|(other, _)| other != name);
    let kept: Vec<String> = kept.map(|(name, value)| format!("\"{name}\": {value}")).collect();
    let rest = if kept.is_empty() { "\"user\": \"u\"".to_owned() } else { kept.join(", ") };
    raw(path, &rest, name, value)
}

/// The same, where an answer is right too.
fn either(path: &'static str, name: &str, value: &Value) -> Excess {
    Excess { may_pass: true, ..one(path, name, &value.to_string()) }
}

fn deep(depth: usize, open: &str, inside: &str, close: &str) -> String {
    format!("{}{inside}{}", open.repeat(depth), close.repeat(depth))
}

fn list(count: usize, item: &str) -> String {
    format!("[{}]", vec![item; count].join(","))
}

/// Numbers that are none, or that nothing has so many of.
fn numbers() -> Vec<Excess> {
    let mut all = Vec::new();
    let whole: &[(&'static str, &[&str])] = &[
        (
            CHAT,
            &[
                "n",
                "max_tokens",
                "max_completion_tokens",
                "top_k",
                "top_logprobs",
                "repeat_last_n",
                "dry_allowed_length",
                "dry_penalty_last_n",
            ],
        ),
        (COMPLETIONS, &["n", "max_tokens", "logprobs", "best_of", "top_k"]),
        ("/v1/responses", &["max_output_tokens", "top_logprobs", "top_k"]),
        (MESSAGES, &["max_tokens", "top_k"]),
    ];
    for &(path, names) in whole {
        for name in names {
            for value in [
                "1e9",
                "-2",
                "1e400",
                "-1e400",
                "NaN",
                "Infinity",
                "-Infinity",
                "0x10",
                "01",
                "18446744073709551616",
                "9223372036854775808",
                "1.5",
                "\"1\"",
                "[1]",
                "{}",
            ] {
                all.push(one(path, name, value));
            }
        }
    }
    for name in [
        "temperature",
        "top_p",
        "min_p",
        "typical_p",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "dry_multiplier",
        "dry_base",
    ] {
        for value in ["-1e308", "1e308", "1e400", "NaN", "Infinity", "\"nan\"", "[]"] {
            all.push(one(CHAT, name, value));
        }
    }
    for value in ["1e400", "NaN", "1e9", "18446744073709551616"] {
        all.push(one(CHAT, "seed", value));
    }
    all.push(one("/v1/embeddings", "dimensions", "1e9"));
    all.push(one("/v1/rerank", "top_n", "-1"));
    all
}

/// Lists and texts beyond every bound.
fn lists() -> Vec<Excess> {
    let function =
        |number: usize| format!(r#"{{"type":"function","function":{{"name":"f{number}"}}}}"#);
    let functions: Vec<String> = (0..1_000).map(function).collect();
    let bias: Vec<String> = (0..MANY).map(|token| format!("\"{token}\":1")).collect();
    let pairs: Vec<String> = (0..MANY).map(|number| format!("\"k{number}\":\"v\"")).collect();
    let call = r#"{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}"#;
    let calls = format!(r#"[{{"role":"assistant","tool_calls":{}}}]"#, list(1_000, call));
    let named = format!(r#"[{{"role":"user","content":"x","name":"{}"}}]"#, "n".repeat(MIB));
    let turn = r#"{"role":"user","content":"x"}"#;
    let part = r#"{"type":"text","text":"x"}"#;
    let parts = format!(r#"[{{"role":"user","content":{}}}]"#, list(MANY, part));
    let long = format!("\"{}\"", "a ".repeat(2 * MIB));
    let object = |pairs: &[String]| format!("{{{}}}", pairs.join(","));
    vec![
        one(CHAT, "stop", &list(MANY, "\"a\"")),
        one(CHAT, "stop", &long),
        one(CHAT, "logit_bias", &object(&bias)),
        one(CHAT, "logit_bias", r#"{"4294967296": 1}"#),
        one(CHAT, "logit_bias", r#"{"300": 1e308}"#),
        one(CHAT, "tools", &format!("[{}]", functions.join(","))),
        one(CHAT, "messages", &list(MANY, turn)),
        one(CHAT, "messages", "[]"),
        one(CHAT, "messages", &parts),
        one(CHAT, "messages", &calls),
        one(CHAT, "messages", &named),
        one(CHAT, "messages", &format!(r#"[{{"role":"user","content":{long}}}]"#)),
        one(CHAT, "dry_sequence_breakers", &list(MANY, "\"a\"")),
        one(CHAT, "guided_choice", &list(MANY, "\"a\"")),
        one(CHAT, "guided_grammar", &format!("\"start: {}\"", "a | ".repeat(MIB / 4))),
        one(CHAT, "guided_regex", &format!("\"{}\"", "a".repeat(MIB))),
        one(CHAT, "chat_template_kwargs", &object(&pairs)),
        one(CHAT, "model", &long),
        one(COMPLETIONS, "prompt", "\"\""),
        one(COMPLETIONS, "prompt", "[]"),
        one(COMPLETIONS, "prompt", "[\"\"]"),
        one(COMPLETIONS, "prompt", &long),
        one(COMPLETIONS, "prompt", &list(MANY, "300")),
        one(COMPLETIONS, "prompt", &list(MANY, "\"a\"")),
        one(COMPLETIONS, "prompt", &format!("\"{}\"", "a".repeat(10 * MIB))),
        one("/v1/responses", "input", &list(MANY, turn)),
        one("/v1/responses", "metadata", &object(&pairs)),
        one("/v1/responses", "previous_response_id", &long),
        one("/v1/embeddings", "input", &list(MANY, "\"a\"")),
        one("/v1/embeddings", "input", &list(MANY, "[1]")),
        one("/v1/moderations", "input", &list(MANY, "\"a\"")),
        one("/v1/moderations", "input", &long),
        one("/v1/tokenize", "prompt", &long),
        one("/v1/detokenize", "tokens", &list(10 * MANY, "1")),
        one(MESSAGES, "messages", &list(MANY, turn)),
        one(MESSAGES, "messages", &parts),
        one(MESSAGES, "stop_sequences", &list(MANY, "\"a\"")),
        one(MESSAGES, "system", &format!("[{}]", vec![part; MANY].join(","))),
        one(MESSAGES, "thinking", r#"{"type":"enabled","budget_tokens":-1}"#),
    ]
}

/// JSON that is deep, doubled, or no text.
fn forms() -> Vec<Excess> {
    let schema = |depth: usize| {
        let schema = deep(depth, r#"{"type":"array","items":"#, "{}", "}");
        format!(r#"{{"type":"json_schema","json_schema":{{"name":"x","schema":{schema}}}}}"#)
    };
    let mut all = vec![
        one(CHAT, "response_format", &schema(200)),
        one(CHAT, "tools", &deep(200, "[", "", "]")),
        one(CHAT, "messages", &deep(100_000, "[", "", "]")),
        one(CHAT, "user", &deep(200, r#"{"a":"#, "1", "}")),
        one(CHAT, "metadata", &deep(100_000, r#"{"a":"#, "1", "}")),
        raw(CHAT, &rest_of(CHAT), "model", "\"other\""),
        one(CHAT, "metadata", r#"{"a":"1","a":"2"}"#),
        one(CHAT, "user", r#""\ud800""#),
        one(CHAT, "user", r#""\udc00\ud800""#),
        one(CHAT, "user", "\"\u{0}\""),
    ];
    for bytes in
        [&b"\"\xff\xfe\""[..], b"\"\xc3\x28\"", b"\"\xed\xa0\x80\"", b"\"\xf4\x90\x80\x80\""]
    {
        let mut excess = one(CHAT, "user", "\"\"");
        excess.body.truncate(excess.body.len() - "\"\"}".len());
        excess.body.extend([bytes, b"}"].concat());
        excess.what = format!("{CHAT}: bytes {bytes:?}");
        all.push(excess);
    }
    all
}

/// Patterns, schemas and grammars that a compiler could lose itself in. Some are sound and small, so an
/// answer is right too; what counts is that each comes to its end.
fn bombs() -> Vec<Excess> {
    let tool = |pattern: &str| {
        json!([{"type": "function", "function": {"name": "f", "strict": true,
        "parameters": {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}},
            "required": ["a"]}}}])
    };
    let mut all = Vec::new();
    for pattern in [
        "(a{1,1000}){1,1000}",
        "((a{1,100}){1,100}){1,100}",
        "(a*)*b",
        "(a|a)*b",
        "(a|aa)+$",
        "(.*a){30}",
        "(x+x+)+y",
        "[a-z]{0,100000}",
        "(((((((((((((((((((((a)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*",
        "\\p{L}{0,5000}\\p{N}{0,5000}",
        "(?=a)b",
        "(a)\\1",
        "a**",
    ] {
        all.push(either(CHAT, "guided_regex", &json!(pattern)));
        all.push(either(CHAT, "tools", &tool(pattern)));
    }
    let wide: serde_json::Map<String, Value> =
        (0..2_000).map(|number| (format!("p{number}"), json!({"type": "string"}))).collect();
    for schema in [
        json!({"$ref": "#"}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
        json!({"$ref": "https://evil.example/schema.json"}),
        json!({"$ref": "file:///etc/passwd"}),
        json!({"anyOf": vec![json!({"type": "object", "properties": wide}); 3]}),
        json!({"allOf": vec![json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}); 24]}),
        json!({"type": "array", "minItems": 1_000_000_000}),
        json!({"type": "string", "minLength": 1_000_000_000}),
        json!({"type": "integer", "minimum": -1e308, "maximum": 1e308, "multipleOf": 1e-300}),
        json!({"enum": (0..20_000).collect::<Vec<_>>()}),
        json!({"type": 7, "pattern": 7}),
    ] {
        all.push(either(CHAT, "guided_json", &schema));
    }
    for grammar in [
        "start: start start | \"a\"",
        "start: a\na: b\nb: a",
        "start: (\"a\"?)~1000000",
        "start: /(a{1,1000}){1,1000}/",
        "start: \"\"",
        "%import common.WORD\nstart: WORD",
    ] {
        all.push(either(CHAT, "guided_grammar", &json!(grammar)));
    }
    all
}

/// Sends each; everything is answered, and as it should be.
fn send_all(client: &Client, all: &[Excess]) -> Vec<String> {
    let mut faults = Vec::new();
    for excess in all {
        let answer = post(client, excess.path, "application/json", excess.body.clone());
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        let error = &body["error"];
        let named = error["param"].as_str().or(error["details"]["param"].as_str());
        let is_named = match answer.code().as_str() {
            "invalid_value" | "unsupported_parameter" => named.is_some(),
            code => !code.is_empty(),
        } && named.is_none_or(|named| named.starts_with(&excess.name));
        let is_refused = (400..500).contains(&answer.status) && answer.status != 429 && is_named;
        let is_fine = is_refused || excess.may_pass && answer.status == 200;
        if !is_fine {
            let told: String = answer.text().chars().take(200).collect();
            faults.push(format!("{}: {} {told}", excess.what, answer.status));
        }
    }
    faults
}

#[test]
fn class_11_parameters_beyond_all_bounds_are_refused_and_leave_no_trace() {
    let home = Home::prepared();
    let body_bytes_max = format!("server.body_bytes_max={BODY_BYTES_MAX}");
    let mut server = start(&home, &[&body_bytes_max, "limits.key.tokens_per_day=0"]);
    let client = server.with_key(&home.key());
    let all: Vec<Excess> = [numbers(), lists(), forms(), bombs()].into_iter().flatten().collect();
    assert!(all.len() > 300, "{}", all.len());
    let before = server.resident_mib();
    let faults = send_all(&client, &all);
    assert!(
        faults.is_empty(),
        "{} of {} were not refused:\n{}",
        faults.len(),
        all.len(),
        faults.join("\n")
    );
    let (once, peak) = (server.resident_mib(), server.peak_mib());
    assert!(peak < before + PEAK_MIB, "{before} MiB before, {peak} at most");
    // What was kept of the first time does for the second.
    send_all(&client, &all);
    let twice = server.resident_mib();
    assert!(twice < once + GROWTH_MIB, "{before} MiB before, {once} once, {twice} twice");
    let said = json!({"model": GUIDE, "max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]});
    client.post(CHAT, &said).expect(200);
    server.assert_alive();
}
