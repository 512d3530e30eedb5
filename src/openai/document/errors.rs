//! What may go wrong at an address, by status: from the table of error codes and that of the refusals on
//! the road.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use tracing::subscriber::{NoSubscriber, with_default};

use super::operations::{Gives, Operation, Who};
use super::requests::{Table, shape};
use crate::gate::examples;
use crate::web::{ErrorCode, anthropic};

/// May be answered anywhere.
const EVERYWHERE: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::WrongHost,
    ErrorCode::RequestTimeout,
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
    ErrorCode::UnsupportedMediaType,
];

/// Every code that may be answered, in the order of the table.
fn codes(operation: &Operation) -> Vec<ErrorCode> {
    let mut may = EVERYWHERE.to_vec();
    if operation.who == Who::Key {
        may.extend(WITH_KEY);
    }
    if operation.takes.is_some() {
        may.extend(WITH_BODY);
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
    let is_theirs = matches!(operation.takes, Some(Table::Messages | Table::CountTokens));
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in codes(operation) {
        let status = if is_theirs { anthropic::family(code).0 } else { code.status().as_u16() };
        by_status.entry(status).or_default().push(code);
    }
    let each = by_status.into_iter();
    each.map(|(status, codes)| (status.to_string(), answer(operation, status, &codes, is_theirs)))
        .collect()
}

fn answer(operation: &Operation, status: u16, codes: &[ErrorCode], is_theirs: bool) -> Value {
    let says: Vec<String> =
        codes.iter().map(|code| format!("`{}`: {}", code.name(), code.default_message())).collect();
    // One code may stand for two things.
    let names: BTreeSet<&str> = codes.iter().map(|code| code.name()).collect();
    let (name, path) = if is_theirs {
        ("MessageError", ["error", "details", "error_code"].as_slice())
    } else {
        ("Error", ["error", "code"].as_slice())
    };
    let code = path
        .iter()
        .rev()
        .fold(json!({ "enum": names }), |inside, name| json!({ "properties": { *name: inside } }));
    let mut schema = json!({ "allOf": [shape(name), code] });
    if status == 503 && matches!(operation.gives, Gives::Readiness) {
        schema = json!({ "anyOf": [shape("Readiness"), schema] });
    }
    let mut headers = json!({ "x-request-id": { "$ref": "#/components/headers/x-request-id" } });
    if codes.iter().any(|code| code.wait().is_some()) || status == 429 {
        headers["retry-after"] = json!({ "$ref": "#/components/headers/retry-after" });
    }
    json!({
        "description": says.join(" "),
        "headers": headers,
        "content": { "application/json": { "schema": schema } },
    })
}
