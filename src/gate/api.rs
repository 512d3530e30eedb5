//! What the gate's errors mean to a client, and the headers of limits.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::Gate;
use super::catalog::Model;
use super::error::GateError;
use super::loaded::ModelKind;
use crate::access::Caller;
use crate::limits::{Meter, Which};
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
            GateError::Limited(refusal) => {
                let code = match refusal.which {
                    Which::Requests => ErrorCode::TooManyRequests,
                    Which::Tokens => ErrorCode::TooManyTokens,
                    Which::DayTokens => ErrorCode::BudgetExhausted,
                    Which::Concurrent => ErrorCode::TooManyConcurrent,
                };
                match refusal.retry_after {
                    Some(wait) => Self::new(code).retry_after(wait),
                    None => Self::new(ErrorCode::RequestExceedsLimit).message(format!(
                        "This request may take more tokens (prompt and longest answer) than your limit of {} allows at all, so waiting does not help. Lower max_tokens or shorten the prompt.",
                        refusal.limit
                    )),
                }
            }
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

impl Gate {
    /// Where the caller stands, with a model that they asked, as `x-ratelimit-…` headers: name and
    /// value.
    pub(crate) fn limit_headers(
        &self,
        caller: &Caller,
        model: Option<&Model>,
    ) -> Vec<(&'static str, String)> {
        let standing = self.standing(caller, model);
        let mut headers = Vec::with_capacity(6);
        let mut add = |names: [&'static str; 3], meter: Meter| {
            if let (Some(limit), Some(remaining)) = (meter.limit, meter.remaining()) {
                headers.push((names[0], limit.to_string()));
                headers.push((names[1], remaining.to_string()));
                headers.push((names[2], span(meter.reset)));
            }
        };
        add(
            [
                "x-ratelimit-limit-requests",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
            ],
            standing.requests,
        );
        add(
            [
                "x-ratelimit-limit-tokens",
                "x-ratelimit-remaining-tokens",
                "x-ratelimit-reset-tokens",
            ],
            standing.tokens,
        );
        headers
    }
}

impl Gate {
    /// What the caller has used of their own limits, for their own page.
    pub(crate) fn usage_view(&self, caller: &Caller) -> UsageJson {
        let usage = self.usage(caller);
        let meter = |meter: Meter| MeterJson { used: meter.used, limit: meter.limit };
        UsageJson {
            tokens_day: meter(usage.tokens_day),
            tokens_minute: meter(usage.tokens_minute),
            requests_day: usage.requests_day,
        }
    }
}

/// What somebody has used of their limits.
#[derive(Serialize, JsonSchema)]
pub(crate) struct UsageJson {
    /// Of this day (UTC), those of running requests reserved.
    tokens_day: MeterJson,
    tokens_minute: MeterJson,
    requests_day: u64,
}

#[derive(Serialize, JsonSchema)]
struct MeterJson {
    used: u64,
    /// `null`: there is none.
    limit: Option<u64>,
}

/// A span of time in the manner of these headers: `6m0s`, `1.5s`, `20ms`.
fn span(duration: Duration) -> String {
    let ms = duration.as_millis();
    let (minutes, rest) = (ms / 60_000, ms % 60_000);
    let seconds = rest as f64 / 1000.0;
    match (minutes, ms) {
        (_, 0..1_000) => format!("{ms}ms"),
        (0, _) => format!("{seconds}s"),
        _ => format!("{minutes}m{seconds}s"),
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

    #[test]
    fn spans_are_written_as_clients_read_them() {
        for (ms, text) in
            [(0, "0ms"), (20, "20ms"), (1_500, "1.5s"), (60_000, "1m0s"), (360_250, "6m0.25s")]
        {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }
}
