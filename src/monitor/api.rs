//! Posture, alerts and numbers over HTTP.

use std::fmt::Write;

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use schemars::JsonSchema;
use serde::Serialize;

use super::posture::{Posture, State};
use super::{Alert, Monitor, Rule};
use crate::access::Grant;
use crate::access::authenticate::{audit_error, db_error};
use crate::access::permission::{ManageAlerts, ReadMetrics, ReadPosture};
use crate::accounts::Accounts;
use crate::audit::{Action, AuditLog, Event, Outcome};
use crate::clock::Timestamp;
use crate::gate::Gate;
use crate::ids::{AlertId, UserId};
use crate::web::{Answer, ApiError, Empty, ErrorCode};

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
) -> Result<Answer<Posture>, ApiError> {
    let caller = grant.caller();
    let event = Event::new(Action::PostureRead, Outcome::Done, caller.actor())
        .from_request(caller.address, caller.request);
    log.record(event).await.map_err(|error| audit_error(&error))?;
    let posture = monitor.posture().await.map_err(|error| db_error(&error))?;
    Ok(Answer::new(&posture))
}

/// `GET /api/admin/overview`: each practice in numbers, and what waits for a person.
pub(crate) async fn overview(
    _grant: Grant<ReadPosture>,
    monitor: Data<Monitor>,
    gate: Data<Gate>,
) -> Result<Answer<Overview>, ApiError> {
    let posture = monitor.posture().await.map_err(|error| db_error(&error))?;
    let open = monitor.alerts.open_count().await.map_err(|error| db_error(&error))?;
    let practices = posture
        .practices
        .iter()
        .map(|one| PracticeJson {
            id: one.id,
            title: one.title,
            state: one.state(),
            met: one.met(),
            count: one.items.len(),
        })
        .collect();
    Ok(Answer::new(&Overview {
        version: env!("CARGO_PKG_VERSION"),
        state: posture.state(),
        practices,
        alerts_open: open,
        is_model_ready: gate.is_ready(),
    }))
}

/// Each practice in numbers, and what waits for a person.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Overview {
    version: &'static str,
    /// The worst of the practices.
    state: State,
    practices: Vec<PracticeJson>,
    alerts_open: u64,
    is_model_ready: bool,
}

#[derive(Serialize, JsonSchema)]
struct PracticeJson {
    id: &'static str,
    title: &'static str,
    /// The worst of its items.
    state: State,
    /// Items that are met.
    met: usize,
    /// Items that were looked at.
    count: usize,
}

/// What the monitor has noticed, the newest first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Alerts {
    alerts: Vec<AlertJson>,
}

#[derive(Serialize, JsonSchema)]
struct AlertJson {
    id: AlertId,
    rule: &'static str,
    severity: &'static str,
    title: String,
    message: String,
    /// A person's id, an address, or `server`.
    source: String,
    at: Timestamp,
    last_at: Timestamp,
    acknowledged_at: Option<Timestamp>,
    /// The person's name.
    acknowledged_by: Option<String>,
}

/// `GET /api/admin/alerts`
pub(crate) async fn alerts(
    _grant: Grant<ReadPosture>,
    monitor: Data<Monitor>,
    accounts: Data<Accounts>,
) -> Result<Answer<Alerts>, ApiError> {
    let alerts = monitor.alerts.list().await.map_err(|error| db_error(&error))?;
    let alerts = alerts.iter().map(|alert| view(alert, &accounts)).collect();
    Ok(Answer::new(&Alerts { alerts }))
}

/// `POST /api/admin/alerts/{id}/acknowledge`
pub(crate) async fn acknowledge(
    grant: Grant<ManageAlerts>,
    id: Path<String>,
    monitor: Data<Monitor>,
) -> Result<Empty, ApiError> {
    let id = AlertId::parse(&id).map_err(|_| ApiError::from(ErrorCode::NotFound))?;
    let was_open = monitor.alerts.acknowledge(grant.caller(), id).await;
    if !was_open.map_err(|error| audit_error(&error))? {
        return Err(ErrorCode::NotFound.into());
    }
    Ok(Empty::empty())
}

fn view(alert: &Alert, accounts: &Accounts) -> AlertJson {
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
        Rule::KeyElsewhere => (
            format!("API key from outside of its networks: {whom}"),
            format!(
                "{seen} refused within a quarter of an hour; the audit log says which key, and from where (key.refuse)"
            ),
        ),
    };
    AlertJson {
        id: alert.id,
        rule: alert.rule.name(),
        severity: alert.rule.severity(),
        title,
        message,
        source: alert.source.clone(),
        at: alert.raised_at,
        last_at: alert.last_at,
        acknowledged_at: alert.acknowledged.map(|(at, _)| at),
        acknowledged_by: alert.acknowledged.and_then(|(_, by)| by).map(name),
    }
}
