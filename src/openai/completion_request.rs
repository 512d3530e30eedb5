//! The body of `/v1/completions` becomes a request to the gate.

use serde_json::Value;

use super::common::{self, Delivery};
use super::fields::{Fields, wrong};
use super::held_to;
use super::parameters::{self, Endpoint};
use crate::gate::{ExchangeRequest, Input, PROMPTS_MAX, Purpose};
use crate::web::{ApiError, ErrorCode};

const LOGPROBS_MAX: i64 = 5;
/// What the specification says where no bound is named.
const DEFAULT_TOKENS_MAX: usize = 16;
/// Answers to all prompts of a request together.
const ANSWERS_MAX: usize = 128;

/// Reads the body.
pub(super) fn read(mut fields: Fields) -> Result<(ExchangeRequest, Delivery), ApiError> {
    parameters::check(&mut fields, Endpoint::Completions)?;
    let input = prompt(&mut fields)?;
    let delivery = common::delivery(&mut fields)?;
    let logprobs = fields.whole("logprobs", 0..=LOGPROBS_MAX)?;
    let echoes = fields.truth("echo")?.unwrap_or(false);
    let max_tokens = tokens_max(&mut fields, echoes)?;
    let choices = common::choices(&mut fields)?;
    if input.each().len() * choices > ANSWERS_MAX {
        return Err(wrong("n", "no more than 128 answers to all texts of `prompt` together"));
    }
    let request = ExchangeRequest {
        purpose: Purpose::Api,
        model: common::model(&mut fields)?,
        input,
        tools: None,
        takes_apart: false,
        drops_oldest: false,
        max_tokens: Some(max_tokens.unwrap_or(DEFAULT_TOKENS_MAX)),
        choices,
        echoes,
        sampling: common::sampling(&mut fields)?,
        held_to: held_to::read(&mut fields)?,
        stop: common::stop(&mut fields, "stop")?,
        logprobs: logprobs.and_then(|count| u8::try_from(count).ok()),
    };
    Ok((request, delivery))
}

/// A bound on the answer. A prompt that is sent back may have none at all.
fn tokens_max(fields: &mut Fields, echoes: bool) -> Result<Option<usize>, ApiError> {
    match fields.peek("max_tokens").and_then(Value::as_u64) {
        Some(0) if echoes => {
            fields.take("max_tokens");
            Ok(Some(0))
        }
        _ => common::tokens_max(fields, "max_tokens"),
    }
}

fn prompt(fields: &mut Fields) -> Result<Input, ApiError> {
    let refused = || {
        wrong(
            "prompt",
            "a text, a list of token numbers, or 1 to 32 of these; no list of them empty",
        )
    };
    match fields.take("prompt") {
        None => Err(ApiError::new(ErrorCode::InvalidRequest)
            .message("The parameter `prompt` is missing.")
            .param("prompt")),
        Some(Value::String(text)) => Ok(Input::Text(text)),
        Some(Value::Array(items)) => list(items).ok_or_else(refused),
        Some(_) => Err(refused()),
    }
}

/// Tokens, or a list of texts and lists of tokens.
fn list(items: Vec<Value>) -> Option<Input> {
    if items.first().is_none_or(Value::is_number) {
        return tokens(&items);
    }
    if items.len() > PROMPTS_MAX {
        return None;
    }
    let one = |item| match item {
        Value::String(text) => Some(Input::Text(text)),
        Value::Array(inner) => tokens(&inner),
        _ => None,
    };
    let mut all: Vec<Input> = items.into_iter().map(one).collect::<Option<_>>()?;
    if all.len() > 1 { Some(Input::Several(all)) } else { all.pop() }
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
    fn several_prompts_come_as_texts_and_as_lists_of_tokens() {
        let request = |change: Value| {
            let mut body = json!({"prompt": ["a", [1, 2], "b"]});
            for (name, value) in change.as_object().expect("an object") {
                body[name] = value.clone();
            }
            request(body)
        };
        let Input::Several(all) = request(json!({})).expect("passes").input else {
            panic!("several")
        };
        assert!(matches!(
            &all[..],
            [Input::Text(a), Input::Tokens(tokens), Input::Text(b)] if a == "a" && b == "b" && *tokens == [1, 2]
        ));
        assert_eq!(request(json!({"n": 42})).expect("126 answers").choices, 42);
        let error = request(json!({"n": 43})).expect_err("129 answers");
        assert_eq!(error.at_fault(), Some("n"));
        let many = |count| request(json!({"prompt": vec!["a"; count]}));
        assert!(many(PROMPTS_MAX).is_ok());
        assert_eq!(many(PROMPTS_MAX + 1).expect_err("too many").at_fault(), Some("prompt"));
    }

    #[test]
    fn a_prompt_that_is_sent_back_needs_no_answer() {
        let asked =
            |echo, bound| request(json!({"prompt": "a", "echo": echo, "max_tokens": bound}));
        let alone = asked(true, json!(0)).expect("passes");
        assert_eq!((alone.echoes, alone.max_tokens), (true, Some(0)));
        assert_eq!(asked(true, json!(null)).expect("passes").max_tokens, Some(16));
        for (echo, bound) in [(false, json!(0)), (true, json!(-1)), (true, json!(0.0))] {
            assert_eq!(asked(echo, bound).expect_err("refused").at_fault(), Some("max_tokens"));
        }
    }

    #[test]
    fn other_prompts_are_refused() {
        for prompt in [
            json!(null),
            json!(1),
            json!({}),
            json!([]),
            json!([[]]),
            json!(["a", 1]),
            json!(["a", []]),
            json!(["a", [["b"]]]),
            json!([1, "a"]),
            json!([-1]),
            json!([1.5]),
            json!([4_294_967_296_u64]),
            json!([[1], [2.5]]),
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
