//! Evaluations over HTTP: list them, start one, read its report.

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, ContentType};
use actix_web::web::{Data, Path};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    CROWS_NAME, Evals, EvalsError, Origin, Results, RunState, RunSummary, StartRequest, report,
};
use crate::access::Grant;
use crate::access::authenticate::audit_error;
use crate::access::permission::{ReadEvals, RunEvals};
use crate::audit::{Action, AuditLog, Event, Outcome};
use crate::ids::RunId;
use crate::web::{ApiError, Body, ErrorCode};

/// Runs that are listed.
const LISTED_MAX: u32 = 100;

/// `GET /api/admin/evaluations`: the newest runs, and what can be run.
pub(crate) async fn list(
    _grant: Grant<ReadEvals>,
    evals: Data<Evals>,
) -> Result<HttpResponse, ApiError> {
    let runs = evals.list(LISTED_MAX).await?;
    let runs: Vec<Value> =
        runs.iter().map(|(run, found)| view(&evals, run, found.as_ref())).collect();
    let title =
        |id: &str| if id == CROWS_NAME { "CrowS-Pairs" } else { "Counterfactual sentences" };
    let suites = evals.suites().await;
    let suites: Vec<Value> =
        suites.into_iter().map(|id| json!({ "id": id, "title": title(id) })).collect();
    Ok(HttpResponse::Ok().json(json!({ "runs": runs, "suites": suites })))
}

/// What to run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRun {
    suite: String,
    model: String,
}

/// `POST /api/admin/evaluations`: starts a run.
pub(crate) async fn start(
    grant: Grant<RunEvals>,
    body: Body<NewRun>,
    evals: Data<Evals>,
) -> Result<HttpResponse, ApiError> {
    let Body(NewRun { suite, model }) = body;
    let request = StartRequest {
        by: Some(grant.caller().clone()),
        ..StartRequest::new(&suite, Some(&model), Origin::Person)
    };
    let id = evals.start(request).await?;
    let (run, found) = evals.find(id).await?;
    Ok(HttpResponse::Accepted().json(json!({ "run": view(&evals, &run, found.as_ref()) })))
}

/// `GET /api/admin/evaluations/{id}/report`: a page that stands alone, with a policy of its own.
pub(crate) async fn read_report(
    grant: Grant<ReadEvals>,
    id: Path<String>,
    evals: Data<Evals>,
    log: Data<AuditLog>,
) -> Result<HttpResponse, ApiError> {
    let id = RunId::parse(&id).map_err(|_| ErrorCode::NotFound)?;
    let (run, found) = evals.find(id).await?;
    let found = found.ok_or(EvalsError::NoResults)?;
    let caller = grant.caller();
    let event = Event::new(Action::EvaluationRead, Outcome::Done, caller.actor())
        .from_request(caller.address, caller.request)
        .subject(id);
    log.record(event).await.map_err(|error| audit_error(&error))?;
    Ok(HttpResponse::Ok()
        .insert_header(ContentType::html())
        .insert_header((CONTENT_SECURITY_POLICY, report::policy()))
        .body(report::html(&run, &found)))
}

fn view(evals: &Evals, run: &RunSummary, found: Option<&Results>) -> Value {
    let mut view = serde_json::to_value(run).unwrap_or_default();
    let progress = evals.progress(run.id).filter(|_| run.state == RunState::Running);
    view["progress"] = json!(progress.map(|(done, total)| format!("{done} of {total}")));
    view["summary"] = json!(found.map(summary).or_else(|| run.reason.clone()));
    view["stereotype_share"] = json!(found.map(|found| found.overall.stereotype_share));
    view["language_score"] = json!(found.map(|found| found.language.score));
    view["combined"] = json!(found.map(|found| found.combined));
    view
}

/// Bias and ability on one line.
fn summary(found: &Results) -> String {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    format!(
        "prefers stereotypes in {} of pairs, language {}",
        percent(found.overall.stereotype_share.value),
        percent(found.language.score.value)
    )
}
