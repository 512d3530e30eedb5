//! One example of every refusal, for the reference, the specification and the tests: a new one that is left out does not
//! compile.

use std::time::Duration;

use super::error::GateError;
use super::loaded::ModelKind;
use crate::engine::EngineError;
use crate::limits::{Refusal, Which, Whose};
use crate::web::ApiError;

/// Stands for a parameter that depends on the request.
const SOME: &str = "…";

/// Every refusal by its name in audit and metrics, and as clients see it.
pub(crate) fn refusals() -> Vec<(&'static str, ApiError)> {
    let chain = std::iter::successors(Some(GateError::NotPermitted), after);
    chain.map(|error| (error.name(), error.into())).collect()
}

fn limited(which: Which, wait_s: Option<u64>) -> GateError {
    GateError::Limited(Refusal {
        which,
        whose: Whose::Person,
        limit: 60,
        retry_after: wait_s.map(Duration::from_secs),
        remaining: 0,
    })
}

/// The example after this one.
fn after(error: &GateError) -> Option<GateError> {
    Some(match error {
        GateError::NotPermitted => GateError::ModelNotFound,
        GateError::ModelNotFound => GateError::ModelNotReady(String::new()),
        GateError::ModelNotReady(_) => GateError::NotServed(String::new()),
        GateError::NotServed(_) => GateError::NoMemory(String::new()),
        GateError::NoMemory(_) => GateError::Unloaded,
        GateError::Unloaded => limited(Which::Requests, Some(12)),
        GateError::Limited(Refusal { retry_after: None, .. }) => {
            GateError::PromptTooLong { parameter: Some("messages"), tokens: 9, context: 8 }
        }
        GateError::Limited(refusal) => match refusal.which {
            Which::Requests => limited(Which::Tokens, Some(12)),
            Which::Tokens => limited(Which::DayRequests, Some(3_600)),
            Which::DayRequests => limited(Which::DayTokens, Some(3_600)),
            Which::DayTokens => limited(Which::MonthRequests, Some(86_400)),
            Which::MonthRequests => limited(Which::MonthTokens, Some(86_400)),
            Which::MonthTokens => limited(Which::Concurrent, Some(1)),
            Which::Concurrent => limited(Which::Tokens, None),
        },
        GateError::PromptTooLong { parameter: Some("messages"), tokens, context } => {
            let (tokens, context) = (*tokens, *context);
            GateError::PromptTooLong { parameter: Some("prompt"), tokens, context }
        }
        GateError::PromptTooLong { .. } => GateError::WrongKind(ModelKind::Embedding),
        GateError::WrongKind(_) => {
            GateError::TextTooLong { parameter: SOME, place: 0, tokens: 9, tokens_max: 8 }
        }
        GateError::TextTooLong { .. } => GateError::EmptyPrompt { parameter: Some("messages") },
        GateError::EmptyPrompt { parameter: Some("messages") } => {
            GateError::EmptyPrompt { parameter: Some("prompt") }
        }
        GateError::EmptyPrompt { .. } => GateError::UnknownToken,
        GateError::UnknownToken => GateError::OutOfRange { parameter: SOME, expected: "" },
        GateError::OutOfRange { .. } => {
            GateError::Grammar { parameter: SOME, reason: String::new() }
        }
        GateError::Grammar { .. } => GateError::Template,
        GateError::Template => GateError::Refused { categories: Vec::new() },
        GateError::Refused { .. } => GateError::NotRecorded,
        GateError::NotRecorded => GateError::Busy,
        GateError::Busy => GateError::Waited,
        GateError::Waited => GateError::TimeLimit,
        GateError::TimeLimit => GateError::ShuttingDown,
        GateError::ShuttingDown => GateError::Revoked,
        GateError::Revoked => GateError::Engine(EngineError::Internal),
        GateError::Engine(_) => return None,
    })
}
