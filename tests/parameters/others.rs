//! Values of every parameter of the endpoints that make no answer, and of Anthropic's.

use serde_json::{Value, json};

use super::examples::{
    Example, UNKNOWN, UNSUPPORTED, function, of, one_model, only, said, sampling, schema, truth,
};
use crate::common::GUIDE;

/// A model that makes vectors, one whose vectors can be cut, and one that judges pairs.
pub const MAKING: &str = "bert-mean";
pub const NESTED: &str = "qwen3-embedding";
pub const JUDGING: &str = "bert-rank";

pub fn embeddings() -> Vec<Example> {
    vec![
        one_model(MAKING).not([json!(GUIDE), json!(JUDGING)]),
        of("input", [json!("t9"), json!(["t9", "t10"]), json!([9, 10]), json!([[9], [10]])])
            .not([json!(7), json!(""), json!([]), json!([""]), json!([[]]), json!([1.5])])
            .not([json!(["t9", 9]), json!([4_000_000]), json!(vec!["t9"; 2_049])])
            .required(),
        of("encoding_format", [json!("float"), json!("base64")]).not([json!(7), json!("hex")]),
        of("dimensions", [json!(32)])
            .not([json!(0), json!(65), json!(65_537), json!(1.5), json!("32")])
            .beside(json!({"model": NESTED})),
        truth("truncate"),
    ]
}

pub fn rerank() -> Vec<Example> {
    vec![
        one_model(JUDGING).not([json!(GUIDE), json!(MAKING)]),
        of("query", [json!("t9")]).not([json!(7), json!(""), json!(["t9"])]).required(),
        of("documents", [json!(["t9"]), json!([{"text": "t9"}])])
            .not([json!("t9"), json!([]), json!([7]), json!(vec!["t9"; 2_049])])
            .not_by(UNKNOWN, [json!([{"text": "t9", "title": "t10"}])])
            .required(),
        of("top_n", [json!(1), json!(9)]).not([json!(0), json!(1.5), json!("1")]),
        truth("return_documents"),
        truth("truncate"),
    ]
}

pub fn tokenize() -> Vec<Example> {
    let chat = json!({"prompt": null, "messages": said("Hello")});
    let text = json!({"prompt": null, "content": "Hello"});
    let nothing = json!({"prompt": null});
    let mut all = only(&["chat_template_kwargs", "enable_thinking"]);
    for example in &mut all {
        example.beside = chat.clone();
    }
    all.extend([
        of("model", [json!(GUIDE), json!(MAKING)]).not([json!(7), json!("")]),
        of("prompt", [json!("Hello"), json!("")]).not([json!(7), json!(["a"])]).required(),
        of("content", [json!("Hello")]).not([json!(7), json!(["a"])]).beside(nothing.clone()),
        of("messages", [said("Hello")])
            .not([json!(7), json!([]), json!([{"role": "robot", "content": "x"}])])
            .beside(nothing),
        truth("add_special_tokens"),
        truth("add_special").beside(text.clone()),
        truth("parse_special").beside(text),
        truth("return_token_strs"),
        truth("with_pieces"),
        truth("add_generation_prompt").beside(chat.clone()),
        of("tools", [json!([function("f")]), json!([])]).not([json!(7), json!([7])]).beside(chat),
        of("continue_final_message", [json!(false)]),
    ]);
    all
}

pub fn detokenize() -> Vec<Example> {
    vec![
        of("model", [json!(GUIDE)]).not([json!(7), json!("")]),
        of("tokens", [json!([300, 301]), json!([])])
            .not([json!(7), json!("300"), json!(["a"]), json!([-1]), json!([1.5])])
            .not([json!([4_000_000])])
            .required(),
    ]
}

pub fn moderations() -> Vec<Example> {
    let parts = json!([{"type": "text", "text": "Hello"}]);
    vec![
        of("input", [json!("Hello"), json!(["Hello", "there"]), parts])
            .not([json!(7), json!([]), json!([7]), json!([{"type": "colour"}])])
            .not([json!(vec!["a"; 2_049])])
            .not_by(UNSUPPORTED, [json!([{"type": "image_url", "image_url": {"url": "x"}}])])
            .required(),
    ]
}

/// What a count has too.
pub fn counts() -> Vec<Example> {
    let tool = |name: &str| json!({"name": name, "input_schema": schema()});
    let tools = json!({"tools": [tool("f")]});
    let format = |schema: Value| json!({"format": {"type": "json_schema", "schema": schema}});
    let blocks = json!([{"type": "text", "text": "Hello"}]);
    vec![
        one_model(GUIDE),
        of("messages", [said("Hello"), json!([{"role": "user", "content": blocks}])])
            .not([json!(7), json!([]), json!([7]), json!([{"role": "robot", "content": "x"}])])
            .not([json!([{"role": "user"}]), json!([{"role": "user", "content": 7}])])
            .not_by(UNSUPPORTED, [
                json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "I"}]),
                json!([{"role": "user", "content": [{"type": "image"}]}]),
            ])
            .required(),
        of("system", [json!("Be brief."), blocks]).not([json!(7), json!([7])]),
        of("tools", [json!([tool("f"), tool("g")]), json!([])])
            .not([json!(7), json!([7]), json!([{"name": "f"}]), json!([tool("f"), tool("f")])])
            .not_by(UNSUPPORTED, [json!([{"type": "bash_20250124", "name": "bash"}])]),
        of("tool_choice", [
            json!({"type": "auto", "disable_parallel_tool_use": true}),
            json!({"type": "any"}),
            json!({"type": "none"}),
            json!({"type": "tool", "name": "f"}),
        ])
        .not([json!(7), json!({"type": "all"}), json!({"type": "tool", "name": "g"})])
        .not_by(UNKNOWN, [json!({"type": "any", "colour": 1})])
        .beside(tools),
        of("thinking", [
            json!({"type": "disabled"}),
            json!({"type": "adaptive", "display": "omitted"}),
            json!({"type": "enabled", "budget_tokens": 1_024}),
        ])
        .not([json!(7), json!({"type": "on"}), json!({"type": "enabled"})])
        .not([json!({"type": "enabled", "budget_tokens": 1_023})])
        .not_by(UNKNOWN, [json!({"type": "adaptive", "colour": 1})]),
        of("output_config", [json!({"effort": "low"}), format(schema()), json!({})])
            .not([json!(7), json!({"effort": "huge"}), json!({"format": {"type": "xml"}})])
            .not_by(UNKNOWN, [json!({"colour": 1})]),
        of("speed", [json!("standard")]),
        of("mcp_servers", [json!([])]),
    ]
}

pub fn messages() -> Vec<Example> {
    let mut all = counts();
    all.extend(only(&["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed"]));
    let stops = sampling().into_iter().filter(|example| example.name == "stop");
    all.extend(stops.map(|example| Example { name: "stop_sequences", ..example }));
    all.extend([
        of("max_tokens", [json!(1), json!(3)])
            .not([json!(0), json!(-1), json!(1.5), json!("2")])
            .required(),
        truth("stream"),
        of("service_tier", [json!("auto"), json!("standard_only")]),
        of("fallbacks", [json!([])]),
    ]);
    all
}
