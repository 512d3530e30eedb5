//! The guard's policy, and trying texts against it. A tried text is neither kept nor logged: the
//! record has its length and what was found.

use actix_web::web::Data;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::Grant;
use crate::access::authenticate::audit_error;
use crate::access::permission::ReadGuard;
use crate::audit::{Action, AuditLog, Event, Outcome};
use crate::gate::Gate;
use crate::guard::{Category, Direction, Limits};
use crate::web::{Answer, ApiError, Body, ErrorCode};

/// Bytes of a text that is tried.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// A text to try.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestBody {
    text: String,
    direction: Direction,
}

/// The policy in force and the detectors.
pub(crate) async fn show(_: Grant<ReadGuard>, gate: Data<Gate>) -> Answer<InForce> {
    let guard = gate.guard();
    let policy = guard.policy();
    let categories = Category::all()
        .map(|category| CategoryJson {
            category: category.name(),
            input: policy.action(Direction::Input, category).name(),
            output: policy.action(Direction::Output, category).name(),
        })
        .collect();
    let detectors = guard
        .detectors()
        .map(|(name, categories)| DetectorJson {
            name,
            categories: categories.iter().map(|category| category.name()).collect(),
        })
        .collect();
    let policy = PolicyJson {
        limits: policy.limits(),
        categories,
        denied_phrases: policy.denied().len(),
        injection_phrases: policy.injection().len(),
    };
    Answer::new(&InForce { policy, detectors })
}

/// The policy in force and the detectors.
#[derive(Serialize, JsonSchema)]
pub(crate) struct InForce {
    policy: PolicyJson,
    detectors: Vec<DetectorJson>,
}

#[derive(Serialize, JsonSchema)]
struct PolicyJson {
    limits: Limits,
    categories: Vec<CategoryJson>,
    /// How many there are; which, the file of the policy says.
    denied_phrases: usize,
    injection_phrases: usize,
}

#[derive(Serialize, JsonSchema)]
struct CategoryJson {
    category: &'static str,
    /// `allow`, `flag`, `redact` or `refuse`.
    input: &'static str,
    output: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct DetectorJson {
    name: &'static str,
    categories: Vec<&'static str>,
}

/// What the guard did to a text that was tried.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Tried {
    action: &'static str,
    findings: Vec<FindingJson>,
    /// The text as the model would have got it.
    text: String,
}

#[derive(Serialize, JsonSchema)]
struct FindingJson {
    detector: &'static str,
    category: &'static str,
    score: f32,
    action: &'static str,
    /// Bytes from the start of the text.
    start: usize,
    end: usize,
}

/// What the guard would do to a text.
pub(crate) async fn test(
    grant: Grant<ReadGuard>,
    body: Body<TestBody>,
    gate: Data<Gate>,
    log: Data<AuditLog>,
) -> Result<Answer<Tried>, ApiError> {
    let Body(TestBody { text, direction }) = body;
    if text.len() > TEXT_BYTES_MAX {
        return Err(ApiError::new(ErrorCode::InvalidValue)
            .message(format!("The text is longer than {TEXT_BYTES_MAX} bytes."))
            .param("text"));
    }
    let verdict = gate.guard().inspect(&[&text], 1, direction);
    let caller = grant.caller();
    let event = Event::new(Action::GuardTest, Outcome::Done, caller.actor())
        .from_request(caller.address, caller.request)
        .with("bytes", text.len())
        .with("action", verdict.action.name())
        .with("findings", verdict.findings.len());
    log.record(event).await.map_err(|error| audit_error(&error))?;
    let findings = verdict
        .findings
        .iter()
        .map(|(_, action, one)| FindingJson {
            detector: one.detector,
            category: one.category.name(),
            score: one.score,
            action: action.name(),
            start: one.span.start,
            end: one.span.end,
        })
        .collect();
    Ok(Answer::new(&Tried {
        action: verdict.action.name(),
        findings,
        text: verdict.texts.and_then(|texts| texts.into_iter().next()).unwrap_or(text),
    }))
}
