//! What the gate's errors mean to a client.

use std::time::Duration;

use super::error::GateError;
use super::loaded::ModelKind;
use super::standing::limited;
use crate::web::{ApiError, ErrorCode};

impl From<GateError> for ApiError {
    fn from(error: GateError) -> Self {
        match &error {
            GateError::NotPermitted => ErrorCode::PermissionDenied.into(),
            GateError::ModelNotFound => Self::new(ErrorCode::ModelNotFound).param("model"),
            GateError::ModelNotReady(reason) => Self::new(ErrorCode::ModelNotReady)
                .message(format!("The model does not answer yet. {reason}")),
            GateError::NotServed(reason) => Self::new(ErrorCode::ModelNotReady)
                .message(format!("The model does not answer. {reason}"))
                .for_good(),
            GateError::NoMemory(reason) => Self::new(ErrorCode::ModelMemory).message(reason),
            GateError::Unloaded => Self::new(ErrorCode::ModelNotReady)
                .message("The model was unloaded. Try again."),
            GateError::Limited(refusal) => limited(refusal),
            GateError::PromptTooLong { parameter, tokens, context } => {
                Self::new(ErrorCode::ContextLengthExceeded)
                    .message(format!(
                        // Clients know this refusal by OpenAI's words for it.
                        "This model's maximum context length is {context} tokens, and the prompt has {tokens}, which leaves no room for an answer. Shorten the prompt."
                    ))
                    .param_of(*parameter)
            }
            GateError::WrongKind(kind) => Self::new(ErrorCode::InvalidValue)
                .message(match kind {
                    ModelKind::Chat => "This model answers in words, at /v1/chat/completions and /v1/completions. It makes no embeddings and does not rank texts.",
                    ModelKind::Embedding => "This model makes embeddings, at /v1/embeddings, and does not answer in words.",
                    ModelKind::Reranker => "This model ranks texts by a query, at /v1/rerank. It neither answers in words nor makes embeddings.",
                })
                .param("model"),
            GateError::TextTooLong { parameter, place, tokens, tokens_max } => {
                Self::new(ErrorCode::ContextLengthExceeded)
                    .message(format!(
                        "Text {place} of `{parameter}` has {tokens} tokens, and the model takes {tokens_max} at once. Shorten it, or set `truncate` to true to have its end left out."
                    ))
                    .param(*parameter)
            }
            GateError::EmptyPrompt { parameter } => Self::new(ErrorCode::InvalidValue)
                .message("The prompt is empty.")
                .param_of(*parameter),
            GateError::UnknownToken => Self::new(ErrorCode::InvalidValue)
                .message("A token number is not in the model's vocabulary.")
                .param("prompt"),
            GateError::OutOfRange { parameter, expected } => Self::new(ErrorCode::InvalidValue)
                .message(format!("`{parameter}` is out of range: expected {expected}."))
                .param(*parameter),
            GateError::Grammar { parameter, reason } => Self::new(ErrorCode::InvalidValue)
                .message(format!("The answer cannot be held to `{parameter}`: {reason}."))
                .param(*parameter),
            GateError::Template => Self::new(ErrorCode::InvalidValue)
                .message("The model's chat template does not take these messages: most want user and assistant in turn.")
                .param("messages"),
            GateError::Refused { categories } => Self::new(ErrorCode::ContentPolicy)
                .message(format!("The guard refused this text ({}).", categories.join(", "))),
            GateError::NotRecorded => ErrorCode::AuditUnavailable.into(),
            GateError::Busy => ErrorCode::Busy.into(),
            GateError::Waited => Self::new(ErrorCode::Busy)
                .message("The request waited too long for its turn. Try again when fewer are waiting.")
                .retry_after(Duration::from_secs(10)),
            GateError::TimeLimit => ErrorCode::TimeLimit.into(),
            GateError::ShuttingDown => ErrorCode::ShuttingDown.into(),
            GateError::Revoked => Self::new(ErrorCode::PermissionDenied)
                .message("Your access was withdrawn while the answer was being written."),
            GateError::Engine(_) => Self::new(ErrorCode::Internal).because(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{House, Scripted, Then, caller, request};
    use super::super::{ExchangeRequest, Input, ReadAsk, TokenInput};
    use super::*;
    use crate::engine::tokenizer::Special;
    use crate::engine::{Message, Reading, Role};

    fn said(text: &str) -> Input {
        Input::Conversation(vec![Message::new(Role::User, text)].into())
    }

    #[tokio::test]
    async fn what_does_not_fit_is_told_by_the_parameter_that_has_it() {
        let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
        let (long, far) = ("a".repeat(300), "a".repeat(1_000_000));
        for (input, expected) in [
            (Input::Text(long.clone()), "prompt"),
            (Input::Text(far.clone()), "prompt"),
            (Input::Text(String::new()), "prompt"),
            (Input::Tokens(vec![72; 300]), "prompt"),
            (Input::Tokens(Vec::new()), "prompt"),
            (said(&long), "messages"),
            (said(&far), "messages"),
        ] {
            let asked = ExchangeRequest { input, ..request("") };
            let error = house.gate.run(&caller(), asked).await.expect_err("does not fit");
            assert_eq!(ApiError::from(error).at_fault(), Some(expected));
        }
        let reading = Reading { is_framed: true, special: Special::Plain };
        let many = "a".repeat(40_000);
        for parameter in ["prompt", "content", "messages"] {
            let input = match (parameter, said(&many)) {
                ("messages", Input::Conversation(conversation)) => {
                    TokenInput::Conversation { conversation, opens_answer: false }
                }
                _ => TokenInput::Text { text: many.clone(), reading, parameter },
            };
            let asked = ReadAsk { model: None, input, with_pieces: true };
            let error = house.gate.read_tokens(&caller(), asked).await.expect_err("too many");
            assert_eq!(ApiError::from(error).at_fault(), Some(parameter));
        }
    }

    #[test]
    fn what_waiting_does_not_change_is_not_asked_for_again() {
        let wait = |why: GateError| {
            let error = ApiError::from(why);
            (error.asks_again(), error.wait().map(|wait| wait.as_secs()))
        };
        assert_eq!(wait(GateError::ModelNotReady(String::new())), (true, Some(2)));
        assert_eq!(wait(GateError::NotServed(String::new())), (false, None));
        assert_eq!(wait(GateError::TimeLimit), (false, None));
        assert_eq!(wait(GateError::NotRecorded), (false, Some(60)));
        assert_eq!(wait(GateError::Waited), (true, Some(10)));
    }
}
