//! Blocks in the content of a message: what they are, and which of them this server reads.

use serde_json::Value;

use crate::engine::ToolCall;
use crate::openai::fields::{Fields, wrong};
use crate::openai::tools;
use crate::web::{ApiError, ErrorCode};

/// Blocks of one message.
const BLOCKS_MAX: usize = 4096;
/// What is published and not read here, and why.
const REFUSED: &[(&str, &str)] = &[
    ("image", TEXT_ONLY),
    ("document", TEXT_ONLY),
    ("search_result", "write the text of what was found into a `text` block"),
    ("browser_state", TEXT_ONLY),
    ("redacted_thinking", "what another server has sealed cannot be read here"),
    ("container_upload", NO_PROGRAMS),
    ("server_tool_use", NO_PROGRAMS),
    ("mcp_tool_use", NO_PROGRAMS),
    ("mcp_tool_result", NO_PROGRAMS),
    ("web_search_tool_result", NO_PROGRAMS),
    ("web_fetch_tool_result", NO_PROGRAMS),
    ("code_execution_tool_result", NO_PROGRAMS),
    ("bash_code_execution_tool_result", NO_PROGRAMS),
    ("text_editor_code_execution_tool_result", NO_PROGRAMS),
    ("tool_search_tool_result", NO_PROGRAMS),
    ("tool_reference", NO_PROGRAMS),
    ("compaction", "the prompt is read as it is sent"),
];
const TEXT_ONLY: &str = "the models here read text, and this server fetches nothing from elsewhere";
const NO_PROGRAMS: &str = "this server runs no tools of its own";

/// One block.
#[derive(Debug, PartialEq)]
pub(super) enum Block {
    Text(String),
    Thinking(String),
    Call(ToolCall),
    Result(ToolResult),
}

/// What came of a call.
#[derive(Debug, PartialEq)]
pub(super) struct ToolResult {
    pub(super) call: String,
    pub(super) text: String,
}

/// Where a list of blocks stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a message of the person.
    User,
    /// In an answer.
    Assistant,
    /// In the frame, or in what came of a call.
    Texts,
}

impl Place {
    /// The types that may stand there, in words.
    fn types(self) -> &'static str {
        match self {
            Self::User => "text or tool_result",
            Self::Assistant => "text, thinking or tool_use",
            Self::Texts => "text",
        }
    }
}

/// Reads a content: a text, or a list of blocks.
pub(super) fn read(path: &str, value: Value, place: Place) -> Result<Vec<Block>, ApiError> {
    match value {
        Value::String(text) => Ok(vec![Block::Text(text)]),
        Value::Array(items) if items.len() <= BLOCKS_MAX => items
            .into_iter()
            .enumerate()
            .map(|(at, item)| block(Fields::nested(format!("{path}[{at}]"), item)?, place))
            .collect(),
        _ => Err(wrong(path, "a text or a list of up to 4096 blocks")),
    }
}

/// Reads a content that is nothing but texts.
pub(super) fn texts(path: &str, value: Value) -> Result<Vec<String>, ApiError> {
    let blocks = read(path, value, Place::Texts)?.into_iter();
    Ok(blocks
        .filter_map(|block| if let Block::Text(text) = block { Some(text) } else { None })
        .collect())
}

fn block(mut fields: Fields, place: Place) -> Result<Block, ApiError> {
    let type_path = fields.path("type");
    let kind = fields.text("type")?.unwrap_or_default();
    let block = match (kind.as_str(), place) {
        ("text", _) => text(&mut fields)?,
        ("thinking", Place::Assistant) => thinking(&mut fields)?,
        ("tool_use", Place::Assistant) => call(&mut fields)?,
        ("tool_result", Place::User) => result(&mut fields)?,
        (kind, _) => {
            let Some((kind, reason)) = REFUSED.iter().find(|row| row.0 == kind) else {
                return Err(wrong(&type_path, place.types()));
            };
            return Err(ApiError::new(ErrorCode::UnsupportedParameter)
                .message(format!("Blocks of the type `{kind}` are not supported: {reason}."))
                .param(type_path));
        }
    };
    cache_control(&mut fields)?;
    fields.nothing_left()?;
    Ok(block)
}

fn text(fields: &mut Fields) -> Result<Block, ApiError> {
    let path = fields.path("text");
    let text = fields.text("text")?.ok_or_else(|| wrong(&path, "a text"))?;
    nothing_but(fields, "citations", "no documents are cited here", |value| {
        value.as_array().is_some_and(Vec::is_empty)
    })?;
    Ok(Block::Text(text))
}

fn thinking(fields: &mut Fields) -> Result<Block, ApiError> {
    let path = fields.path("thinking");
    let text = fields.text("thinking")?.ok_or_else(|| wrong(&path, "a text"))?;
    // Nothing is signed here: what an earlier answer thought is the sender's word, as all of it is.
    fields.text("signature")?;
    Ok(Block::Thinking(text))
}

fn call(fields: &mut Fields) -> Result<Block, ApiError> {
    let id = tools::id(fields, "id")?;
    let name = tools::name_of(fields)?;
    let path = fields.path("input");
    let Some(arguments @ Value::Object(_)) = fields.take("input") else {
        return Err(wrong(&path, "an object"));
    };
    nothing_but(fields, "caller", "only a model calls tools here", |value| {
        value["type"] == "direct"
    })?;
    nothing_but(fields, "toolset_name", "there are no sets of tools here", |_| false)?;
    Ok(Block::Call(ToolCall { id, name, arguments }))
}

fn result(fields: &mut Fields) -> Result<Block, ApiError> {
    let call = tools::id(fields, "tool_use_id")?;
    let path = fields.path("content");
    let mut text = match fields.take("content") {
        None => String::new(),
        Some(value) => texts(&path, value)?.join("\n"),
    };
    // Chat templates have no other word for it.
    if fields.truth("is_error")?.unwrap_or(false) {
        text.insert_str(0, "Error: ");
    }
    nothing_but(fields, "toolset_name", "there are no sets of tools here", |_| false)?;
    Ok(Block::Result(ToolResult { call, text }))
}

/// Reads a mark for the cache, which keeps every prompt anyway.
pub(super) fn cache_control(fields: &mut Fields) -> Result<(), ApiError> {
    let path = fields.path("cache_control");
    let Some(value) = fields.take("cache_control") else { return Ok(()) };
    let mut mark = Fields::nested(path.clone(), value)?;
    let is_known = mark.text("type")?.as_deref() == Some("ephemeral")
        && matches!(mark.text("ttl")?.as_deref(), None | Some("5m" | "1h"));
    mark.nothing_left()?;
    if is_known { Ok(()) } else { Err(wrong(&path, "`ephemeral`, with a `ttl` of 5m or 1h")) }
}

/// Refuses a field unless its value means what happens anyway.
pub(super) fn nothing_but(
    fields: &mut Fields,
    name: &str,
    reason: &str,
    means_nothing: fn(&Value) -> bool,
) -> Result<(), ApiError> {
    let path = fields.path(name);
    match fields.take(name) {
        Some(value) if !means_nothing(&value) => {
            Err(ApiError::new(ErrorCode::UnsupportedParameter)
                .message(format!("`{path}` with this value is not supported: {reason}."))
                .param(path))
        }
        _ => Ok(()),
    }
}
