//! The guard's policy, and trying texts against it. A tried text is neither kept nor logged: the
//! record has its length and what was found.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Grant;
use crate::access::authenticate::audit_error;
use crate::access::permission::ReadGuard;
use crate::audit::{Action, AuditLog, Event, Outcome};
use crate::gate::Gate;
use crate::guard::{Category, Direction};
use crate::web::{ApiError, Body, ErrorCode};

/// Bytes of a text that is tried.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// A text to try.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestBody {
    text: String,
    direction: Direction,
}

/// The policy in force and the detectors.
pub(crate) async fn show(_: Grant<ReadGuard>, gate: Data<Gate>) -> HttpResponse {
    let guard = gate.guard();
    let policy = guard.policy();
    let categories: Vec<Value> = Category::all()
        .map(|category| {
            json!({
                "category": category.name(),
                "input": policy.action(Direction::Input, category).name(),
                "output": policy.action(Direction::Output, category).name(),
            })
        })
        .collect();
    let detectors: Vec<Value> = guard
        .detectors()
        .map(|(name, categories)| json!({ "name": name, "categories": categories }))
        .collect();
    HttpResponse::Ok().json(json!({
        "policy": { "limits": policy.limits(), "categories": categories,
            "denied_phrases": policy.denied().len(), "injection_phrases": policy.injection().len() },
        "detectors": detectors,
    }))
}

/// What the guard would do to a text.
pub(crate) async fn test(
    grant: Grant<ReadGuard>,
    body: Body<TestBody>,
    gate: Data<Gate>,
    log: Data<AuditLog>,
) -> Result<HttpResponse, ApiError> {
    let Body(TestBody { text, direction }) = body;
    if text.len() > TEXT_BYTES_MAX {
        return Err(ApiError::new(ErrorCode::InvalidValue)
            .message(format!("The text is longer than {TEXT_BYTES_MAX} bytes."))
            .param("text"));
    }
    let verdict = gate.guard().inspect(&[&text], direction);
    let caller = grant.caller();
    let event = Event::new(Action::GuardTest, Outcome::Done, caller.actor())
        .from_request(caller.address, caller.request)
        .with("bytes", text.len())
        .with("action", verdict.action.name())
        .with("findings", verdict.findings.len());
    log.record(event).await.map_err(|error| audit_error(&error))?;
    let findings: Vec<Value> = verdict
        .findings
        .iter()
        .map(|(_, action, one)| {
            json!({
                "detector": one.detector, "category": one.category.name(), "score": one.score,
                "action": action.name(), "start": one.span.start, "end": one.span.end,
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({
        "action": verdict.action.name(),
        "findings": findings,
        "text": verdict.texts.and_then(|texts| texts.into_iter().next()).unwrap_or(text),
    })))
}
