//! The audit log, for who may read it. Reading it is on record too.

use actix_web::web::{Data, Query};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::Grant;
use crate::access::authenticate::{audit_error, db_error};
use crate::access::permission::ReadAudit;
use crate::accounts::Accounts;
use crate::audit::{Action, AuditError, AuditLog, Event, Filter, Outcome, Record, Verification};
use crate::clock::Timestamp;
use crate::ids::UserId;
use crate::web::{Answer, ApiError, ErrorCode};

/// Which events to show.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    before: Option<u64>,
    actor: Option<String>,
    action: Option<String>,
    subject: Option<String>,
    limit: Option<u32>,
}

/// The newest events.
pub(crate) async fn list(
    grant: Grant<ReadAudit>,
    query: Query<ListQuery>,
    log: Data<AuditLog>,
    accounts: Data<Accounts>,
) -> Result<Answer<Events>, ApiError> {
    let ListQuery { before, actor, action, subject, limit } = query.into_inner();
    let action = match action {
        None => None,
        Some(name) => Some(
            Action::ALL
                .iter()
                .copied()
                .find(|one| one.name() == name)
                .ok_or_else(|| ApiError::new(ErrorCode::InvalidValue).param("action"))?,
        ),
    };
    let caller = grant.caller();
    let event = Event::new(Action::AuditRead, Outcome::Done, caller.actor())
        .from_request(caller.address, caller.request);
    log.record(event).await.map_err(|error| audit_error(&error))?;
    let filter =
        Filter { before, actor, action, subject, since: None, limit: limit.unwrap_or(100) };
    let records = log.page(filter).await.map_err(|error| audit_error(&error))?;
    let events = records.into_iter().map(|record| view(record, &accounts)).collect();
    Ok(Answer::new(&Events { events }))
}

/// Events, the newest first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Events {
    events: Vec<EventJson>,
}

#[derive(Serialize, JsonSchema)]
struct EventJson {
    seq: u64,
    at: Timestamp,
    action: String,
    outcome: String,
    /// Who did it: a person's id, with the key's after a slash where a program did it; or `system`,
    /// `console`, `anonymous`.
    actor: String,
    /// The person's name, as long as they are there.
    actor_name: Option<String>,
    subject: Option<String>,
    address: Value,
    request_id: Option<String>,
    /// What else is known; each action has its own.
    detail: Value,
}

/// Verifies the whole log.
pub(crate) async fn verify(
    grant: Grant<ReadAudit>,
    log: Data<AuditLog>,
) -> Result<Answer<Verification>, ApiError> {
    let found = log.verify().await.map_err(|error| match error {
        AuditError::Db(error) => db_error(&error),
        other => audit_error(&other),
    })?;
    let caller = grant.caller();
    let outcome = if found.ok { Outcome::Done } else { Outcome::Failed };
    let event = Event::new(Action::AuditVerify, outcome, caller.actor())
        .from_request(caller.address, caller.request)
        .with("size", found.size)
        .with("root", found.root.clone());
    log.record(event).await.map_err(|error| audit_error(&error))?;
    Ok(Answer::new(&found))
}

fn view(record: Record, accounts: &Accounts) -> EventJson {
    let person = record.actor.split('/').next().and_then(|id| UserId::parse(id).ok());
    EventJson {
        actor_name: person.and_then(|user| accounts.username(user)),
        address: record.field("address"),
        detail: record.field("detail"),
        seq: record.seq,
        at: record.at,
        action: record.action,
        outcome: record.outcome,
        actor: record.actor,
        subject: record.subject,
        request_id: record.request,
    }
}
