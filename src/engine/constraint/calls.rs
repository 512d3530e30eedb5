//! The grammar of calls: in the format of the model's family, of functions that there are, with
//! arguments by their schemas.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::grammar::{GrammarError, with_white_space};
use crate::engine::output::{Format, Shape};

/// Whether functions are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// Where the model wants to.
    Auto,
    /// One at least.
    Required,
    /// This one.
    Function(String),
}

/// How functions may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolRules {
    /// Whether they are.
    pub choice: ToolChoice,
    /// Whether one answer may call several.
    pub is_parallel: bool,
}

/// A function that may be called.
pub(super) struct Function<'a> {
    name: &'a str,
    parameters: Map<String, Value>,
    is_strict: bool,
}

/// The most calls of one answer.
const CALLS_MAX: usize = 16;

impl<'a> Function<'a> {
    /// Reads the functions that the rules let be called, from `{"type": "function", "function": …}`.
    pub(super) fn all(tools: &'a [Value], rules: &ToolRules) -> Result<Vec<Self>, GrammarError> {
        let mut functions = Vec::new();
        for tool in tools {
            let function = &tool["function"];
            let name = function["name"].as_str().unwrap_or_default();
            if matches!(&rules.choice, ToolChoice::Function(one) if one != name) {
                continue;
            }
            let parameters = match &function["parameters"] {
                Value::Object(fields) => fields.clone(),
                _ => Map::from_iter([
                    ("type".to_owned(), json!("object")),
                    ("additionalProperties".to_owned(), json!(false)),
                ]),
            };
            let is_strict = function["strict"] == Value::Bool(true);
            functions.push(Self { name, parameters, is_strict });
        }
        if functions.is_empty() {
            return Err(GrammarError::unusable("there is no such function"));
        }
        Ok(functions)
    }

    /// Leaves the arguments of functions that are not strict open; false where all are.
    pub(super) fn loosen(functions: &mut [Self]) -> bool {
        let mut is_changed = false;
        for function in functions.iter_mut().filter(|one| !one.is_strict) {
            function.parameters = Map::from_iter([("type".to_owned(), json!("object"))]);
            is_changed = true;
        }
        is_changed
    }
}

/// What an answer with calls looks like.
pub(super) struct Answer<'a> {
    /// It is calls from its beginning, and as many as the rules allow.
    pub(super) is_whole: bool,
    /// Whether there may be several.
    pub(super) is_parallel: bool,
    /// What it is where it calls nothing, in Lark; none: it calls.
    pub(super) form: Option<&'a str>,
}

/// The grammar of the calls in Lark. `spelled` gives a mark as text or as control token.
pub(super) fn lark(
    format: &Format,
    functions: &[Function<'_>],
    answer: &Answer<'_>,
    spelled: &dyn Fn(&str) -> String,
) -> String {
    let Answer { is_whole, is_parallel, form } = *answer;
    let open = spelled(format.open);
    let close = if format.close.is_empty() { String::new() } else { spelled(format.close) };
    let more = if is_parallel { CALLS_MAX - 1 } else { 0 };
    let again = if is_whole { more } else { 0 };
    let repeated = |what: &str, most: usize| match most {
        0 => String::new(),
        _ => format!("({what}){{0,{most}}}"),
    };
    let calls = match format.shape {
        Shape::Tagged => {
            format!("one {}\none: {open} WS? call WS? {close}", repeated("WS? one", again))
        }
        Shape::List => {
            format!("{open} WS? \"[\" call {} \"]\" {close}", repeated("\", \" call", more))
        }
        Shape::Bare => format!("call {}", repeated("\"; \" call", more)),
        Shape::Named => format!("one {}\none: {open} call", repeated("one", again)),
        Shape::Harmony => format!("{} call", spelled("<|channel|>")),
    };
    let start = match (form, format.shape) {
        (None, _) => "start: calls\n".to_owned(),
        (Some(form), Shape::Harmony) => format!(
            "start: calls | {} \"final\" {} form\nform: {form}\n",
            spelled("<|channel|>"),
            spelled("<|message|>"),
        ),
        (Some(form), _) => format!("start: calls | form\nform: {form}\n"),
    };
    let mut text = format!("{start}calls: {calls}\nWS: /[ \\n]/\n");
    let names: Vec<String> = (0..functions.len()).map(|at| format!("call_{at}")).collect();
    let _ = writeln!(text, "call: {}", names.join(" | "));
    for (at, function) in functions.iter().enumerate() {
        let name = function.name;
        let rule = match format.shape {
            Shape::Named => format!("{} {close} arguments_{at}", json!(name)),
            Shape::Harmony => format!(
                "{} {} \"json\" {} arguments_{at}",
                json!(format!("commentary to=functions.{name} ")),
                spelled("<|constrain|>"),
                spelled("<|message|>"),
            ),
            _ => {
                let head = format!("{{\"name\": {}, \"{}\": ", json!(name), format.arguments);
                format!("{} arguments_{at} \"}}\"", json!(head))
            }
        };
        let schema = with_white_space(function.parameters.clone());
        // Writing to a text does not fail.
        let _ = writeln!(text, "call_{at}: {rule}\narguments_{at}: %json {schema}");
    }
    text
}
