//! What stands in the heads of answers.

use serde_json::{Map, Value, json};

use super::operations::{Operation, Who};
use crate::gate::standing::Dialect;

/// By which the log knows a request.
const REQUEST_ID: &str = "x-request-id";
const REPLAYED: &str = "idempotency-replayed";
/// What tells clients whether and when to ask again.
const WAITS: [&str; 3] = ["retry-after", "retry-after-ms", "x-should-retry"];

/// Every header by its name.
pub(super) fn all() -> Map<String, Value> {
    let text = json!({ "type": "string" });
    let mut all = Map::new();
    for (name, about) in [
        (WAITS[0], "Seconds until the same may be asked again."),
        (WAITS[1], "The same in milliseconds."),
        (WAITS[2], "`false`, where asking again by itself does not help a client."),
        (REPLAYED, "`true`, where the answer was given before to the same `Idempotency-Key`."),
    ] {
        all.insert(name.to_owned(), json!({ "description": about, "schema": text }));
    }
    for name in Dialect::Anthropic.names() {
        let about = "Where the caller stands against the limit that is nearest; absent where there is none.";
        all.insert(name.to_owned(), json!({ "description": about, "schema": text }));
    }
    let about = "The number of the request, by which the log knows it.";
    all.insert(
        REQUEST_ID.to_owned(),
        json!({ "description": about, "required": true, "schema": text }),
    );
    all
}

/// Those of an answer of this status. `waits`: it may tell when to come back.
pub(super) fn of(operation: &Operation, status: u16, waits: bool) -> Map<String, Value> {
    let mut names = vec![REQUEST_ID];
    if waits {
        names.extend(WAITS);
    }
    // Of refusals, those are kept that would be the same another time.
    if operation.is_answered_once() && [200, 400].contains(&status) {
        names.push(REPLAYED);
    }
    if operation.who == Who::Key && [200, 429].contains(&status) {
        names.extend(Dialect::of(operation.path).names());
    }
    let reference = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    names.into_iter().map(|name| (name.to_owned(), reference(name))).collect()
}
