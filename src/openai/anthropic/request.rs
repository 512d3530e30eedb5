//! The bodies of `/v1/messages` and `/v1/messages/count_tokens` become requests to the gate.

use serde_json::{Map, Value};

use super::parameters::{self, Asked};
use super::{messages, tools};
use crate::engine::{Conversation, Grammar, ToolRules};
use crate::gate::{ExchangeRequest, HeldTo, Input, Purpose, ReadAsk, TokenInput};
use crate::openai::fields::{Fields, wrong};
use crate::openai::{common, template_arguments};
use crate::web::{ApiError, ErrorCode};

const FORMAT: &str = "output_config.format";
/// The least that is published for it.
const BUDGET_MIN: i64 = 1024;

/// How an answer is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) is_streamed: bool,
    /// The texts that end it.
    pub(super) stops: Vec<String>,
    /// Whether it is told only that the model thinks, and not what.
    pub(super) hides_thinking: bool,
}

/// Reads the body of `/v1/messages`.
pub(super) fn message(mut fields: Fields) -> Result<(ExchangeRequest, Manner), ApiError> {
    parameters::check(&mut fields, Asked::Message)?;
    let Some(max_tokens) = common::tokens_max(&mut fields, "max_tokens")? else {
        return Err(ApiError::new(ErrorCode::InvalidRequest)
            .message("The parameter `max_tokens` is missing.")
            .param("max_tokens"));
    };
    let told = told(&mut fields)?;
    let stops = common::stop(&mut fields, "stop_sequences")?;
    let manner = Manner {
        is_streamed: fields.truth("stream")?.unwrap_or(false),
        stops: stops.clone(),
        hides_thinking: told.hides_thinking,
    };
    let request = ExchangeRequest {
        purpose: Purpose::Api,
        model: common::model(&mut fields)?,
        input: Input::Conversation(told.conversation),
        tools: told.rules,
        takes_apart: true,
        max_tokens: Some(max_tokens),
        choices: 1,
        echoes: false,
        sampling: common::sampling(&mut fields)?,
        held_to: told.held_to,
        drops_oldest: false,
        stop: stops,
        logprobs: None,
    };
    Ok((request, manner))
}

/// Reads the body of `/v1/messages/count_tokens`.
pub(super) fn count(mut fields: Fields) -> Result<ReadAsk, ApiError> {
    parameters::check(&mut fields, Asked::Count)?;
    let conversation = told(&mut fields)?.conversation;
    let input = TokenInput::Conversation { conversation, opens_answer: true };
    Ok(ReadAsk { model: common::model(&mut fields)?, input, with_pieces: false })
}

/// Whether a body is read.
#[cfg(test)]
pub(in crate::openai) fn check(asked: Asked, fields: Fields) -> Result<(), ApiError> {
    match asked {
        Asked::Message => message(fields).map(drop),
        Asked::Count => count(fields).map(drop),
    }
}

/// What the model is told, and what binds it.
struct Told {
    conversation: Conversation,
    rules: Option<ToolRules>,
    held_to: Option<HeldTo>,
    hides_thinking: bool,
}

fn told(fields: &mut Fields) -> Result<Told, ApiError> {
    let tools = tools::read(fields)?;
    let messages = messages::read(fields)?;
    let mut arguments = Map::new();
    let hides_thinking = thinking(fields, &mut arguments)?;
    let held_to = output_config(fields, &mut arguments)?;
    let conversation = Conversation { messages, tools: tools.offered, arguments };
    Ok(Told { conversation, rules: tools.rules, held_to, hides_thinking })
}

/// Reads `thinking`; gives whether what the model thinks is not told. Where it is left out, the model
/// does what it does by itself.
fn thinking(fields: &mut Fields, arguments: &mut Map<String, Value>) -> Result<bool, ApiError> {
    let Some(value) = fields.take("thinking") else { return Ok(false) };
    let mut thinking = Fields::nested("thinking".into(), value)?;
    let kind = thinking.text("type")?;
    let thinks = match kind.as_deref() {
        Some("enabled") => {
            let budget = thinking.whole("budget_tokens", BUDGET_MIN..=i64::from(u32::MAX))?;
            budget.ok_or_else(|| wrong("thinking.budget_tokens", "a whole number from 1024"))?;
            true
        }
        Some("adaptive") => true,
        Some("disabled") => false,
        _ => return Err(wrong("thinking.type", "`enabled`, `adaptive` or `disabled`")),
    };
    template_arguments::switch_thinking(arguments, thinks);
    let display = if thinks { thinking.text("display")? } else { None };
    thinking.nothing_left()?;
    match display.as_deref() {
        None | Some("summarized") => Ok(false),
        Some("omitted") => Ok(true),
        Some(_) => Err(wrong("thinking.display", "`summarized` or `omitted`")),
    }
}

/// Reads `output_config`: the form of the answer, and the effort, by the name that templates have for it.
fn output_config(
    fields: &mut Fields,
    arguments: &mut Map<String, Value>,
) -> Result<Option<HeldTo>, ApiError> {
    let Some(value) = fields.take("output_config") else { return Ok(None) };
    let mut config = Fields::nested("output_config".into(), value)?;
    if let Some(effort) = config.text("effort")? {
        // Templates know three.
        let effort = match effort.as_str() {
            "low" | "medium" | "high" => effort,
            "xhigh" | "max" => "high".to_owned(),
            _ => {
                let expected = "`low`, `medium`, `high`, `xhigh` or `max`";
                return Err(wrong("output_config.effort", expected));
            }
        };
        arguments.insert("reasoning_effort".into(), effort.into());
    }
    let format = config.take("format");
    config.nothing_left()?;
    let Some(format) = format else { return Ok(None) };
    let mut format = Fields::nested(FORMAT.into(), format)?;
    if format.text("type")?.as_deref() != Some("json_schema") {
        return Err(wrong("output_config.format.type", "`json_schema`"));
    }
    let schema = match format.take("schema") {
        Some(schema @ Value::Object(_)) => Grammar::JsonSchema(schema),
        _ => return Err(wrong("output_config.format.schema", "a JSON schema: an object")),
    };
    format.nothing_left()?;
    Ok(Some(HeldTo { grammar: schema, parameter: FORMAT }))
}
