//! Posture, alerts and numbers over HTTP.

use std::fmt::Write;

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use serde_json::{Value, json};

use super::{Alert, Monitor, Rule};
use crate::access::Grant;
use crate::access::authenticate::{audit_error, db_error};
use crate::access::permission::{ManageAlerts, ReadMetrics, ReadPosture};
use crate::accounts::Accounts;
use crate::audit::{Action, AuditLog, Event, Outcome};
use crate::gate::Gate;
use crate::ids::{AlertId, UserId};
use crate::web::{ApiError, ErrorCode};

/// `GET /metrics`
pub(crate) async fn metrics(
    _grant: Grant<ReadMetrics>,
    gate: Data<Gate>,
    monitor: Data<Monitor>,
) -> Result<HttpResponse, ApiError> {
    let open = monitor.alerts.open_count().await.map_err(|error| db_error(&error))?;
    let mut text = gate.metrics_text();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "# HELP strongroom_alerts_open Alerts that nobody has acknowledged.\n# TYPE strongroom_alerts_open gauge\nstrongroom_alerts_open {open}"
    );
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}

/// `GET /api/admin/posture`
pub(crate) async fn posture(
    grant: Grant<ReadPosture>,
    monitor: Data<Monitor>,
    log: Data<AuditLog>,
) -> Result<HttpResponse, ApiError> {
    let caller = grant.caller();
    let event = Event::new(Action::PostureRead, Outcome::Done, caller.actor())
        .from_request(caller.address, caller.request);
    log.record(event).await.map_err(|error| audit_error(&error))?;
    let posture = monitor.posture().await.map_err(|error| db_error(&error))?;
    Ok(HttpResponse::Ok().json(posture))
}

/// `GET /api/admin/overview`: each practice in numbers, and what waits for a person.
pub(crate) async fn overview(
    _grant: Grant<ReadPosture>,
    monitor: Data<Monitor>,
    gate: Data<Gate>,
) -> Result<HttpResponse, ApiError> {
    let posture = monitor.posture().await.map_err(|error| db_error(&error))?;
    let open = monitor.alerts.open_count().await.map_err(|error| db_error(&error))?;
    let practices: Vec<Value> = posture
        .practices
        .iter()
        .map(|one| {
            json!({
                "id": one.id, "title": one.title, "state": one.state(),
                "met": one.met(), "count": one.items.len(),
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "state": posture.state(),
        "practices": practices,
        "alerts_open": open,
        "is_model_ready": gate.is_ready(),
    })))
}

/// `GET /api/admin/alerts`
pub(crate) async fn alerts(
    _grant: Grant<ReadPosture>,
    monitor: Data<Monitor>,
    accounts: Data<Accounts>,
) -> Result<HttpResponse, ApiError> {
    let alerts = monitor.alerts.list().await.map_err(|error| db_error(&error))?;
    let views: Vec<Value> = alerts.iter().map(|alert| view(alert, &accounts)).collect();
    Ok(HttpResponse::Ok().json(json!({ "alerts": views })))
}

/// `POST /api/admin/alerts/{id}/acknowledge`
pub(crate) async fn acknowledge(
    grant: Grant<ManageAlerts>,
    id: Path<String>,
    monitor: Data<Monitor>,
) -> Result<HttpResponse, ApiError> {
    let id = AlertId::parse(&id).map_err(|_| ApiError::from(ErrorCode::NotFound))?;
    let was_open = monitor.alerts.acknowledge(grant.caller(), id).await;
    if !was_open.map_err(|error| audit_error(&error))? {
        return Err(ErrorCode::NotFound.into());
    }
    Ok(HttpResponse::NoContent().finish())
}

fn view(alert: &Alert, accounts: &Accounts) -> Value {
    let name = |user: UserId| accounts.username(user).unwrap_or_else(|| user.to_string());
    let whom = match (UserId::parse(&alert.source), alert.source.as_str()) {
        (Ok(user), _) => name(user),
        (Err(_), "server") => "all accounts and addresses together".to_owned(),
        (Err(_), address) => address.to_owned(),
    };
    let seen = alert.seen;
    let (title, message) = match alert.rule {
        Rule::FailedSignIns => {
            (format!("Many failed sign-ins: {whom}"), format!("{seen} within a quarter of an hour"))
        }
        Rule::SuccessAfterFailures => (
            format!("Sign-in after many failed ones: {whom}"),
            format!("{seen} failed within the quarter of an hour before"),
        ),
        Rule::UnusualVolume => {
            (format!("Unusual use: {whom}"), format!("{seen} tokens within one hour"))
        }
    };
    json!({
        "id": alert.id,
        "rule": alert.rule.name(),
        "severity": alert.rule.severity(),
        "title": title,
        "message": message,
        "source": alert.source,
        "at": alert.raised_at,
        "last_at": alert.last_at,
        "acknowledged_at": alert.acknowledged.map(|(at, _)| at),
        "acknowledged_by": alert.acknowledged.and_then(|(_, by)| by).map(name),
    })
}
