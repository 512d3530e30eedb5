//! What may go wrong at an address, by status: from the table of error codes and that of the refusals on
//! the road.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use tracing::subscriber::{NoSubscriber, with_default};

use super::headers;
use super::operations::{Gives, Operation, Who};
use super::requests::{Table, shape};
use crate::gate::examples;
use crate::web::{ErrorCode, anthropic};

/// May be answered anywhere.
const EVERYWHERE: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::WrongHost,
    ErrorCode::RequestTimeout,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::Busy,
    ErrorCode::Internal,
];
/// May be answered where a key is asked for.
const WITH_KEY: &[ErrorCode] = &[
    ErrorCode::InvalidApiKey,
    ErrorCode::PermissionDenied,
    ErrorCode::Sealed,
    ErrorCode::AuditUnavailable,
    ErrorCode::StorageFull,
];
/// May be answered to a body.
const WITH_BODY: &[ErrorCode] = &[
    ErrorCode::InvalidJson,
    ErrorCode::InvalidValue,
    ErrorCode::UnknownParameter,
    ErrorCode::UnsupportedParameter,
    ErrorCode::PayloadTooLarge,
];
/// May be answered to a request with an `Idempotency-Key`, of which whatever there is of a body is read.
const WITH_NAME: &[ErrorCode] = &[
    ErrorCode::InvalidValue,
    ErrorCode::UnsupportedParameter,
    ErrorCode::IdempotencyKeyReused,
    ErrorCode::IdempotencyInProgress,
    ErrorCode::PayloadTooLarge,
];

/// Whose clients are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clients {
    OpenAi,
    Anthropic,
}

impl Clients {
    /// Those of an address.
    fn of(operation: &Operation) -> &'static [Self] {
        match (operation.gives, operation.takes) {
            (Gives::JsonByClient(..), _) => &[Self::OpenAi, Self::Anthropic],
            (_, Some(Table::Messages | Table::CountTokens)) => &[Self::Anthropic],
            _ => &[Self::OpenAi],
        }
    }

    fn status(self, code: ErrorCode) -> u16 {
        match self {
            Self::OpenAi => code.status().as_u16(),
            Self::Anthropic => anthropic::family(code).0,
        }
    }

    /// The shape of an error with one of these codes.
    fn shape(self, codes: &[ErrorCode]) -> Value {
        let (name, path) = match self {
            Self::OpenAi => ("Error", ["error", "code"].as_slice()),
            Self::Anthropic => ("MessageError", ["error", "details", "error_code"].as_slice()),
        };
        // One name may stand for two things.
        let names: BTreeSet<&str> = codes.iter().map(|code| code.name()).collect();
        let within = |inside, name: &&str| json!({ "properties": { *name: inside } });
        let code = path.iter().rev().fold(json!({ "enum": names }), within);
        json!({ "allOf": [shape(name), code] })
    }
}

/// Every code that may be answered, in the order of the table.
fn codes(operation: &Operation) -> Vec<ErrorCode> {
    let mut may = EVERYWHERE.to_vec();
    if operation.who == Who::Key {
        may.extend(WITH_KEY);
    }
    if operation.takes.is_some() {
        may.extend(WITH_BODY);
    }
    if operation.is_answered_once() {
        may.extend(WITH_NAME);
    }
    if operation.is_road {
        may.extend(of_the_road());
    }
    may.extend(operation.refusals);
    ErrorCode::ALL.iter().filter(|code| may.contains(code)).copied().collect()
}

/// What the road refuses. What becomes an answer logs its cause on the way; these happen to nobody.
fn of_the_road() -> Vec<ErrorCode> {
    let refusals = with_default(NoSubscriber::default(), examples::refusals);
    refusals.iter().map(|(_, error)| error.code()).collect()
}

/// The answers to what goes wrong, by status.
pub(super) fn answers(operation: &Operation) -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<(Clients, Vec<ErrorCode>)>> = BTreeMap::new();
    for clients in Clients::of(operation) {
        for code in codes(operation) {
            let told = by_status.entry(clients.status(code)).or_default();
            match told.last_mut() {
                Some((last, codes)) if last == clients => codes.push(code),
                _ => told.push((*clients, vec![code])),
            }
        }
    }
    let each = by_status.into_iter();
    each.map(|(status, told)| (status.to_string(), answer(operation, status, &told))).collect()
}

fn answer(operation: &Operation, status: u16, told: &[(Clients, Vec<ErrorCode>)]) -> Value {
    let mut codes: Vec<ErrorCode> = Vec::new();
    for code in told.iter().flat_map(|(_, codes)| codes) {
        if !codes.contains(code) {
            codes.push(*code);
        }
    }
    let says: Vec<String> = codes.iter().map(|code| said(operation, *code)).collect();
    let mut shapes: Vec<Value> = told.iter().map(|(clients, codes)| clients.shape(codes)).collect();
    if status == 503 && matches!(operation.gives, Gives::Readiness) {
        shapes.insert(0, shape("Readiness"));
    }
    let schema = match shapes.pop() {
        Some(one) if shapes.is_empty() => one,
        last => {
            shapes.extend(last);
            json!({ "anyOf": shapes })
        }
    };
    let waits = codes.iter().any(|code| code.wait().is_some() || !code.asks_again());
    json!({
        "description": says.join(" "),
        "headers": headers::of(operation, status, waits || status == 429),
        "content": { "application/json": { "schema": schema } },
    })
}

/// What a code says here.
fn said(operation: &Operation, code: ErrorCode) -> String {
    let coded = "A body is not taken in a coding (`content-encoding`).";
    let default = code.default_message();
    let says = match code {
        ErrorCode::UnsupportedMediaType if operation.takes.is_none() => coded.to_owned(),
        ErrorCode::UnsupportedMediaType => format!("{default} {coded}"),
        ErrorCode::BudgetExhausted => format!("{default} The message says whose."),
        _ => default.to_owned(),
    };
    format!("`{}`: {says}", code.name())
}
