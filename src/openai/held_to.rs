//! What an answer is held to: `response_format`, and `structured_outputs` as vLLM's clients send it
//! (and by its older names, `guided_json` and its sisters).

use serde_json::Value;

use super::fields::{Fields, wrong};
use crate::engine::Grammar;
use crate::gate::HeldTo;
use crate::web::ApiError;

const CHOICES_MAX: usize = 1024;
const NAME_BYTES_MAX: usize = 64;

/// Reads everything that binds the form of the answer; at most one may.
pub(super) fn read(fields: &mut Fields) -> Result<Option<HeldTo>, ApiError> {
    let mut found: Option<HeldTo> = None;
    let ways: [(&'static str, Read); 6] = [
        ("response_format", response_format),
        ("structured_outputs", structured_outputs),
        ("guided_json", json),
        ("guided_regex", regex),
        ("guided_choice", choice),
        ("guided_grammar", lark),
    ];
    for (parameter, read) in ways {
        let Some(value) = fields.take(parameter) else { continue };
        let Some(grammar) = read(parameter, value)? else { continue };
        if let Some(other) = found {
            let expected = format!("one form: `{}` already binds the answer", other.parameter);
            return Err(wrong(parameter, &expected));
        }
        found = Some(HeldTo { grammar, parameter });
    }
    Ok(found)
}

type Read = fn(&str, Value) -> Result<Option<Grammar>, ApiError>;

fn response_format(path: &str, value: Value) -> Result<Option<Grammar>, ApiError> {
    let mut fields = Fields::nested(path.to_owned(), value)?;
    let kind = fields.text("type")?;
    let grammar = match kind.as_deref() {
        Some("text") => None,
        Some("json_object") => Some(Grammar::JsonObject),
        Some("json_schema") => Some(json_schema(&mut fields)?),
        _ => return Err(wrong(&fields.path("type"), "`text`, `json_object` or `json_schema`")),
    };
    fields.nothing_left()?;
    Ok(grammar)
}

/// The named schema of `response_format`. Every schema is enforced, `strict` or not.
fn json_schema(fields: &mut Fields) -> Result<Grammar, ApiError> {
    let path = fields.path("json_schema");
    let value = fields.take("json_schema").ok_or_else(|| wrong(&path, "an object"))?;
    let mut named = Fields::nested(path, value)?;
    let schema = named_schema(&mut named)?;
    named.nothing_left()?;
    Ok(schema)
}

/// A schema with its name.
pub(super) fn named_schema(named: &mut Fields) -> Result<Grammar, ApiError> {
    let name_path = named.path("name");
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match named.text("name")? {
        Some(name) if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(is_name) => {}
        _ => return Err(wrong(&name_path, "1 to 64 letters, digits, `_` or `-`")),
    }
    named.text("description")?;
    named.truth("strict")?;
    let schema_path = named.path("schema");
    match named.take("schema") {
        None => Ok(Grammar::JsonObject),
        Some(schema @ Value::Object(_)) => Ok(Grammar::JsonSchema(schema)),
        Some(_) => Err(wrong(&schema_path, "a JSON schema: an object")),
    }
}

fn structured_outputs(path: &str, value: Value) -> Result<Option<Grammar>, ApiError> {
    let mut fields = Fields::nested(path.to_owned(), value)?;
    let mut found: Option<Grammar> = None;
    let ways: [(&str, Read); 5] = [
        ("json", json),
        ("regex", regex),
        ("choice", choice),
        ("grammar", lark),
        ("json_object", |path, value| match value {
            Value::Bool(wanted) => Ok(wanted.then_some(Grammar::JsonObject)),
            _ => Err(wrong(path, "true or false")),
        }),
    ];
    for (name, read) in ways {
        let path = fields.path(name);
        let Some(value) = fields.take(name) else { continue };
        let grammar = read(&path, value)?;
        if found.is_some() && grammar.is_some() {
            return Err(wrong(&path, "one form only"));
        }
        found = found.or(grammar);
    }
    fields.nothing_left()?;
    found
        .map(Some)
        .ok_or_else(|| wrong(path, "one of `json`, `regex`, `choice`, `grammar`, `json_object`"))
}

/// A schema, or the text of one, as vLLM takes it too.
fn json(path: &str, value: Value) -> Result<Option<Grammar>, ApiError> {
    let refused = || wrong(path, "a JSON schema: an object");
    let schema = match value {
        Value::String(text) => serde_json::from_str(&text).map_err(|_| refused())?,
        other => other,
    };
    if schema.is_object() { Ok(Some(Grammar::JsonSchema(schema))) } else { Err(refused()) }
}

fn regex(path: &str, value: Value) -> Result<Option<Grammar>, ApiError> {
    text(path, value).map(|text| Some(Grammar::Regex(text)))
}

fn lark(path: &str, value: Value) -> Result<Option<Grammar>, ApiError> {
    text(path, value).map(|text| Some(Grammar::Lark(text)))
}

fn choice(path: &str, value: Value) -> Result<Option<Grammar>, ApiError> {
    let refused = || wrong(path, "a list of 1 to 1024 texts, none of them empty");
    let Value::Array(items) = value else { return Err(refused()) };
    let texts = items.into_iter().map(|item| match item {
        Value::String(text) if !text.is_empty() => Ok(text),
        _ => Err(refused()),
    });
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    if !(1..=CHOICES_MAX).contains(&texts.len()) {
        return Err(refused());
    }
    Ok(Some(Grammar::Choice(texts)))
}

fn text(path: &str, value: Value) -> Result<String, ApiError> {
    match value {
        Value::String(text) if !text.is_empty() => Ok(text),
        _ => Err(wrong(path, "a text that is not empty")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::web::body::parse;

    fn read_from(body: &Value) -> Result<Option<HeldTo>, String> {
        let mut fields: Fields = parse(body.to_string().as_bytes()).expect("well-formed");
        read(&mut fields).map_err(|error| {
            let body = serde_json::to_value(error.body()).expect("plain");
            body["error"]["param"].as_str().expect("names the parameter").to_owned()
        })
    }

    #[test]
    fn every_form_is_read_by_each_of_its_names() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        let of_schema = Grammar::JsonSchema(schema.clone());
        let text = schema.to_string();
        let named = json!({"name": "x", "schema": schema, "strict": true, "description": "d"});
        for (body, grammar) in [
            (json!({"response_format": {"type": "json_object"}}), Grammar::JsonObject),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": named}}),
                of_schema.clone(),
            ),
            (json!({"structured_outputs": {"json": schema}}), of_schema.clone()),
            (json!({"structured_outputs": {"json_object": true}}), Grammar::JsonObject),
            (json!({"structured_outputs": {"regex": "a+"}}), Grammar::Regex("a+".into())),
            (json!({"guided_json": text}), of_schema),
            (json!({"guided_regex": "a+"}), Grammar::Regex("a+".into())),
            (json!({"guided_choice": ["a", "b"]}), Grammar::Choice(vec!["a".into(), "b".into()])),
            (json!({"guided_grammar": "start: \"a\""}), Grammar::Lark("start: \"a\"".into())),
        ] {
            let held = read_from(&body).expect("passes").expect("binds");
            assert_eq!(held.grammar, grammar, "{body}");
        }
        assert_eq!(read_from(&json!({"response_format": {"type": "text"}})), Ok(None));
        assert_eq!(read_from(&json!({"response_format": null})), Ok(None));
    }

    #[test]
    fn what_is_not_a_form_is_refused_where_it_stands() {
        let schema = |value: Value| json!({"response_format": {"type": "json_schema", "json_schema": value}});
        for (body, param) in [
            (json!({"response_format": 1}), "response_format"),
            (json!({"response_format": {"type": "xml"}}), "response_format.type"),
            (json!({"response_format": {"type": "text", "x": 1}}), "response_format.x"),
            (schema(json!(null)), "response_format.json_schema"),
            (schema(json!({})), "response_format.json_schema.name"),
            (schema(json!({"name": "a b"})), "response_format.json_schema.name"),
            (schema(json!({"name": "x", "schema": []})), "response_format.json_schema.schema"),
            (schema(json!({"name": "x", "strict": 1})), "response_format.json_schema.strict"),
            (json!({"structured_outputs": {}}), "structured_outputs"),
            (json!({"structured_outputs": {"regex": ""}}), "structured_outputs.regex"),
            (
                json!({"structured_outputs": {"regex": "a", "choice": ["b"]}}),
                "structured_outputs.choice",
            ),
            (
                json!({"structured_outputs": {"structural_tag": 1}}),
                "structured_outputs.structural_tag",
            ),
            (json!({"guided_choice": []}), "guided_choice"),
            (json!({"guided_choice": [""]}), "guided_choice"),
            (json!({"guided_json": "{"}), "guided_json"),
            (
                json!({"response_format": {"type": "json_object"}, "guided_regex": "a"}),
                "guided_regex",
            ),
        ] {
            assert_eq!(read_from(&body), Err(param.to_owned()), "{body}");
        }
    }
}
