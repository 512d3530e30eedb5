//! Tools in the body of a chat: what may be called, what was called, and what came of it.

use serde_json::{Map, Value, json};

use super::fields::{Fields, wrong};
use crate::engine::{ToolCall, ToolChoice, ToolRules};
use crate::web::ApiError;

/// The most tools of one request.
pub(super) const TOOLS_MAX: usize = 128;
const CALLS_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 64;
const ID_BYTES_MAX: usize = 128;

/// The tools that the model is told of, and how it may call them; nothing where it may not.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tools {
    /// Each as `{"type": "function", "function": …}`.
    pub(super) offered: Vec<Value>,
    pub(super) rules: Option<ToolRules>,
}

/// Reads `tools`, `tool_choice` and `parallel_tool_calls`.
pub(super) fn read(fields: &mut Fields) -> Result<Tools, ApiError> {
    let offered = offered(fields)?;
    let is_parallel = fields.truth("parallel_tool_calls")?.unwrap_or(true);
    let choice = choice(fields, &offered)?;
    Ok(Tools::new(offered, choice, is_parallel))
}

impl Tools {
    /// Tools that may be called by this choice; none: they may not.
    pub(super) fn new(offered: Vec<Value>, choice: Option<ToolChoice>, is_parallel: bool) -> Self {
        match choice {
            Some(choice) if !offered.is_empty() => {
                Self { offered, rules: Some(ToolRules { choice, is_parallel }) }
            }
            _ => Self::default(),
        }
    }
}

fn offered(fields: &mut Fields) -> Result<Vec<Value>, ApiError> {
    list(fields, "function.name", tool)
}

/// Reads `tools`, each by `read`; `name_at` is where in one its name stands.
pub(super) fn list(
    fields: &mut Fields,
    name_at: &str,
    read: fn(Fields) -> Result<Value, ApiError>,
) -> Result<Vec<Value>, ApiError> {
    let items = match fields.take("tools") {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= TOOLS_MAX => items,
        Some(_) => return Err(wrong("tools", "a list of up to 128 functions")),
    };
    let mut offered: Vec<Value> = Vec::with_capacity(items.len());
    for (place, item) in items.into_iter().enumerate() {
        let path = format!("tools[{place}]");
        let tool = read(Fields::nested(path.clone(), item)?)?;
        let name = &tool["function"]["name"];
        if offered.iter().any(|other| other["function"]["name"] == *name) {
            let path = format!("{path}.{name_at}");
            return Err(wrong(&path, "a name that no other function has"));
        }
        offered.push(tool);
    }
    Ok(offered)
}

fn tool(mut fields: Fields) -> Result<Value, ApiError> {
    let mut function = function_of(&mut fields)?;
    let tool = told(&mut function, "parameters")?;
    function.nothing_left()?;
    fields.nothing_left()?;
    Ok(tool)
}

/// A function as models are told of it; its schema goes by the name of `schema`.
pub(super) fn told(function: &mut Fields, schema: &str) -> Result<Value, ApiError> {
    Ok(json!({ "type": "function", "function": described(function, schema)? }))
}

/// What is said of a function: its name, what it does, what it is called with, whose schema goes by the
/// name of `schema`.
pub(super) fn described(
    function: &mut Fields,
    schema: &str,
) -> Result<Map<String, Value>, ApiError> {
    let name = name_of(function)?;
    let mut told = Map::from_iter([("name".to_owned(), name.into())]);
    if let Some(description) = function.text("description")? {
        told.insert("description".into(), description.into());
    }
    let path = function.path(schema);
    match function.take(schema) {
        None => {}
        Some(schema @ Value::Object(_)) => drop(told.insert("parameters".into(), schema)),
        Some(_) => return Err(wrong(&path, "a JSON schema: an object")),
    }
    if let Some(strict) = function.truth("strict")? {
        told.insert("strict".into(), strict.into());
    }
    Ok(told)
}

/// The part of a tool, a call or a choice that names a function.
fn function_of(fields: &mut Fields) -> Result<Fields, ApiError> {
    let type_path = fields.path("type");
    match fields.text("type")?.as_deref() {
        Some("function") => {}
        _ => return Err(wrong(&type_path, "function")),
    }
    let path = fields.path("function");
    let function = fields.take("function").ok_or_else(|| wrong(&path, "an object"))?;
    Fields::nested(path, function)
}

/// Reads the name of a function.
pub(super) fn name_of(function: &mut Fields) -> Result<String, ApiError> {
    let path = function.path("name");
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match function.text("name")? {
        Some(name) if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(is_name) => {
            Ok(name)
        }
        _ => Err(wrong(&path, "1 to 64 letters, digits, `_`, `-` or `.`")),
    }
}

/// Reads `tool_choice`; nothing where tools are not to be called.
fn choice(fields: &mut Fields, offered: &[Value]) -> Result<Option<ToolChoice>, ApiError> {
    let expected = "`none`, `auto`, `required`, or one function of `tools`";
    let refused = || wrong("tool_choice", expected);
    let choice = match fields.take("tool_choice") {
        None => return Ok(Some(ToolChoice::Auto)),
        Some(Value::String(word)) => match word.as_str() {
            "none" => return Ok(None),
            "auto" => return Ok(Some(ToolChoice::Auto)),
            "required" => ToolChoice::Required,
            _ => return Err(refused()),
        },
        Some(value @ Value::Object(_)) => {
            let mut fields = Fields::nested("tool_choice".into(), value)?;
            let mut function = function_of(&mut fields)?;
            let name = name_of(&mut function)?;
            function.nothing_left()?;
            fields.nothing_left()?;
            ToolChoice::Function(name)
        }
        Some(_) => return Err(refused()),
    };
    if is_there(&choice, offered) { Ok(Some(choice)) } else { Err(refused()) }
}

/// Whether there is what is chosen.
pub(super) fn is_there(choice: &ToolChoice, offered: &[Value]) -> bool {
    match choice {
        ToolChoice::Function(name) => {
            offered.iter().any(|tool| tool["function"]["name"] == json!(name))
        }
        ToolChoice::Auto | ToolChoice::Required => !offered.is_empty(),
    }
}

/// Reads the calls of an earlier answer.
pub(super) fn calls(fields: &mut Fields) -> Result<Vec<ToolCall>, ApiError> {
    let path = fields.path("tool_calls");
    let items = match fields.take("tool_calls") {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= CALLS_MAX => items,
        Some(_) => return Err(wrong(&path, "a list of up to 128 calls")),
    };
    let items = items.into_iter().enumerate();
    items.map(|(place, item)| call(Fields::nested(format!("{path}[{place}]"), item)?)).collect()
}

fn call(mut fields: Fields) -> Result<ToolCall, ApiError> {
    let id = id(&mut fields, "id")?;
    // Its place among the pieces of a stream, which some clients send back.
    fields.take("index");
    let mut function = function_of(&mut fields)?;
    // What clients make of the arguments, and send back.
    function.take("parsed_arguments");
    let name = name_of(&mut function)?;
    let path = function.path("arguments");
    let text = function.text("arguments")?.ok_or_else(|| wrong(&path, "a text with JSON"))?;
    function.nothing_left()?;
    fields.nothing_left()?;
    Ok(made(id, name, text))
}

/// A call whose arguments came as a text.
pub(super) fn made(id: String, name: String, arguments: String) -> ToolCall {
    let parsed = serde_json::from_str::<Value>(&arguments).ok().filter(Value::is_object);
    ToolCall { id, name, arguments: parsed.unwrap_or(Value::String(arguments)) }
}

/// Reads the id of a call.
pub(super) fn id(fields: &mut Fields, name: &str) -> Result<String, ApiError> {
    let path = fields.path(name);
    match fields.text(name)? {
        Some(id) if (1..=ID_BYTES_MAX).contains(&id.len()) => Ok(id),
        _ => Err(wrong(&path, "a text of 1 to 128 bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::body::parse;

    fn read_from(body: &Value) -> Result<Tools, String> {
        let mut fields: Fields = parse(body.to_string().as_bytes()).expect("well-formed");
        read(&mut fields).map_err(|error| {
            let body = serde_json::to_value(error.body()).expect("plain");
            body["error"]["param"].as_str().expect("names the parameter").to_owned()
        })
    }

    fn add() -> Value {
        json!({"type": "function", "function": {"name": "add", "description": "Adds.",
            "parameters": {"type": "object"}, "strict": true}})
    }

    #[test]
    fn tools_are_offered_as_they_came_and_called_as_was_chosen() {
        let named = json!({"type": "function", "function": {"name": "add"}});
        for (choice, expected) in [
            (Value::Null, Some(ToolChoice::Auto)),
            (json!("auto"), Some(ToolChoice::Auto)),
            (json!("required"), Some(ToolChoice::Required)),
            (named, Some(ToolChoice::Function("add".into()))),
            (json!("none"), None),
        ] {
            let tools =
                read_from(&json!({"tools": [add()], "tool_choice": choice})).expect("passes");
            assert_eq!(tools.rules.map(|rules| rules.choice), expected);
            assert_eq!(tools.offered.len(), usize::from(expected.is_some()));
        }
        let one = read_from(&json!({"tools": [add()], "parallel_tool_calls": false}));
        assert_eq!(one.expect("passes").rules.map(|rules| rules.is_parallel), Some(false));
        assert_eq!(read_from(&json!({"tools": []})), Ok(Tools::default()));
    }

    #[test]
    fn tools_that_cannot_be_called_are_refused_where_they_stand() {
        let with = |value: Value| json!({"tools": [{"type": "function", "function": value}]});
        for (body, param) in [
            (json!({"tools": "x"}), "tools"),
            (json!({"tools": [{"type": "custom"}]}), "tools[0].type"),
            (json!({"tools": [{"type": "function"}]}), "tools[0].function"),
            (with(json!({})), "tools[0].function.name"),
            (with(json!({"name": "a b"})), "tools[0].function.name"),
            (with(json!({"name": "a", "parameters": []})), "tools[0].function.parameters"),
            (with(json!({"name": "a", "strict": 1})), "tools[0].function.strict"),
            (with(json!({"name": "a", "x": 1})), "tools[0].function.x"),
            (json!({"tools": [add(), add()]}), "tools[1].function.name"),
            (json!({"tools": [add()], "tool_choice": "any"}), "tool_choice"),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (
                json!({"tools": [add()], "tool_choice": {"type": "function", "function": {"name": "x"}}}),
                "tool_choice",
            ),
            (json!({"tools": [add()], "parallel_tool_calls": 1}), "parallel_tool_calls"),
        ] {
            assert_eq!(read_from(&body), Err(param.to_owned()), "{body}");
        }
    }
}
