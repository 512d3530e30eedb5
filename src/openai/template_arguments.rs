//! Names that a caller gives to the model's chat template: data that it may look at, never a
//! template, and never in the place of what every template is given.

use serde_json::{Map, Value};

use super::fields::{Fields, wrong};
use crate::engine::template::is_reserved;
use crate::web::ApiError;

const NAMES_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 64;
/// Of the values together, written as JSON.
const BYTES_MAX: usize = 64 * 1024;
/// What templates call the switch.
const THINKING: [&str; 2] = ["enable_thinking", "thinking"];

/// Reads `chat_template_kwargs` and `enable_thinking`.
pub(super) fn read(fields: &mut Fields) -> Result<Map<String, Value>, ApiError> {
    let expected = "an object with up to 32 names, of up to 64 KiB";
    let mut arguments = match fields.take("chat_template_kwargs") {
        None => Map::new(),
        Some(Value::Object(arguments)) if arguments.len() <= NAMES_MAX => arguments,
        Some(_) => return Err(wrong("chat_template_kwargs", expected)),
    };
    for name in arguments.keys() {
        if !is_name(name) || is_reserved(name) {
            let shown: String = name.chars().filter(|c| is_part(*c)).take(NAME_BYTES_MAX).collect();
            let path = format!("chat_template_kwargs.{shown}");
            return Err(wrong(&path, "a name that is not taken: letters, digits and `_`"));
        }
    }
    if Value::Object(arguments.clone()).to_string().len() > BYTES_MAX {
        return Err(wrong("chat_template_kwargs", expected));
    }
    if let Some(thinks) = fields.truth("enable_thinking")? {
        switch_thinking(&mut arguments, thinks);
    }
    Ok(arguments)
}

/// How much a model may be asked to think.
pub(super) const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Tells how much the model is to think, where nothing else was said of it by name.
pub(super) fn add_effort(arguments: &mut Map<String, Value>, effort: &str) {
    for (name, value) in for_effort(effort) {
        arguments.entry(name).or_insert(value);
    }
}

/// What is told to templates of how much a model is to think: whether at all, and for those that
/// know degrees (gpt-oss), which.
fn for_effort(effort: &str) -> Map<String, Value> {
    let mut arguments = Map::new();
    switch_thinking(&mut arguments, effort != "none");
    let degree = match effort {
        "none" => None,
        "minimal" | "low" => Some("low"),
        "medium" => Some("medium"),
        _ => Some("high"),
    };
    arguments.extend(degree.map(|degree| ("reasoning_effort".to_owned(), degree.into())));
    arguments
}

/// Says whether the model is to think aloud, by every name that templates have for it.
pub(super) fn switch_thinking(arguments: &mut Map<String, Value>, thinks: bool) {
    for name in THINKING {
        arguments.entry(name).or_insert(Value::Bool(thinks));
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.chars().all(is_part)
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::web::body::parse;

    fn arguments(body: &Value) -> Result<Map<String, Value>, ApiError> {
        read(&mut parse(body.to_string().as_bytes()).expect("well-formed"))
    }

    #[test]
    fn data_passes_and_the_switch_goes_by_every_name() {
        let given = json!({"chat_template_kwargs": {"language": ["é", 1, null]}});
        assert_eq!(
            Value::Object(arguments(&given).expect("passes"))["language"],
            json!(["é", 1, null])
        );
        let switch = arguments(&json!({"enable_thinking": false})).expect("passes");
        assert_eq!(Value::Object(switch), json!({"enable_thinking": false, "thinking": false}));
        let both = json!({"enable_thinking": false, "chat_template_kwargs": {"thinking": true}});
        assert_eq!(arguments(&both).expect("passes")["thinking"], true);
        assert_eq!(arguments(&json!({})).expect("passes").len(), 0);
    }

    #[test]
    fn an_effort_is_told_by_every_name_and_in_the_degrees_that_templates_know() {
        for (effort, thinks, degree) in [
            ("none", false, None),
            ("minimal", true, Some("low")),
            ("low", true, Some("low")),
            ("medium", true, Some("medium")),
            ("high", true, Some("high")),
            ("xhigh", true, Some("high")),
            ("max", true, Some("high")),
        ] {
            assert!(EFFORTS.contains(&effort));
            let mut told = Map::new();
            add_effort(&mut told, effort);
            assert_eq!(
                (&told["thinking"], &told["enable_thinking"]),
                (&json!(thinks), &json!(thinks))
            );
            assert_eq!(told.get("reasoning_effort").and_then(Value::as_str), degree, "{effort}");
        }
        let mut told = arguments(&json!({"enable_thinking": false})).expect("passes");
        add_effort(&mut told, "high");
        assert_eq!((&told["thinking"], &told["reasoning_effort"]), (&json!(false), &json!("high")));
    }

    #[test]
    fn what_a_template_is_given_by_the_server_cannot_be_replaced() {
        for name in ["messages", "tools", "bos_token", "strftime_now", "chat_template", "range"] {
            let error = arguments(&json!({"chat_template_kwargs": {name: "x"}})).err();
            let body = serde_json::to_value(error.expect(name).body()).expect("plain");
            assert_eq!(body["error"]["param"], format!("chat_template_kwargs.{name}"));
        }
    }

    #[test]
    fn too_much_and_what_is_no_name_is_refused() {
        let many: Map<String, Value> = (0..33).map(|at| (format!("n{at}"), json!(1))).collect();
        for given in [
            json!("x"),
            json!([]),
            json!({"": 1}),
            json!({"a b": 1}),
            json!({"1a": 1}),
            json!({"é": 1}),
            json!({"x".repeat(65): 1}),
            json!({"a": "x".repeat(65 * 1024)}),
            json!(many),
        ] {
            assert!(arguments(&json!({ "chat_template_kwargs": given })).is_err(), "{given}");
        }
        assert!(arguments(&json!({"enable_thinking": "no"})).is_err());
    }
}
