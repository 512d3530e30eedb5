//! The bodies of `/v1/tokenize` and `/v1/detokenize` become requests to the gate. Clients of vLLM and
//! of llama.cpp name the same things differently; both ways are taken.

use serde_json::Value;

use super::fields::{Fields, wrong};
use super::text_parameters::{self, DETOKENIZE, TOKENIZE};
use super::{chat_request, common, template_arguments, tools};
use crate::engine::tokenizer::Special;
use crate::engine::{Conversation, Reading};
use crate::gate::{ReadAsk, Spell, TokenInput};
use crate::web::{ApiError, ErrorCode};

/// What is told of tokens beside their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// Their names, in a list beside them, as vLLM does.
    pub(super) names: bool,
    /// What they stand for, in their place, as llama.cpp does.
    pub(super) pieces: bool,
}

/// Reads the body of `/v1/tokenize`.
pub(super) fn tokenize(mut fields: Fields) -> Result<(ReadAsk, Shown), ApiError> {
    text_parameters::check(&mut fields, TOKENIZE)?;
    let shown = Shown {
        names: fields.truth("return_token_strs")?.unwrap_or(false),
        pieces: fields.truth("with_pieces")?.unwrap_or(false),
    };
    let model = common::model(&mut fields)?;
    let input = input(&mut fields)?;
    // Clients write fields that they leave empty: `null` is none.
    if let Some(left) = fields.names().find(|name| fields.peek(name).is_some()) {
        let left = left.to_owned();
        return Err(wrong(&left, "not to stand beside the text that is given"));
    }
    Ok((ReadAsk { model, input, with_pieces: shown.names || shown.pieces }, shown))
}

/// Reads the body of `/v1/detokenize`.
pub(super) fn detokenize(mut fields: Fields) -> Result<Spell, ApiError> {
    text_parameters::check(&mut fields, DETOKENIZE)?;
    let refused = || wrong("tokens", "a list of token numbers");
    let tokens = match fields.take("tokens") {
        None => return Err(missing("tokens")),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_u64().and_then(|token| u32::try_from(token).ok()))
            .collect::<Option<Vec<u32>>>()
            .ok_or_else(refused)?,
        Some(_) => return Err(refused()),
    };
    Ok(Spell { model: common::model(&mut fields)?, tokens })
}

/// Exactly one of `prompt`, `content` and `messages`.
fn input(fields: &mut Fields) -> Result<TokenInput, ApiError> {
    if fields.peek("messages").is_some() {
        return conversation(fields);
    }
    let (text, parameter) = match (fields.text("prompt")?, fields.text("content")?) {
        (Some(_), Some(_)) => return Err(wrong("content", "not to stand beside `prompt`")),
        (Some(text), None) => (text, "prompt"),
        (None, Some(text)) => (text, "content"),
        (None, None) => return Err(missing("prompt")),
    };
    // Where a request leaves it open, each does what the server does whose word for it was used.
    let is_framed = fields.truth("add_special_tokens")?;
    let is_framed = is_framed.or(fields.truth("add_special")?).unwrap_or(parameter == "prompt");
    let special = match fields.truth("parse_special")? {
        Some(true) => Special::Parse,
        Some(false) | None => Special::Plain,
    };
    Ok(TokenInput::Text { text, reading: Reading { is_framed, special }, parameter })
}

fn conversation(fields: &mut Fields) -> Result<TokenInput, ApiError> {
    let conversation = Conversation {
        messages: chat_request::messages(fields)?,
        tools: tools::read(fields)?.offered,
        arguments: template_arguments::read(fields)?,
    };
    let opens_answer = fields.truth("add_generation_prompt")?.unwrap_or(true);
    for name in ["add_special_tokens", "add_special", "parse_special"] {
        if fields.truth(name)?.unwrap_or(false) {
            return Err(wrong(name, "false beside `messages`: the chat template decides"));
        }
    }
    Ok(TokenInput::Conversation { conversation, opens_answer })
}

fn missing(name: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest)
        .message(format!("The parameter `{name}` is missing."))
        .param(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::web::body::parse;

    fn fields(body: &Value) -> Fields {
        parse(body.to_string().as_bytes()).expect("well-formed")
    }

    fn refused(result: Result<(), ApiError>) -> String {
        let error = result.expect_err("refused");
        let body = serde_json::to_value(error.body()).expect("plain");
        body["error"]["param"].as_str().unwrap_or_default().to_owned()
    }

    fn reading(body: &Value) -> (Reading, &'static str) {
        let (ask, _) = tokenize(fields(body)).expect("passes");
        let TokenInput::Text { reading, parameter, .. } = ask.input else { panic!("a text") };
        (reading, parameter)
    }

    #[test]
    fn each_kind_of_client_gets_what_its_own_server_does() {
        let of = |is_framed, special| Reading { is_framed, special };
        for (body, expected) in [
            (json!({"prompt": "a"}), (of(true, Special::Plain), "prompt")),
            (json!({"content": "a"}), (of(false, Special::Plain), "content")),
            (
                json!({"prompt": "a", "add_special_tokens": false}),
                (of(false, Special::Plain), "prompt"),
            ),
            (
                json!({"content": "a", "add_special": true, "parse_special": true}),
                (of(true, Special::Parse), "content"),
            ),
        ] {
            assert_eq!(reading(&body), expected, "{body}");
        }
        let body = json!({"prompt": "", "return_token_strs": true, "model": "m"});
        let (ask, shown) = tokenize(fields(&body)).expect("passes");
        assert_eq!(shown, Shown { names: true, pieces: false });
        assert!(ask.with_pieces && ask.model.as_deref() == Some("m"));
    }

    #[test]
    fn conversations_are_read_as_those_of_the_chat() {
        let messages = json!([{"role": "user", "content": "Hi"}]);
        let body = json!({"messages": messages, "add_generation_prompt": false,
            "add_special_tokens": false, "continue_final_message": false});
        let (ask, shown) = tokenize(fields(&body)).expect("passes");
        assert_eq!(shown, Shown::default());
        let TokenInput::Conversation { conversation, opens_answer } = ask.input else {
            panic!("a conversation")
        };
        assert_eq!((conversation.messages.len(), opens_answer), (1, false));
    }

    #[test]
    fn what_does_not_go_together_is_refused_by_name() {
        let messages = json!([{"role": "user", "content": "Hi"}]);
        let empty = json!({"messages": messages, "prompt": null, "tools": null});
        assert!(tokenize(fields(&empty)).is_ok());
        let empty = json!({"prompt": "a", "messages": null, "add_generation_prompt": null});
        assert!(tokenize(fields(&empty)).is_ok());
        for (body, param) in [
            (json!({}), "prompt"),
            (json!({"prompt": "a", "content": "a"}), "content"),
            (json!({"messages": messages, "prompt": "a"}), "prompt"),
            (json!({"messages": messages, "add_special_tokens": true}), "add_special_tokens"),
            (json!({"messages": messages, "parse_special": true}), "parse_special"),
            (
                json!({"messages": messages, "continue_final_message": true}),
                "continue_final_message",
            ),
            (json!({"prompt": "a", "add_generation_prompt": true}), "add_generation_prompt"),
            (json!({"prompt": ["a"]}), "prompt"),
            (json!({"prompt": "a", "parse_special": 1}), "parse_special"),
            (json!({"prompt": "a", "colour": 1}), "colour"),
            (json!({"messages": []}), "messages"),
        ] {
            assert_eq!(refused(tokenize(fields(&body)).map(drop)), param, "{body}");
        }
        for (body, param) in [
            (json!({}), "tokens"),
            (json!({"tokens": "1"}), "tokens"),
            (json!({"tokens": [-1]}), "tokens"),
            (json!({"tokens": [1.5]}), "tokens"),
            (json!({"tokens": [4_294_967_296_u64]}), "tokens"),
            (json!({"tokens": [1], "colour": 1}), "colour"),
        ] {
            assert_eq!(refused(detokenize(fields(&body)).map(drop)), param, "{body}");
        }
        assert!(detokenize(fields(&json!({"tokens": []}))).expect("passes").tokens.is_empty());
    }
}
