//! `input`: a text, or items, each read field by field and refused where it stands.

use serde_json::Value;

use super::items::{Item, Output, Part, Speaker, Status};
use crate::openai::fields::{Fields, wrong};
use crate::openai::tools;
use crate::web::{ApiError, ErrorCode};

/// The most items of one conversation.
pub(super) const ITEMS_MAX: usize = 4096;
const ID_BYTES_MAX: usize = 128;

/// Something that came in.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given {
    /// An item.
    Item(Item),
    /// The id of one that is kept.
    Reference(String),
}

/// Reads `input`.
pub(super) fn read(fields: &mut Fields) -> Result<Vec<Given>, ApiError> {
    match fields.take("input") {
        None => Err(ApiError::new(ErrorCode::InvalidRequest)
            .message("The parameter `input` is missing.")
            .param("input")),
        Some(Value::String(text)) => {
            Ok(vec![Given::Item(message(None, Speaker::User, vec![Part::InputText { text }]))])
        }
        Some(Value::Array(items)) if (1..=ITEMS_MAX).contains(&items.len()) => items
            .into_iter()
            .enumerate()
            .map(|(place, value)| given(Fields::nested(format!("input[{place}]"), value)?))
            .collect(),
        Some(_) => Err(wrong("input", "a text, or a list of 1 to 4096 items")),
    }
}

fn message(id: Option<String>, role: Speaker, content: Vec<Part>) -> Item {
    Item::Message { id, status: Status::Completed, role, content }
}

fn given(mut fields: Fields) -> Result<Given, ApiError> {
    // A reference may come without its type, as nothing else has an id alone.
    let is_bare = fields.peek("type").is_none() && fields.peek("role").is_none();
    if is_bare || fields.peek("type").is_some_and(|kind| kind == "item_reference") {
        let path = fields.path("id");
        fields.take("type");
        let id = id(&mut fields, "id")?.ok_or_else(|| wrong(&path, "the id of an item"))?;
        fields.nothing_left()?;
        return Ok(Given::Reference(id));
    }
    item(fields).map(Given::Item)
}

fn item(mut fields: Fields) -> Result<Item, ApiError> {
    let path = fields.path("type");
    let kind = fields.text("type")?;
    let id = id(&mut fields, "id")?;
    let status = status(&mut fields)?;
    let item = match kind.as_deref() {
        None | Some("message") => said(&mut fields, id, status)?,
        Some("reasoning") => thought(&mut fields, id, status)?,
        Some("function_call") => {
            let call_id = tools::id(&mut fields, "call_id")?;
            let name = tools::name_of(&mut fields)?;
            let arguments = text(&mut fields, "arguments")?;
            none_of(&mut fields, &["namespace", "async"])?;
            // What the client made of the arguments, and sends back beside them.
            fields.take("parsed_arguments");
            direct(&mut fields)?;
            Item::FunctionCall { id, status, call_id, name, arguments }
        }
        Some("function_call_output") => {
            let call_id = tools::id(&mut fields, "call_id")?;
            // The call has its name.
            fields.take("name");
            none_of(&mut fields, &["namespace"])?;
            direct(&mut fields)?;
            Item::FunctionCallOutput { id, status, call_id, output: output(&mut fields)? }
        }
        Some(_) => return Err(unsupported(&path)),
    };
    fields.nothing_left()?;
    Ok(item)
}

fn unsupported(path: &str) -> ApiError {
    ApiError::new(ErrorCode::UnsupportedParameter)
        .message(format!(
            "`{path}` names a kind of item that is not supported. There are `message`, `reasoning`, `function_call`, `function_call_output` and `item_reference`."
        ))
        .param(path)
}

fn none_of(fields: &mut Fields, names: &[&str]) -> Result<(), ApiError> {
    for name in names {
        if fields.take(name).is_some_and(|value| value != Value::Bool(false)) {
            let path = fields.path(name);
            return Err(ApiError::new(ErrorCode::UnsupportedParameter)
                .message(format!(
                    "`{path}` is not supported: functions are called one by one, by their names."
                ))
                .param(path));
        }
    }
    Ok(())
}

/// Who called: the model itself, which is the one that can, here.
fn direct(fields: &mut Fields) -> Result<(), ApiError> {
    let path = fields.path("caller");
    let Some(caller) = fields.take("caller") else { return Ok(()) };
    let mut caller = Fields::nested(path, caller)?;
    let path = caller.path("type");
    match caller.text("type")?.as_deref() {
        Some("direct") => caller.nothing_left(),
        _ => Err(wrong(&path, "`direct`")),
    }
}

fn id(fields: &mut Fields, name: &str) -> Result<Option<String>, ApiError> {
    let path = fields.path(name);
    match fields.text(name)? {
        Some(id) if !(1..=ID_BYTES_MAX).contains(&id.len()) => {
            Err(wrong(&path, "a text of 1 to 128 bytes"))
        }
        id => Ok(id),
    }
}

fn status(fields: &mut Fields) -> Result<Status, ApiError> {
    let path = fields.path("status");
    match fields.text("status")?.as_deref() {
        None | Some("completed" | "in_progress") => Ok(Status::Completed),
        Some("incomplete") => Ok(Status::Incomplete),
        Some(_) => Err(wrong(&path, "`completed`, `in_progress` or `incomplete`")),
    }
}

fn text(fields: &mut Fields, name: &str) -> Result<String, ApiError> {
    let path = fields.path(name);
    fields.text(name)?.ok_or_else(|| wrong(&path, "a text"))
}

fn said(fields: &mut Fields, id: Option<String>, status: Status) -> Result<Item, ApiError> {
    let path = fields.path("role");
    let role = match fields.text("role")?.as_deref() {
        Some("user") => Speaker::User,
        Some("system") => Speaker::System,
        Some("developer") => Speaker::Developer,
        Some("assistant") => Speaker::Assistant,
        _ => return Err(wrong(&path, "user, system, developer or assistant")),
    };
    // A label of answers that other servers want back; no template here knows it.
    fields.take("phase");
    let path = fields.path("content");
    let content = match fields.take("content") {
        Some(Value::String(text)) if role == Speaker::Assistant => vec![Part::said(text)],
        Some(Value::String(text)) => vec![Part::InputText { text }],
        Some(Value::Array(parts)) => {
            list(&path, parts, if role == Speaker::Assistant { SAID } else { INPUT })?
        }
        _ => return Err(wrong(&path, "a text or a list of parts")),
    };
    Ok(Item::Message { id, status, role, content })
}

fn thought(fields: &mut Fields, id: Option<String>, status: Status) -> Result<Item, ApiError> {
    let mut parts = |name: &str, kinds| {
        let path = fields.path(name);
        match fields.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(parts)) => list(&path, parts, kinds),
            Some(_) => Err(wrong(&path, "a list of parts")),
        }
    };
    let summary = parts("summary", SUMMARY)?;
    let content = parts("content", THOUGHT)?;
    let path = fields.path("encrypted_content");
    let is_sealed = fields.text("encrypted_content")?.is_some_and(|text| !text.is_empty());
    if is_sealed && content.is_empty() && summary.is_empty() {
        return Err(ApiError::new(ErrorCode::UnsupportedParameter)
            .message(format!(
                "`{path}` is not supported: this server cannot read what another one has encrypted. Its own thoughts come in clear, as `content`."
            ))
            .param(path));
    }
    Ok(Item::Reasoning { id, status, summary, content })
}

fn output(fields: &mut Fields) -> Result<Output, ApiError> {
    let path = fields.path("output");
    match fields.take("output") {
        Some(Value::String(text)) => Ok(Output::Text(text)),
        Some(Value::Array(parts)) => list(&path, parts, INPUT).map(Output::Parts),
        _ => Err(wrong(&path, "a text or a list of parts")),
    }
}

/// The kinds of parts that may stand somewhere.
type Kinds = &'static [&'static str];

const INPUT: Kinds = &["input_text"];
// Clients that keep a conversation themselves are not strict about who said what.
const SAID: Kinds = &["output_text", "refusal", "input_text"];
const THOUGHT: Kinds = &["reasoning_text"];
const SUMMARY: Kinds = &["summary_text"];

fn list(path: &str, parts: Vec<Value>, kinds: Kinds) -> Result<Vec<Part>, ApiError> {
    parts
        .into_iter()
        .enumerate()
        .map(|(place, value)| part(Fields::nested(format!("{path}[{place}]"), value)?, kinds))
        .collect()
}

fn part(mut fields: Fields, kinds: Kinds) -> Result<Part, ApiError> {
    let path = fields.path("type");
    let kind = fields.text("type")?.unwrap_or_default();
    if matches!(&*kind, "input_image" | "input_file" | "input_audio") {
        return Err(ApiError::new(ErrorCode::UnsupportedParameter)
            .message(format!(
                "`{path}` with the value `{kind}` is not supported: the models here read text, and this server fetches nothing from elsewhere."
            ))
            .param(path));
    }
    if !kinds.contains(&&*kind) {
        return Err(wrong(&path, &format!("`{}`", kinds.join("`, `"))));
    }
    let part = match &*kind {
        "refusal" => Part::Refusal { refusal: text(&mut fields, "refusal")? },
        "reasoning_text" => Part::ReasoningText { text: text(&mut fields, "text")? },
        "summary_text" => Part::SummaryText { text: text(&mut fields, "text")? },
        "output_text" => {
            // What came with an earlier answer, and is not part of what was said.
            for name in ["annotations", "logprobs", "parsed"] {
                fields.take(name);
            }
            Part::said(text(&mut fields, "text")?)
        }
        _ => Part::InputText { text: text(&mut fields, "text")? },
    };
    // Where a prompt may be kept: it is, wherever it can be.
    fields.take("prompt_cache_breakpoint");
    fields.nothing_left()?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::web::body::parse;

    fn read_from(input: &Value) -> Result<Vec<Item>, (ErrorCode, String)> {
        let items = given_from(input)?.into_iter().map(|given| match given {
            Given::Item(item) => item,
            Given::Reference(id) => panic!("{id} is a reference"),
        });
        Ok(items.collect())
    }

    fn given_from(input: &Value) -> Result<Vec<Given>, (ErrorCode, String)> {
        let body = json!({ "input": input }).to_string();
        let mut fields: Fields = parse(body.as_bytes()).expect("well-formed");
        read(&mut fields).map_err(|error| {
            let body = serde_json::to_value(error.body()).expect("plain");
            let param = body["error"]["param"].as_str().expect("names the parameter");
            (error.code(), param.to_owned())
        })
    }

    #[test]
    fn items_are_taken_as_clients_send_them_and_as_they_were_answered() {
        assert_eq!(
            read_from(&json!("Hi")),
            Ok(vec![message(None, Speaker::User, vec![Part::InputText { text: "Hi".into() }])])
        );
        let input = json!([
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"type": "message", "role": "assistant", "content": "Hello", "phase": "final_answer"},
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [
                {"type": "output_text", "text": "Well", "annotations": [], "logprobs": [], "parsed": null}]},
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": null, "status": null,
             "content": [{"type": "reasoning_text", "text": "So"}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}",
             "status": "completed", "parsed_arguments": {}, "caller": {"type": "direct"}},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "1"}]},
            {"type": "function_call_output", "call_id": "c", "output": "1", "id": null},
        ]);
        let items = read_from(&input).expect("passes");
        assert_eq!(items.len(), 9);
        assert_eq!(items[3].id(), "msg_1");
        // What is answered is read back as it was.
        let again = serde_json::to_value(&items).expect("plain");
        assert_eq!(read_from(&again), Ok(items));
    }

    #[test]
    fn references_are_ids_alone() {
        for reference in [json!({"type": "item_reference", "id": "x"}), json!({"id": "x"})] {
            assert_eq!(given_from(&json!([reference])), Ok(vec![Given::Reference("x".into())]));
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_where_it_stands() {
        let unsupported = ErrorCode::UnsupportedParameter;
        let value = ErrorCode::InvalidValue;
        let user = |content: Value| json!([{"role": "user", "content": content}]);
        for (input, code, param) in [
            (Value::Null, ErrorCode::InvalidRequest, "input"),
            (json!([]), value, "input"),
            (json!(7), value, "input"),
            (json!(["Hi"]), value, "input[0]"),
            (json!([{"role": "tool", "content": "x"}]), value, "input[0].role"),
            (json!([{"role": "user"}]), value, "input[0].content"),
            (
                user(json!([{"type": "output_text", "text": "x"}])),
                value,
                "input[0].content[0].type",
            ),
            (user(json!([{"type": "text", "text": "x"}])), value, "input[0].content[0].type"),
            (user(json!([{"type": "input_text"}])), value, "input[0].content[0].text"),
            (
                user(json!([{"type": "input_image", "image_url": "https://example.com/a.png"}])),
                unsupported,
                "input[0].content[0].type",
            ),
            (
                user(json!([{"type": "input_text", "text": "x", "y": 1}])),
                ErrorCode::UnknownParameter,
                "input[0].content[0].y",
            ),
            (json!([{"type": "web_search_call", "id": "x"}]), unsupported, "input[0].type"),
            (json!([{"type": "item_reference"}]), value, "input[0].id"),
            (
                json!([{"type": "item_reference", "id": "x", "role": "user"}]),
                ErrorCode::UnknownParameter,
                "input[0].role",
            ),
            (
                json!([{"type": "function_call", "name": "f", "arguments": "{}"}]),
                value,
                "input[0].call_id",
            ),
            (
                json!([{"type": "function_call", "call_id": "c", "name": "a b", "arguments": "{}"}]),
                value,
                "input[0].name",
            ),
            (
                json!([{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]),
                value,
                "input[0].arguments",
            ),
            (
                json!([{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}",
                    "namespace": "n"}]),
                unsupported,
                "input[0].namespace",
            ),
            (json!([{"type": "function_call_output", "call_id": "c"}]), value, "input[0].output"),
            (
                json!([{"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "AAAA"}]),
                unsupported,
                "input[0].encrypted_content",
            ),
            (
                json!([{"role": "user", "content": "x", "colour": 1}]),
                ErrorCode::UnknownParameter,
                "input[0].colour",
            ),
        ] {
            assert_eq!(read_from(&input), Err((code, param.to_owned())), "{input}");
        }
    }
}
