//! Callers and requests for the tests of the gate and of the rooms above it.

use super::request::{ExchangeRequest, Input, Purpose};
use crate::access::permission::BuiltinRole;
use crate::access::{Caller, KeyContext, Via};
use crate::engine::Sampling;
use crate::ids::{KeyId, RequestId, SessionId, UserId};

/// A member in a browser.
pub(crate) fn caller() -> Caller {
    Caller {
        user: UserId::new(),
        username: "ann".into(),
        roles: vec!["member".into()],
        permissions: BuiltinRole::Member.permissions(),
        via: Via::Session(SessionId::new()),
        address: None,
        request: RequestId::new(),
    }
}

/// A member's program.
pub(crate) fn caller_with_key(id: KeyId, models: Option<Vec<String>>) -> Caller {
    Caller { via: Via::Key(KeyContext { id, models }), ..caller() }
}

/// A request for plain text.
pub(crate) fn request(prompt: &str) -> ExchangeRequest {
    ExchangeRequest {
        purpose: Purpose::Api,
        model: None,
        input: Input::Text(prompt.to_owned()),
        max_tokens: Some(8),
        sampling: Sampling::default(),
        stop: Vec::new(),
        logprobs: None,
    }
}
