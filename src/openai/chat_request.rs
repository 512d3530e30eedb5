//! The body of `/v1/chat/completions` becomes a request to the gate.

use serde_json::{Map, Value};

use super::common::{self, Delivery};
use super::fields::{Fields, wrong};
use super::held_to;
use super::parameters::{self, Endpoint};
use super::template_arguments::{self, EFFORTS};
use super::tools;
use crate::engine::{Content, Conversation, Message, Role};
use crate::gate::{ExchangeRequest, Input, Purpose};
use crate::web::{ApiError, ErrorCode};

const MESSAGES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 64;
const TOP_LOGPROBS_MAX: i64 = 20;

/// Reads the body.
pub(super) fn read(mut fields: Fields) -> Result<(ExchangeRequest, Delivery), ApiError> {
    parameters::check(&mut fields, Endpoint::Chat)?;
    let tools = tools::read(&mut fields)?;
    let conversation = Conversation {
        messages: messages(&mut fields)?,
        tools: tools.offered,
        arguments: arguments(&mut fields)?,
    };
    let delivery = common::delivery(&mut fields)?;
    let legacy_max = common::tokens_max(&mut fields, "max_tokens")?;
    let max_tokens = common::tokens_max(&mut fields, "max_completion_tokens")?.or(legacy_max);
    let request = ExchangeRequest {
        purpose: Purpose::Api,
        model: common::model(&mut fields)?,
        input: Input::Conversation(conversation),
        tools: tools.rules,
        takes_apart: true,
        drops_oldest: false,
        max_tokens,
        choices: common::choices(&mut fields)?,
        echoes: false,
        sampling: common::sampling(&mut fields)?,
        held_to: held_to::read(&mut fields)?,
        stop: common::stop(&mut fields, "stop")?,
        logprobs: logprobs(&mut fields)?,
    };
    Ok((request, delivery))
}

/// What is told to the chat template.
fn arguments(fields: &mut Fields) -> Result<Map<String, Value>, ApiError> {
    let mut arguments = template_arguments::read(fields)?;
    match fields.text("reasoning_effort")?.as_deref() {
        None => {}
        Some(effort) if EFFORTS.contains(&effort) => {
            template_arguments::add_effort(&mut arguments, effort);
        }
        Some(_) => {
            return Err(wrong("reasoning_effort", &format!("`{}`", EFFORTS.join("`, `"))));
        }
    }
    Ok(arguments)
}

fn logprobs(fields: &mut Fields) -> Result<Option<u8>, ApiError> {
    let is_wanted = fields.truth("logprobs")?.unwrap_or(false);
    let top = fields.whole("top_logprobs", 0..=TOP_LOGPROBS_MAX)?;
    match (is_wanted, top) {
        (false, Some(1..)) => Err(wrong("top_logprobs", "only together with `logprobs`: true")),
        (false, _) => Ok(None),
        (true, top) => Ok(Some(u8::try_from(top.unwrap_or(0)).unwrap_or(0))),
    }
}

/// Reads the messages. Several messages of the system are merged into one at the start: chat
/// templates know one. No message is dropped.
pub(super) fn messages(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let refused = || wrong("messages", "a list of 1 to 4096 messages");
    let items = match fields.take("messages") {
        Some(Value::Array(items)) if (1..=MESSAGES_MAX).contains(&items.len()) => items,
        Some(_) => return Err(refused()),
        None => {
            return Err(ApiError::new(ErrorCode::InvalidRequest)
                .message("The parameter `messages` is missing.")
                .param("messages"));
        }
    };
    let messages = items
        .into_iter()
        .enumerate()
        .map(|(place, item)| message(Fields::nested(format!("messages[{place}]"), item)?));
    Ok(framed(messages.collect::<Result<Vec<_>, _>>()?))
}

/// The messages with those of the system merged into one at the start.
pub(super) fn framed(messages: Vec<Message>) -> Vec<Message> {
    let mut frame: Option<Message> = None;
    let mut conversation = Vec::with_capacity(messages.len());
    for message in messages {
        match (&mut frame, message.role) {
            (Some(frame), Role::System) => {
                let together = format!("{}\n\n{}", frame.content.text(), message.content.text());
                frame.content = together.into();
            }
            (None, Role::System) => frame = Some(message),
            _ => conversation.push(message),
        }
    }
    frame.into_iter().chain(conversation).collect()
}

fn message(mut fields: Fields) -> Result<Message, ApiError> {
    let role_path = fields.path("role");
    let role = match fields.text("role")?.as_deref() {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        _ => return Err(wrong(&role_path, "system, developer, user, assistant or tool")),
    };
    let name = name(&mut fields)?;
    let content = content(&mut fields, role)?;
    let mut tool_calls = Vec::new();
    let mut tool_call_id = None;
    if role == Role::Tool {
        tool_call_id = Some(tools::id(&mut fields, "tool_call_id")?);
    }
    if role == Role::Assistant {
        tool_calls = tools::calls(&mut fields)?;
        refuse_calls(&mut fields)?;
        // What another server sent along with an earlier answer, and what clients make of it and send
        // back; not part of it.
        fields.take("annotations");
        fields.take("parsed");
    }
    let reasoning = reasoning(&mut fields, role)?;
    fields.nothing_left()?;
    Ok(Message { name, reasoning, tool_calls, tool_call_id, ..Message::new(role, content) })
}

fn name(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    let path = fields.path("name");
    match fields.text("name")? {
        Some(name) if name.is_empty() || name.len() > NAME_BYTES_MAX => {
            Err(wrong(&path, "a text of 1 to 64 bytes"))
        }
        name => Ok(name),
    }
}

/// What the model thought before an earlier answer; servers call it by either name.
fn reasoning(fields: &mut Fields, role: Role) -> Result<Option<String>, ApiError> {
    if role != Role::Assistant {
        return Ok(None);
    }
    let content = fields.text("reasoning_content")?;
    let other = fields.text("reasoning")?;
    Ok(content.or(other).filter(|text| !text.is_empty()))
}

fn refuse_calls(fields: &mut Fields) -> Result<(), ApiError> {
    for name in ["function_call", "audio"] {
        let path = fields.path(name);
        match fields.take(name) {
            None => {}
            Some(Value::Array(calls)) if calls.is_empty() => {}
            Some(_) => {
                return Err(ApiError::new(ErrorCode::UnsupportedParameter)
                    .message(format!("`{path}` is not supported: texts and `tool_calls` only."))
                    .param(path));
            }
        }
    }
    Ok(())
}

/// Reads the content: a text, or parts that are texts. An assistant's may be absent.
fn content(fields: &mut Fields, role: Role) -> Result<Content, ApiError> {
    let path = fields.path("content");
    let said_no = if role == Role::Assistant { fields.text("refusal")? } else { None };
    match fields.take("content") {
        None if role == Role::Assistant => Ok(said_no.map_or(Content::None, Content::Text)),
        Some(Value::String(text)) => Ok(Content::Text(text)),
        Some(Value::Array(parts)) => {
            let texts = parts
                .into_iter()
                .enumerate()
                .map(|(place, value)| part(Fields::nested(format!("{path}[{place}]"), value)?))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Content::Parts(texts))
        }
        _ => Err(wrong(&path, "a text or a list of parts")),
    }
}

fn part(mut fields: Fields) -> Result<String, ApiError> {
    let type_path = fields.path("type");
    let field = match fields.text("type")?.as_deref() {
        Some("text") => "text",
        Some("refusal") => "refusal",
        Some(kind @ ("image_url" | "input_audio" | "file")) => {
            let path = fields.path(kind);
            return Err(ApiError::new(ErrorCode::UnsupportedParameter)
                .message(format!(
                    "`{path}` is not supported: the models here read text, and this server fetches nothing from elsewhere."
                ))
                .param(path));
        }
        _ => return Err(wrong(&type_path, "text")),
    };
    let path = fields.path(field);
    let text = fields.text(field)?.ok_or_else(|| wrong(&path, "a text"))?;
    fields.nothing_left()?;
    Ok(text)
}

#[cfg(test)]
mod tests;
