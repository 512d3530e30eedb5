//! Tools as Anthropic's clients offer them, and how they may be called.

use serde_json::Value;

use super::content::{cache_control, nothing_but};
use crate::engine::ToolChoice;
use crate::openai::fields::{Fields, wrong};
use crate::openai::tools::{self, Tools};
use crate::web::{ApiError, ErrorCode};

/// Reads `tools` and `tool_choice`.
pub(super) fn read(fields: &mut Fields) -> Result<Tools, ApiError> {
    let offered = tools::list(fields, "name", tool)?;
    let (choice, is_parallel) = choice(fields, &offered)?;
    Ok(Tools::new(offered, choice, is_parallel))
}

fn tool(mut fields: Fields) -> Result<Value, ApiError> {
    let type_path = fields.path("type");
    match fields.text("type")?.as_deref() {
        None | Some("custom") => {}
        Some(_) => {
            return Err(ApiError::new(ErrorCode::UnsupportedParameter)
                .message("Tools with a type of their own are not supported: this server runs none, and the models here were not taught them. Describe yours with `input_schema`.")
                .param(type_path));
        }
    }
    let schema_path = fields.path("input_schema");
    if fields.peek("input_schema").is_none() {
        return Err(wrong(&schema_path, "a JSON schema: an object"));
    }
    let mut tool = tools::told(&mut fields, "input_schema")?;
    examples(&mut fields, &mut tool)?;
    cache_control(&mut fields)?;
    // Arguments come in pieces as they are written, always.
    fields.truth("eager_input_streaming")?;
    nothing_but(&mut fields, "defer_loading", "the model is told of every tool", |value| {
        *value == Value::Bool(false)
    })?;
    nothing_but(&mut fields, "allowed_callers", "only the model calls tools here", |value| {
        value.as_array().is_some_and(|all| all.iter().all(|one| one == "direct"))
    })?;
    fields.nothing_left()?;
    Ok(tool)
}

/// Examples of arguments are told where JSON schemas have them.
fn examples(fields: &mut Fields, tool: &mut Value) -> Result<(), ApiError> {
    let path = fields.path("input_examples");
    match fields.take("input_examples") {
        None => {}
        Some(Value::Array(items)) if items.is_empty() => {}
        Some(Value::Array(items)) if items.iter().all(Value::is_object) => {
            tool["function"]["parameters"]["examples"] = Value::Array(items);
        }
        Some(_) => return Err(wrong(&path, "a list of objects")),
    }
    Ok(())
}

/// Which tools may be called; nothing where none may. And whether one answer may call several.
fn choice(fields: &mut Fields, offered: &[Value]) -> Result<(Option<ToolChoice>, bool), ApiError> {
    let Some(value) = fields.take("tool_choice") else {
        return Ok((Some(ToolChoice::Auto), true));
    };
    let mut fields = Fields::nested("tool_choice".into(), value)?;
    let kind = fields.text("type")?;
    let choice = match kind.as_deref() {
        Some("auto") => Some(ToolChoice::Auto),
        Some("any") => Some(ToolChoice::Required),
        Some("tool") => Some(ToolChoice::Function(tools::name_of(&mut fields)?)),
        Some("none") => None,
        _ => return Err(wrong("tool_choice.type", "`auto`, `any`, `tool` or `none`")),
    };
    let is_alone = fields.truth("disable_parallel_tool_use")?.unwrap_or(false);
    fields.nothing_left()?;
    match &choice {
        Some(ToolChoice::Auto) | None => Ok((choice, !is_alone)),
        Some(must) if tools::is_there(must, offered) => Ok((choice, !is_alone)),
        Some(_) => Err(wrong("tool_choice", "a choice among the tools of `tools`")),
    }
}
