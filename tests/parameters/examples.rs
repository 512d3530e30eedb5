//! Values of every parameter: some that are taken, some that are refused. What a table says by itself (that
//! anything is taken, or nothing) needs none here.

use serde_json::{Value, json};

use crate::common::GUIDE;

const INVALID: &str = "invalid_value";
pub const UNSUPPORTED: &str = "unsupported_parameter";
pub const UNKNOWN: &str = "unknown_parameter";

/// Values of one parameter.
#[derive(Clone, Debug)]
pub struct Example {
    pub name: &'static str,
    pub takes: Vec<Value>,
    /// Each with the code of the refusal.
    pub refuses: Vec<(Value, &'static str)>,
    /// What the parameter needs beside it.
    pub beside: Value,
    pub is_required: bool,
}

pub fn of<const T: usize>(name: &'static str, takes: [Value; T]) -> Example {
    let (takes, refuses) = (Vec::from(takes), Vec::new());
    Example { name, takes, refuses, beside: Value::Null, is_required: false }
}

impl Example {
    pub fn not<const R: usize>(self, values: [Value; R]) -> Self {
        self.not_by(INVALID, values)
    }

    pub fn not_by<const R: usize>(mut self, code: &'static str, values: [Value; R]) -> Self {
        self.refuses.extend(values.map(|value| (value, code)));
        self
    }

    pub fn beside(mut self, beside: Value) -> Self {
        self.beside = beside;
        self
    }

    pub fn required(mut self) -> Self {
        self.is_required = true;
        self
    }
}

pub fn said(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

pub fn schema() -> Value {
    json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
        "additionalProperties": false})
}

pub fn function(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": schema()}})
}

pub fn truth(name: &'static str) -> Example {
    of(name, [json!(true), json!(false)]).not([json!(1), json!("true"), json!([true])])
}

pub fn one_model(name: &'static str) -> Example {
    of("model", [json!(name)]).not([json!(7), json!(""), json!([name]), json!("x".repeat(257))])
}

/// How tokens are chosen, at every endpoint that answers.
pub fn sampling() -> Vec<Example> {
    let many = |count: usize| json!(vec!["a"; count]);
    vec![
        of("temperature", [json!(0), json!(2)]).not([json!(-0.1), json!(2.1), json!("1")]),
        of("top_p", [json!(0), json!(1)]).not([json!(-0.1), json!(1.1), json!("1")]),
        of("top_k", [json!(0), json!(1_000_000)]).not([json!(-1), json!(1_000_001), json!(1.5)]),
        of("min_p", [json!(0), json!(1)]).not([json!(-0.1), json!(1.1), json!("0")]),
        of("typical_p", [json!(0.5), json!(1)]).not([json!(0), json!(1.1), json!("1")]),
        of("repetition_penalty", [json!(0.1), json!(10)]).not([json!(0), json!(10.1), json!("1")]),
        of("repeat_last_n", [json!(-1), json!(64)]).not([json!(-2), json!(1.5), json!("64")]),
        of("dry_multiplier", [json!(0), json!(100)]).not([json!(-1), json!(100.1), json!("1")]),
        of("dry_base", [json!(1), json!(100)]).not([json!(0.9), json!(100.1), json!("2")]),
        of("dry_allowed_length", [json!(1), json!(9)]).not([json!(0), json!(1.5), json!("2")]),
        of("dry_penalty_last_n", [json!(-1), json!(64)]).not([json!(-2), json!(1.5), json!("64")]),
        of("dry_sequence_breakers", [json!(["\n", ":"]), json!([])]).not([
            json!("x"),
            json!([""]),
            json!([7]),
            json!(["x".repeat(65)]),
            many(65),
        ]),
        of("presence_penalty", [json!(-2), json!(2)]).not([json!(-2.1), json!(2.1), json!("1")]),
        of("frequency_penalty", [json!(-2), json!(2)]).not([json!(-2.1), json!(2.1), json!("1")]),
        of("logit_bias", [json!({"300": -100, "301": 100}), json!({})]).not([
            json!([300]),
            json!({"300": 100.1}),
            json!({"a": 1}),
            json!({"-1": 1}),
            json!({"300": "1"}),
            Value::Object((0..1_025).map(|token| (token.to_string(), json!(1))).collect()),
        ]),
        of("seed", [json!(0), json!(-7), json!(i64::MAX)]).not([
            json!(1.5),
            json!("7"),
            json!(u64::MAX),
        ]),
        of("stop", [json!("a"), json!(["a", "b"]), json!([])]).not([
            json!(7),
            json!(""),
            json!([""]),
            json!([7]),
            json!("x".repeat(257)),
            many(17),
        ]),
        of("chat_template_kwargs", [json!({"language": "en"}), json!({})]).not([
            json!("x"),
            json!([]),
            json!({"messages": []}),
            json!({"a b": 1}),
        ]),
        truth("enable_thinking"),
    ]
}

pub fn only(names: &[&str]) -> Vec<Example> {
    sampling().into_iter().filter(|example| names.contains(&example.name)).collect()
}

/// What chats and completions have both.
fn answers() -> Vec<Example> {
    let streamed = json!({"stream": true});
    let mut all = vec![
        one_model(GUIDE),
        truth("stream"),
        of(
            "stream_options",
            [json!({"include_usage": true}), json!({"include_obfuscation": false}), json!({})],
        )
        .not([json!(7), json!({"include_usage": 1})])
        .not_by(UNKNOWN, [json!({"colour": 1})])
        .beside(streamed),
        of("max_tokens", [json!(1), json!(3)]).not([json!(0), json!(-1), json!(1.5), json!("2")]),
        of("n", [json!(1), json!(2)]).not([
            json!(0),
            json!(17),
            json!(129),
            json!(1.5),
            json!("2"),
        ]),
        of(
            "structured_outputs",
            [
                json!({"json": schema()}),
                json!({"regex": "a+"}),
                json!({"choice": ["a", "b"]}),
                json!({"grammar": "start: \"a\""}),
                json!({"json_object": true}),
            ],
        )
        .not([json!(7), json!({}), json!({"regex": "("}), json!({"regex": "a", "choice": ["b"]})])
        .not_by(UNKNOWN, [json!({"colour": 1})]),
        of("guided_json", [schema(), json!(schema().to_string())]).not([
            json!(7),
            json!("{"),
            json!({"type": "colour"}),
        ]),
        of("guided_regex", [json!("[ab]{1,3}")]).not([json!(7), json!(""), json!("(")]),
        of("guided_choice", [json!(["a", "b"])]).not([json!("a"), json!([]), json!([""])]),
        of("guided_grammar", [json!("start: \"a\"")]).not([json!(7), json!(""), json!("start: b")]),
        of("service_tier", [json!("auto"), json!("default")]),
    ];
    all.extend(sampling());
    all
}

pub fn chat() -> Vec<Example> {
    let tools = json!({"tools": [function("f")]});
    let named = |name: &str| json!({"type": "function", "function": {"name": name}});
    let format = |schema: Value| json!({"type": "json_schema", "json_schema": schema});
    let many: Vec<Value> = (0..129).map(|number| function(&format!("f{number}"))).collect();
    let mut all = answers();
    all.extend([
        of(
            "messages",
            [
                said("Hello"),
                json!([{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]),
            ],
        )
        .not([json!(7), json!([]), json!([7]), json!([{"role": "robot", "content": "x"}])])
        .not([json!([{"role": "user"}])])
        .not_by(UNKNOWN, [json!([{"role": "user", "content": "x", "colour": 1}])])
        .required(),
        of("max_completion_tokens", [json!(1), json!(3)]).not([json!(0), json!(1.5), json!("2")]),
        truth("logprobs"),
        of("top_logprobs", [json!(0), json!(20)])
            .not([json!(-1), json!(21), json!("2")])
            .beside(json!({"logprobs": true})),
        of(
            "response_format",
            [
                json!({"type": "text"}),
                json!({"type": "json_object"}),
                format(json!({"name": "x", "schema": schema(), "strict": true})),
            ],
        )
        .not([
            json!(7),
            json!({"type": "xml"}),
            format(json!({"schema": schema()})),
            format(json!({"name": "x", "schema": {"type": "colour"}})),
        ]),
        of("tools", [json!([function("f"), function("g")]), json!([])]).not([
            json!(7),
            json!([7]),
            json!([{"type": "custom"}]),
            json!([function("a b")]),
            json!([function("f"), function("f")]),
            json!(many),
        ]),
        of("tool_choice", [json!("none"), json!("auto"), json!("required"), named("f")])
            .not([json!(7), json!("any"), named("g")])
            .beside(tools.clone()),
        truth("parallel_tool_calls").beside(tools),
        of("functions", [json!([])]),
        of("function_call", [json!("none"), json!("auto")]),
        of("modalities", [json!(["text"])]),
        of("reasoning_effort", [json!("none"), json!("minimal"), json!("low"), json!("max")])
            .not([json!(7), json!("huge"), json!("")]),
        of("verbosity", [json!("medium")]),
        of("store", [json!(false)]),
    ]);
    all
}

pub fn completions() -> Vec<Example> {
    let mut all = answers();
    let of_chats = ["chat_template_kwargs", "enable_thinking"];
    all.retain(|example| !of_chats.contains(&example.name));
    all.extend([
        of(
            "prompt",
            [
                json!("Hello"),
                json!(["Hello"]),
                json!([300, 301]),
                json!([[300, 301]]),
                json!(["Hello", "there"]),
                json!([[300], "Hello", [301]]),
            ],
        )
        .not([json!(7), json!({}), json!([]), json!([null]), json!([1.5]), json!([300, "a"])])
        .not([json!([4_000_000]), json!(["a", 300]), json!([[300], []]), json!(vec!["a"; 33])])
        .required(),
        of("logprobs", [json!(0), json!(5)]).not([json!(-1), json!(6), json!(true), json!("2")]),
        of("best_of", [json!(1)]).not([json!("x")]),
        truth("echo"),
        of("suffix", [json!("")]).not([json!(7)]),
    ]);
    all
}

/// `kept` is the id of a response that is kept.
pub fn responses(kept: &str) -> Vec<Example> {
    let format = |format: Value| json!({"format": format});
    let mut all = sampling();
    all.extend(functions_of_responses());
    all.extend([
        one_model(GUIDE),
        of("input", [json!("Hello"), said("Hello")])
            .not([json!(7), json!([]), json!([7])])
            .not_by(UNSUPPORTED, [json!([{"type": "colour"}])])
            .required(),
        of("instructions", [json!("Be brief.")]).not([json!(7), json!(["x"])]),
        truth("stream"),
        of("stream_options", [json!({"include_obfuscation": false}), json!({})])
            .not([json!(7), json!({"include_obfuscation": 1})])
            .not_by(UNKNOWN, [json!({"include_usage": true})])
            .beside(json!({"stream": true})),
        of("max_output_tokens", [json!(1), json!(3)]).not([json!(0), json!(1.5), json!("2")]),
        of("top_logprobs", [json!(0), json!(20)]).not([json!(-1), json!(21), json!("2")]),
        of(
            "include",
            [
                json!(["message.output_text.logprobs"]),
                json!(["reasoning.encrypted_content"]),
                json!([]),
            ],
        )
        .not([json!("message.output_text.logprobs")])
        .not_by(UNSUPPORTED, [json!([7]), json!(["web_search_call.results"])]),
        of(
            "text",
            [
                format(json!({"type": "text"})),
                format(json!({"type": "json_object"})),
                format(json!({"type": "json_schema", "name": "x", "schema": schema()})),
                json!({"verbosity": "medium"}),
            ],
        )
        .not([json!(7), format(json!({"type": "xml"})), json!({"verbosity": "huge"})])
        .not([format(json!({"type": "json_schema", "name": "x", "schema": {"type": "colour"}}))])
        .not_by(UNKNOWN, [json!({"colour": 1})])
        .not_by(UNSUPPORTED, [json!({"verbosity": "low"})]),
        of("reasoning", [json!({"effort": "low", "summary": "auto"}), json!({"effort": "none"})])
            .not([json!(7), json!({"effort": "huge"}), json!({"summary": "long"})])
            .not_by(UNKNOWN, [json!({"colour": 1})])
            .not_by(UNSUPPORTED, [json!({"context": "all_turns"}), json!({"mode": "pro"})]),
        of("metadata", [json!({"a": "b"}), json!({})]).not([
            json!(7),
            json!({"a": 1}),
            json!({"a": "x".repeat(513)}),
            json!({"x".repeat(65): "a"}),
            Value::Object((0..17).map(|number| (number.to_string(), json!("a"))).collect()),
        ]),
        of("truncation", [json!("disabled"), json!("auto")]).not([json!(7), json!("most")]),
        truth("store"),
        of("previous_response_id", [json!(kept)]).not([
            json!(7),
            json!(""),
            json!("x".repeat(129)),
        ]),
        of("background", [json!(false)]),
        of("context_management", [json!([])]),
        of("service_tier", [json!("auto"), json!("default")]),
        of("prompt_cache_options", [json!({"mode": "implicit"}), json!({"prewarm": false})])
            .not_by(UNSUPPORTED, [json!({"prewarm": true})]),
    ]);
    all
}

fn functions_of_responses() -> Vec<Example> {
    let function = |name: &str| json!({"type": "function", "name": name, "parameters": schema()});
    let tools = json!({"tools": [function("f")]});
    let named = |name: &str| json!({"type": "function", "name": name});
    vec![
        of("tools", [json!([function("f"), function("g")]), json!([])])
            .not([json!(7), json!([7]), json!([function("f"), function("f")])])
            .not([json!([function("a b")])])
            .not_by(UNSUPPORTED, [json!([{"type": "web_search"}])]),
        of(
            "tool_choice",
            [
                json!("none"),
                json!("auto"),
                json!("required"),
                named("f"),
                json!({"type": "allowed_tools", "mode": "auto", "tools": [named("f")]}),
            ],
        )
        .not([json!(7), json!("any"), named("g")])
        .beside(tools.clone()),
        truth("parallel_tool_calls").beside(tools),
    ]
}
