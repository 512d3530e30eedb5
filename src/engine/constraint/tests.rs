//! Masks over the vocabulary of a real model, and what strangers send.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::*;
use crate::engine::gguf::File;
use crate::engine::output::{AnswerParser, Expected, FORMATS, Said, TOLD};
use crate::engine::tokenizer::Special;
use crate::testing::shared;

fn tokenizer() -> Option<Tokenizer> {
    let path = shared("weights/stories260K/stories260K.gguf")?;
    Some(Tokenizer::from_gguf(&File::open(&path).expect("opens")).expect("a tokenizer"))
}

/// Writes what a constraint allows, by a rule that has no model: a number from a counter chooses
/// among all that is allowed. `None` where the text did not end by itself.
fn written(tokenizer: &Tokenizer, constraint: &mut Constraint, seed: u64) -> Option<String> {
    let mut tokens = Vec::new();
    let mut state = seed;
    for _ in 0..400 {
        let mut logits = vec![0.0_f32; tokenizer.vocabulary()];
        constraint.mask(&mut logits).expect("a mask");
        let allowed: Vec<u32> =
            (0..logits.len() as u32).filter(|&token| logits[token as usize] == 0.0).collect();
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let token = match allowed.iter().find(|&&token| tokenizer.ends_answer(token)) {
            // An end where there may be one, every other time: texts stay short.
            Some(&end) if state >> 63 == 0 || allowed.len() == 1 => end,
            _ => allowed[(state >> 33) as usize % allowed.len()],
        };
        constraint.accept(token).expect("allowed");
        if tokenizer.ends_answer(token) {
            return Some(tokenizer.decode(&tokens).trim_start().to_owned());
        }
        tokens.push(token);
    }
    None
}

#[test]
fn what_is_written_is_what_was_asked_for() {
    let Some(tokenizer) = tokenizer() else { return };
    let constraints = Constraints::default();
    let number = regex::Regex::new("^[0-9]{3}-[a-f]+$").expect("a pattern");
    let is_json = |text: &str| serde_json::from_str::<Value>(text).ok();
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["a", "b"],
        "properties": {"a": {"enum": ["x", "y"]}, "b": {"type": "integer", "maximum": 99}}});
    let fits = move |text: &str| {
        let value = is_json(text);
        let value = value.as_ref().and_then(Value::as_object);
        value.is_some_and(|fields| {
            fields.len() == 2
                && ["x", "y"].contains(&fields["a"].as_str().unwrap_or_default())
                && fields["b"].as_f64().is_some_and(|number| number <= 99.0)
        })
    };
    type Fits = Box<dyn Fn(&str) -> bool>;
    let cases: Vec<(Grammar, Fits)> = vec![
        (
            Grammar::JsonObject,
            // A number of any size is JSON, and fits no type of ours.
            Box::new(|text| {
                text.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
            }),
        ),
        (Grammar::JsonSchema(schema), Box::new(fits)),
        (Grammar::Regex("[0-9]{3}-[a-f]+".into()), Box::new(move |text| number.is_match(text))),
        (
            Grammar::Choice(vec!["yes".into(), "\"no\"\n".into()]),
            Box::new(|text| ["yes", "\"no\"\n"].contains(&text)),
        ),
        (
            Grammar::Lark("start: item+\nitem: \"ab\" | \"c\"".into()),
            Box::new(|text| !text.is_empty() && text.replace("ab", "").replace('c', "").is_empty()),
        ),
    ];
    for (grammar, fits) in cases {
        let constraint = constraints.compile(&tokenizer, &grammar).expect("compiles");
        let mut ended = 0;
        for seed in 0..40 {
            let Some(text) = written(&tokenizer, &mut constraint.clone(), seed) else { continue };
            assert!(fits(&text), "{grammar:?} gave {text:?}");
            ended += 1;
        }
        assert!(ended >= 10, "{grammar:?} ended {ended} times");
    }
}

#[test]
fn a_clone_goes_its_own_way() {
    let Some(tokenizer) = tokenizer() else { return };
    let grammar = Grammar::Choice(vec!["aaaa".into(), "bbbb".into()]);
    let constraint = Constraints::default().compile(&tokenizer, &grammar).expect("compiles");
    let texts: HashSet<_> =
        (0..20).filter_map(|seed| written(&tokenizer, &mut constraint.clone(), seed)).collect();
    assert_eq!(texts, HashSet::from(["aaaa".to_owned(), "bbbb".to_owned()]));
}

#[test]
fn no_text_allows_a_control_token() {
    let Some(tokenizer) = tokenizer() else { return };
    let anything = Grammar::Regex("(?s:.)*".into());
    let mut constraint = Constraints::default().compile(&tokenizer, &anything).expect("compiles");
    let mut logits = vec![0.0; tokenizer.vocabulary() + 40];
    constraint.mask(&mut logits).expect("a mask");
    for (token, logit) in logits.iter().enumerate() {
        let token = token as u32;
        let is_unknown = token as usize >= tokenizer.vocabulary();
        if is_unknown || tokenizer.is_control(token) && !tokenizer.ends_answer(token) {
            assert_eq!(*logit, f32::NEG_INFINITY, "{token}");
        }
    }
    assert!(logits.contains(&0.0));
}

#[test]
fn grammars_that_are_wrong_or_too_large_are_refused() {
    let Some(tokenizer) = tokenizer() else { return };
    let constraints = Constraints::default();
    let deep = (0..120).fold(
        json!({"type": "string"}),
        |inner, _| json!({"type": "object", "properties": {"a": inner}}),
    );
    for (grammar, is_refused) in [
        (Grammar::JsonSchema(json!({"type": "colour"})), true),
        (Grammar::JsonSchema(json!([1])), true),
        (Grammar::JsonSchema(json!({"type": "string", "pattern": "("})), true),
        (Grammar::JsonSchema(json!({"$ref": "https://a.example/x.json"})), true),
        (Grammar::JsonSchema(json!({"type": "object", "not": {"type": "string"}})), true),
        (Grammar::JsonSchema(json!({"enum": ["x".repeat(70_000)]})), true),
        (Grammar::JsonSchema(deep), false),
        (Grammar::Regex("(".into()), true),
        (Grammar::Regex("(".repeat(5_000)), true),
        (Grammar::Regex("(a{1000}){1000}".into()), false),
        (Grammar::Lark("start: (".to_owned() + &"(".repeat(30_000)), true),
        (Grammar::Lark("start: x".into()), true),
        (Grammar::Choice(vec![]), true),
        (Grammar::Choice(vec![String::new()]), true),
    ] {
        let result = constraints.compile(&tokenizer, &grammar);
        let shown: String = format!("{grammar:?}").chars().take(80).collect();
        assert_eq!(result.is_err(), is_refused, "{shown}: {:?}", result.err());
    }
}

#[test]
fn every_text_of_a_grammar_is_seen_and_can_be_replaced() {
    let schema = Grammar::JsonSchema(json!({"enum": ["a", {"b": "c"}], "description": "d"}));
    assert_eq!(schema.texts(), ["enum", "enum: a", "b", "b: c", "description", "description: d"]);
    let louder = schema.with_texts(&mut |text| text.to_uppercase());
    assert_eq!(louder.texts(), ["ENUM", "ENUM: A", "B", "B: C", "DESCRIPTION", "DESCRIPTION: D"]);
    for grammar in [Grammar::Regex("x".into()), Grammar::Lark("x".into())] {
        assert_eq!(grammar.with_texts(&mut |_| "y".into()).texts(), ["y"]);
    }
}

/// Three functions, one of them with a schema that refers to a part of itself.
fn tools() -> Vec<Value> {
    let function = |value: Value| json!({"type": "function", "function": value});
    let point = json!({"type": "object", "properties": {"x": {"type": "integer", "maximum": 9}},
        "required": ["x"], "additionalProperties": false});
    vec![
        function(json!({"name": "now"})),
        function(json!({"name": "draw", "strict": true, "parameters": {
            "type": "object", "$defs": {"point": point}, "required": ["to"],
            "properties": {"to": {"$ref": "#/$defs/point"}}, "additionalProperties": false}})),
        function(json!({"name": "say", "parameters": {
            "type": "object", "properties": {"how": {"enum": ["loud", "low"]}},
            "required": ["how"], "additionalProperties": false}})),
    ]
}

/// Whether these are arguments that the schema of the function allows.
fn are_arguments(name: &str, arguments: &str) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_str(arguments) else { return false };
    match name {
        "now" => fields.is_empty(),
        "draw" => fields.len() == 1 && fields["to"]["x"].as_f64().is_some_and(|x| x <= 9.0),
        "say" => {
            fields.len() == 1 && ["loud", "low"].contains(&fields["how"].as_str().unwrap_or(""))
        }
        _ => false,
    }
}

/// The calls in an answer, each with its arguments, and what else was said.
fn calls_in(format: Format, text: &str) -> (Vec<(String, String)>, String) {
    taken_apart(parser(format), text)
}

/// The same of an answer that is one or the other.
fn calls_or_form_in(format: Format, text: &str) -> (Vec<(String, String)>, String) {
    taken_apart(parser(format).calling_first(), text)
}

fn parser(format: Format) -> AnswerParser {
    AnswerParser::new(Expected {
        format,
        functions: ["now", "draw", "say"].map(str::to_owned).to_vec(),
        thinks: false,
        starts_thinking: false,
        controls: Vec::new(),
    })
}

fn taken_apart(mut parser: AnswerParser, text: &str) -> (Vec<(String, String)>, String) {
    let (mut calls, mut content): (Vec<(String, String)>, String) = (Vec::new(), String::new());
    for part in parser.push(text).into_iter().chain(parser.finish()) {
        match part.said {
            Said::Call(name) => calls.push((name, String::new())),
            Said::Arguments(text) => calls.last_mut().expect("a call").1.push_str(&text),
            Said::Content(text) | Said::Reasoning(text) => content.push_str(&text),
        }
    }
    (calls, content)
}

#[test]
fn forced_calls_are_calls_in_the_form_of_every_family() {
    let Some(tokenizer) = tokenizer() else { return };
    let constraints = Constraints::default();
    for format in FORMATS.iter().chain([&TOLD]) {
        for (choice, is_parallel) in [
            (ToolChoice::Required, true),
            (ToolChoice::Required, false),
            (ToolChoice::Function("draw".into()), false),
        ] {
            let rules = ToolRules { choice: choice.clone(), is_parallel };
            let made =
                constraints.calls(&tokenizer, format, &tools(), &rules, None).expect("compiles");
            let constraint = made.expect("binds");
            let mut ended = 0;
            for seed in 0..8 {
                let mut constraint = constraint.clone();
                let Some(text) = written(&tokenizer, &mut constraint, seed) else { continue };
                let (calls, content) = calls_in(*format, &text);
                assert!(!calls.is_empty() && content.is_empty(), "{}: {text}", format.name);
                assert!(is_parallel || calls.len() == 1, "{}: {text}", format.name);
                for (name, arguments) in calls {
                    assert!(are_arguments(&name, &arguments), "{}: {text}", format.name);
                    assert!(choice == ToolChoice::Required || name == "draw", "{text}");
                }
                ended += 1;
            }
            assert!(ended > 0, "{}", format.name);
        }
    }
}

#[test]
fn a_model_that_may_choose_is_bound_from_the_beginning_of_a_call_to_its_end() {
    let Some(tokenizer) = tokenizer() else { return };
    for is_parallel in [true, false] {
        let rules = ToolRules { choice: ToolChoice::Auto, is_parallel };
        let constraint = Constraints::default().calls(&tokenizer, &TOLD, &tools(), &rules, None);
        let mut constraint = constraint.expect("compiles").expect("binds");
        let open = |constraint: &mut Constraint| {
            let mut logits = vec![0.0_f32; tokenizer.vocabulary()];
            constraint.mask(&mut logits).expect("a mask");
            logits.iter().filter(|logit| **logit == 0.0).count()
        };
        let mut said = String::new();
        for token in tokenizer.encode("Well <tool", Special::Plain) {
            assert_eq!(open(&mut constraint), tokenizer.vocabulary());
            constraint.accept(token).expect("free");
        }
        for token in tokenizer.encode("_call>", Special::Plain) {
            // The tokenizer puts a space before a text.
            if tokenizer.token_bytes(token) != b" " {
                constraint.accept(token).expect("free");
            }
        }
        assert!(open(&mut constraint) < tokenizer.vocabulary() / 2, "a call is bound");
        for _ in 0..400 {
            let mut logits = vec![0.0_f32; tokenizer.vocabulary()];
            constraint.mask(&mut logits).expect("a mask");
            let allowed: Vec<u32> =
                (0..logits.len() as u32).filter(|&at| logits[at as usize] == 0.0).collect();
            if said.ends_with("</tool_call>") {
                let is_free = allowed.len() == tokenizer.vocabulary();
                let is_over = allowed.iter().all(|&token| tokenizer.ends_answer(token));
                assert!(if is_parallel { is_free } else { is_over });
                break;
            }
            let token = allowed[said.len() * 7 % allowed.len()];
            said.push_str(std::str::from_utf8(tokenizer.token_bytes(token)).expect("text"));
            constraint.accept(token).expect("allowed");
        }
        let (calls, _) = calls_in(TOLD, &format!("<tool_call>{said}"));
        assert_eq!(calls.len(), 1, "{said}");
        assert!(are_arguments(&calls[0].0, &calls[0].1), "{said}");
    }
}

#[test]
fn an_answer_beside_tools_is_calls_or_has_its_form_in_every_family_that_tells_them_apart() {
    let Some(tokenizer) = tokenizer() else { return };
    let constraints = Constraints::default();
    let rules = |is_parallel| ToolRules { choice: ToolChoice::Auto, is_parallel };
    let schema = json!({"type": "object", "required": ["x"], "additionalProperties": false,
        "properties": {"x": {"enum": ["a", "<tool_call> b"]}}});
    let form = Grammar::JsonSchema(schema);
    let fits = |text: &str| {
        let value: Option<Value> = serde_json::from_str(text).ok();
        value.is_some_and(|value| value["x"] == "a" || value["x"] == "<tool_call> b")
    };
    for format in FORMATS.iter().chain([&TOLD]) {
        let made = constraints.calls(&tokenizer, format, &tools(), &rules(true), Some(&form));
        if format.shape == Shape::Bare {
            assert!(matches!(made, Err(GrammarError::Unusable(_))), "{}", format.name);
            continue;
        }
        let constraint = made.expect("compiles").expect("binds");
        let (mut called, mut answered) = (0, 0);
        for seed in 0..60 {
            let Some(text) = written(&tokenizer, &mut constraint.clone(), seed) else { continue };
            let (calls, content) = calls_or_form_in(*format, &text);
            if calls.is_empty() {
                assert!(fits(&content), "{}: {text}", format.name);
                answered += 1;
            } else {
                let is_right =
                    |(name, arguments): &(String, String)| are_arguments(name, arguments);
                assert!(calls.iter().all(is_right) && content.is_empty(), "{text}");
                called += 1;
            }
        }
        assert!(called + answered > 0, "{}", format.name);
    }
    // Where it must call there is no other form, and what cannot stand beside calls is refused.
    let must = ToolRules { choice: ToolChoice::Required, is_parallel: false };
    let made = constraints.calls(&tokenizer, &TOLD, &tools(), &must, Some(&form));
    let text = written(&tokenizer, &mut made.expect("compiles").expect("binds"), 3);
    assert!(text.is_none_or(|text| text.starts_with("<tool_call>")));
    for other in [Grammar::Regex("a".into()), Grammar::Lark("start: \"a\"".into())] {
        let made = constraints.calls(&tokenizer, &TOLD, &tools(), &rules(true), Some(&other));
        assert!(matches!(made, Err(GrammarError::Unusable(_))), "{other:?}");
    }
    let choice = Grammar::Choice(vec!["yes".into(), "no".into()]);
    assert!(constraints.calls(&tokenizer, &TOLD, &tools(), &rules(true), Some(&choice)).is_ok());
}

#[test]
fn a_schema_that_cannot_be_followed_is_refused_where_it_is_strict() {
    let Some(tokenizer) = tokenizer() else { return };
    let rules = ToolRules { choice: ToolChoice::Required, is_parallel: true };
    let mut odd = tools();
    odd[2]["function"]["parameters"] = json!({"type": "object", "not": {"type": "string"}});
    let constraints = Constraints::default();
    assert!(constraints.calls(&tokenizer, &TOLD, &odd, &rules, None).is_ok());
    odd[2]["function"]["strict"] = json!(true);
    assert!(constraints.calls(&tokenizer, &TOLD, &odd, &rules, None).is_err());
    assert!(constraints.calls(&tokenizer, &TOLD, &[], &rules, None).is_err());
}
