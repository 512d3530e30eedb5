//! The audit log, for who may read it. Reading it is on record too.

use actix_web::HttpResponse;
use actix_web::web::{Data, Query};
use serde::Deserialize;

use crate::access::Grant;
use crate::access::authenticate::{audit_error, db_error};
use crate::access::permission::ReadAudit;
use crate::accounts::Accounts;
use crate::audit::{Action, AuditError, AuditLog, Event, Filter, Outcome, Record};
use crate::ids::UserId;
use crate::web::{ApiError, ErrorCode};

/// Which events to show.
#[derive(Deserialize)]
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
) -> Result<HttpResponse, ApiError> {
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
    let events: Vec<_> = records.iter().map(|record| view(record, &accounts)).collect();
    Ok(HttpResponse::Ok().json(serde_json::json!({ "events": events })))
}

/// Verifies the whole log.
pub(crate) async fn verify(
    grant: Grant<ReadAudit>,
    log: Data<AuditLog>,
) -> Result<HttpResponse, ApiError> {
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
    Ok(HttpResponse::Ok().json(found))
}

fn view(record: &Record, accounts: &Accounts) -> serde_json::Value {
    let person = record.actor.split('/').next().and_then(|id| UserId::parse(id).ok());
    serde_json::json!({
        "seq": record.seq,
        "at": record.at,
        "action": record.action,
        "outcome": record.outcome,
        "actor": record.actor,
        "actor_name": person.and_then(|user| accounts.username(user)),
        "subject": record.subject,
        "address": record.field("address"),
        "request_id": record.request,
        "detail": record.field("detail"),
    })
}
