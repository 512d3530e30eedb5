//! The body of `/v1/completions` becomes a request to the gate.

use serde_json::Value;

use super::common::{self, Delivery};
use super::fields::{Fields, wrong};
use super::held_to;
use super::parameters::{self, Endpoint};
use crate::gate::{ExchangeRequest, Input, Purpose};
use crate::web::{ApiError, ErrorCode};

const LOGPROBS_MAX: i64 = 5;
/// What the specification says where no bound is named.
const DEFAULT_TOKENS_MAX: usize = 16;

/// Reads the body.
pub(super) fn read(mut fields: Fields) -> Result<(ExchangeRequest, Delivery), ApiError> {
    parameters::check(&mut fields, Endpoint::Completions)?;
    let input = prompt(&mut fields)?;
    let delivery = common::delivery(&mut fields)?;
    let logprobs = fields.whole("logprobs", 0..=LOGPROBS_MAX)?;
    let max_tokens = common::tokens_max(&mut fields, "max_tokens")?;
    let request = ExchangeRequest {
        purpose: Purpose::Api,
        model: common::model(&mut fields)?,
        input,
        tools: None,
        takes_apart: false,
        drops_oldest: false,
        max_tokens: Some(max_tokens.unwrap_or(DEFAULT_TOKENS_MAX)),
        choices: common::choices(&mut fields)?,
        sampling: common::sampling(&mut fields)?,
        held_to: held_to::read(&mut fields)?,
        stop: common::stop(&mut fields, "stop")?,
        logprobs: logprobs.and_then(|count| u8::try_from(count).ok()),
    };
    Ok((request, delivery))
}

fn prompt(fields: &mut Fields) -> Result<Input, ApiError> {
    let refused = || wrong("prompt", "a text, a list with one text, or a list of token numbers");
    match fields.take("prompt") {
        None => Err(ApiError::new(ErrorCode::InvalidRequest)
            .message("The parameter `prompt` is missing.")
            .param("prompt")),
        Some(Value::String(text)) => Ok(Input::Text(text)),
        Some(Value::Array(items)) => list(items).ok_or_else(refused),
        Some(_) => Err(refused()),
    }
}

/// One text in a list, one list of tokens in a list, or tokens.
fn list(mut items: Vec<Value>) -> Option<Input> {
    if items.len() == 1 && !items[0].is_number() {
        return match items.pop()? {
            Value::String(text) => Some(Input::Text(text)),
            Value::Array(inner) => tokens(&inner),
            _ => None,
        };
    }
    tokens(&items)
}

fn tokens(items: &[Value]) -> Option<Input> {
    let token = |item: &Value| item.as_u64().and_then(|number| u32::try_from(number).ok());
    let tokens: Vec<u32> = items.iter().map(token).collect::<Option<_>>()?;
    (!tokens.is_empty()).then_some(Input::Tokens(tokens))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::web::body::parse;

    fn request(body: Value) -> Result<ExchangeRequest, ApiError> {
        read(parse(body.to_string().as_bytes()).expect("well-formed")).map(|(request, _)| request)
    }

    #[test]
    fn prompts_come_as_text_list_or_tokens() {
        let input = |prompt: Value| request(json!({ "prompt": prompt })).expect("passes").input;
        assert!(matches!(input(json!("a")), Input::Text(text) if text == "a"));
        assert!(matches!(input(json!(["a"])), Input::Text(text) if text == "a"));
        assert!(matches!(input(json!([1, 2])), Input::Tokens(tokens) if tokens == [1, 2]));
        assert!(matches!(input(json!([7])), Input::Tokens(tokens) if tokens == [7]));
        assert!(matches!(input(json!([[1, 2]])), Input::Tokens(tokens) if tokens == [1, 2]));
    }

    #[test]
    fn other_prompts_are_refused() {
        for prompt in [
            json!(null),
            json!(1),
            json!({}),
            json!([]),
            json!([[]]),
            json!(["a", "b"]),
            json!([1, "a"]),
            json!([-1]),
            json!([1.5]),
            json!([4_294_967_296_u64]),
            json!([[1], [2]]),
            json!([null]),
            json!([true]),
        ] {
            let error = request(json!({ "prompt": prompt })).expect_err("refused");
            let body = serde_json::to_value(error.body()).expect("plain");
            assert_eq!(body["error"]["param"], "prompt");
        }
    }

    #[test]
    fn bounds_are_those_of_the_specification() {
        let plain = request(json!({"prompt": "a"})).expect("passes");
        assert_eq!((plain.max_tokens, plain.logprobs), (Some(16), None));
        let zero = request(json!({"prompt": "a", "logprobs": 0})).expect("passes");
        assert_eq!(zero.logprobs, Some(0));
        for change in [json!({"logprobs": 6}), json!({"logprobs": true}), json!({"max_tokens": 0})]
        {
            let mut body = change.clone();
            body["prompt"] = json!("a");
            assert!(request(body).is_err(), "{change}");
        }
    }
}
