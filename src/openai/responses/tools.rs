//! Tools as responses name them: flat, where chats have them nested.

use serde_json::{Value, json};

use crate::engine::{ToolChoice, ToolRules};
use crate::openai::fields::{Fields, wrong};
use crate::openai::tools::{self, TOOLS_MAX, Tools, described, is_there, name_of};
use crate::web::{ApiError, ErrorCode};

/// What was asked for, as the answer repeats it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) tools: Vec<Value>,
    pub(super) tool_choice: Value,
    pub(super) parallel_tool_calls: bool,
}

/// Reads `tools`, `tool_choice` and `parallel_tool_calls`.
pub(super) fn read(fields: &mut Fields) -> Result<(Tools, Asked), ApiError> {
    let mut offered = tools::list(fields, "name", tool)?;
    let asked = Asked {
        tools: offered.iter().map(flat).collect(),
        tool_choice: fields.peek("tool_choice").cloned().unwrap_or_else(|| "auto".into()),
        parallel_tool_calls: fields.truth("parallel_tool_calls")?.unwrap_or(true),
    };
    let choice = choice(fields, &mut offered)?;
    let rules = ToolRules { choice: ToolChoice::Auto, is_parallel: asked.parallel_tool_calls };
    let tools = match choice {
        Some(choice) if !offered.is_empty() => {
            Tools { offered, rules: Some(ToolRules { choice, ..rules }) }
        }
        _ => Tools::default(),
    };
    Ok((tools, asked))
}

/// A function, in the form that chats have.
fn tool(mut fields: Fields) -> Result<Value, ApiError> {
    let path = fields.path("type");
    match fields.text("type")?.as_deref() {
        Some("function") => {}
        Some(_) => {
            return Err(ApiError::new(ErrorCode::UnsupportedParameter)
                .message(format!(
                    "`{path}` is not supported: this server has no tools of its own and opens no connections. Accepted: `function`."
                ))
                .param(path));
        }
        None => return Err(wrong(&path, "function")),
    }
    let function = described(&mut fields, "parameters")?;
    let direct = json!(["direct"]);
    for (name, only) in
        [("defer_loading", json!(false)), ("async", json!(false)), ("allowed_callers", direct)]
    {
        let path = fields.path(name);
        if fields.take(name).is_some_and(|value| value != only) {
            return Err(ApiError::new(ErrorCode::UnsupportedParameter)
                .message(format!("`{path}` with this value is not supported. Accepted: `{only}`."))
                .param(path));
        }
    }
    fields.nothing_left()?;
    Ok(json!({ "type": "function", "function": function }))
}

/// The same in the form of responses, with all that the specification wants to stand there.
fn flat(tool: &Value) -> Value {
    let function = &tool["function"];
    json!({
        "type": "function",
        "name": function["name"],
        "description": function["description"],
        "parameters": function["parameters"],
        "strict": function["strict"],
    })
}

/// Reads `tool_choice`; nothing where tools are not to be called. Of `offered` that is left which may be.
fn choice(fields: &mut Fields, offered: &mut Vec<Value>) -> Result<Option<ToolChoice>, ApiError> {
    const NAME: &str = "tool_choice";
    let expected =
        "`none`, `auto`, `required`, one function of `tools`, or `allowed_tools` with some of them";
    let refused = || wrong(NAME, expected);
    let choice = match fields.take(NAME) {
        None => return Ok(Some(ToolChoice::Auto)),
        Some(Value::String(word)) => match word.as_str() {
            "none" => return Ok(None),
            "auto" => return Ok(Some(ToolChoice::Auto)),
            "required" => ToolChoice::Required,
            _ => return Err(refused()),
        },
        Some(value @ Value::Object(_)) => {
            let mut fields = Fields::nested(NAME.into(), value)?;
            let choice = match fields.text("type")?.as_deref() {
                Some("function") => ToolChoice::Function(name_of(&mut fields)?),
                Some("allowed_tools") => {
                    let named = allowed(&mut fields)?;
                    let is_offered =
                        |name: &String| is_there(&ToolChoice::Function(name.clone()), offered);
                    if !named.iter().all(is_offered) {
                        return Err(refused());
                    }
                    offered.retain(|tool| {
                        named.iter().any(|name| tool["function"]["name"] == json!(name))
                    });
                    match fields.text("mode")?.as_deref() {
                        Some("auto") => ToolChoice::Auto,
                        Some("required") => ToolChoice::Required,
                        _ => return Err(wrong("tool_choice.mode", "`auto` or `required`")),
                    }
                }
                _ => return Err(refused()),
            };
            fields.nothing_left()?;
            choice
        }
        Some(_) => return Err(refused()),
    };
    if is_there(&choice, offered) { Ok(Some(choice)) } else { Err(refused()) }
}

/// The names in a list of tools that may be called.
fn allowed(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let path = fields.path("tools");
    let items = match fields.take("tools") {
        Some(Value::Array(items)) if (1..=TOOLS_MAX).contains(&items.len()) => items,
        _ => return Err(wrong(&path, "a list of 1 to 128 functions")),
    };
    let name = |(place, item)| {
        let mut tool = Fields::nested(format!("{path}[{place}]"), item)?;
        match tool.text("type")?.as_deref() {
            Some("function") => {}
            _ => return Err(wrong(&tool.path("type"), "function")),
        }
        let name = name_of(&mut tool)?;
        tool.nothing_left()?;
        Ok(name)
    };
    items.into_iter().enumerate().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::body::parse;

    fn read_from(body: &Value) -> Result<(Tools, Asked), String> {
        let mut fields: Fields = parse(body.to_string().as_bytes()).expect("well-formed");
        read(&mut fields).map_err(|error| {
            let body = serde_json::to_value(error.body()).expect("plain");
            body["error"]["param"].as_str().expect("names the parameter").to_owned()
        })
    }

    fn add() -> Value {
        json!({"type": "function", "name": "add", "description": "Adds.",
            "parameters": {"type": "object"}, "strict": true})
    }

    fn now() -> Value {
        json!({"type": "function", "name": "now", "defer_loading": false, "allowed_callers": ["direct"]})
    }

    #[test]
    fn tools_are_offered_as_in_a_chat_and_called_as_was_chosen() {
        for (choice, expected, count) in [
            (Value::Null, Some(ToolChoice::Auto), 2),
            (json!("auto"), Some(ToolChoice::Auto), 2),
            (json!("required"), Some(ToolChoice::Required), 2),
            (json!("none"), None, 0),
            (
                json!({"type": "function", "name": "add"}),
                Some(ToolChoice::Function("add".into())),
                2,
            ),
            (
                json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "now"}]}),
                Some(ToolChoice::Required),
                1,
            ),
        ] {
            let body = json!({"tools": [add(), now()], "tool_choice": choice});
            let (tools, asked) = read_from(&body).expect("passes");
            assert_eq!(tools.rules.map(|rules| rules.choice), expected, "{body}");
            assert_eq!(tools.offered.len(), count, "{body}");
            assert_eq!(asked.tools.len(), 2);
            assert_eq!(asked.tools[0], add());
            assert_eq!(asked.tool_choice, if choice.is_null() { json!("auto") } else { choice });
        }
        let (one, _) =
            read_from(&json!({"tools": [add()], "parallel_tool_calls": false})).expect("passes");
        assert_eq!(one.rules.map(|rules| rules.is_parallel), Some(false));
        assert_eq!(
            one.offered[0],
            json!({"type": "function", "function": {"name": "add", "description": "Adds.",
                "parameters": {"type": "object"}, "strict": true}})
        );
        assert_eq!(read_from(&json!({})).expect("passes").0, Tools::default());
    }

    #[test]
    fn tools_that_cannot_be_called_are_refused_where_they_stand() {
        let choose = |choice: Value| json!({"tools": [add()], "tool_choice": choice});
        for (body, param) in [
            (json!({"tools": "x"}), "tools"),
            (json!({"tools": [{"name": "x"}]}), "tools[0].type"),
            (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
            (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
            (json!({"tools": [{"type": "function", "function": {"name": "x"}}]}), "tools[0].name"),
            (
                json!({"tools": [{"type": "function", "name": "x", "defer_loading": true}]}),
                "tools[0].defer_loading",
            ),
            (json!({"tools": [{"type": "function", "name": "x", "colour": 1}]}), "tools[0].colour"),
            (json!({"tools": [add(), add()]}), "tools[1].name"),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (choose(json!("any")), "tool_choice"),
            (choose(json!({"type": "mcp"})), "tool_choice"),
            (choose(json!({"type": "function", "name": "x"})), "tool_choice"),
            (choose(json!({"type": "function"})), "tool_choice.name"),
            (
                choose(json!({"type": "allowed_tools", "mode": "auto", "tools": []})),
                "tool_choice.tools",
            ),
            (
                choose(
                    json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "x"}]}),
                ),
                "tool_choice",
            ),
            (
                choose(
                    json!({"type": "allowed_tools", "tools": [{"type": "function", "name": "add"}]}),
                ),
                "tool_choice.mode",
            ),
        ] {
            assert_eq!(read_from(&body).err(), Some(param.to_owned()), "{body}");
        }
    }
}
