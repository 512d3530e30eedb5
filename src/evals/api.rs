//! Evaluations over HTTP: list them, start one, read its report.

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, ContentType};
use actix_web::web::{Data, Path};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bootstrap::Interval;
use super::{
    CROWS_NAME, Evals, EvalsError, Origin, Results, RunState, RunSummary, StartRequest, report,
};
use crate::access::Grant;
use crate::access::authenticate::audit_error;
use crate::access::permission::{ReadEvals, RunEvals};
use crate::audit::{Action, AuditLog, Event, Outcome};
use crate::ids::RunId;
use crate::web::{Answer, ApiError, Body, ErrorCode};

/// Runs that are listed.
const LISTED_MAX: u32 = 100;

/// `GET /api/admin/evaluations`: the newest runs, and what can be run.
pub(crate) async fn list(
    _grant: Grant<ReadEvals>,
    evals: Data<Evals>,
) -> Result<Answer<Runs>, ApiError> {
    let runs = evals.list(LISTED_MAX).await?;
    let runs = runs.into_iter().map(|(run, found)| view(&evals, run, found.as_ref())).collect();
    let title =
        |id: &str| if id == CROWS_NAME { "CrowS-Pairs" } else { "Counterfactual sentences" };
    let suites = evals.suites().await;
    let suites = suites.into_iter().map(|id| SuiteJson { title: title(id), id }).collect();
    Ok(Answer::new(&Runs { runs, suites }))
}

/// The newest runs, and what can be run.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Runs {
    runs: Vec<RunJson>,
    suites: Vec<SuiteJson>,
}

#[derive(Serialize, JsonSchema)]
struct SuiteJson {
    id: &'static str,
    title: &'static str,
}

/// A run that was started.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Started {
    run: RunJson,
}

/// A run and, once it has ended, what it found.
#[derive(Serialize, JsonSchema)]
struct RunJson {
    #[serde(flatten)]
    run: RunSummary,
    /// Such as `12 of 80`, while it runs.
    progress: Option<String>,
    /// Bias and ability in words, or why it failed.
    summary: Option<String>,
    stereotype_share: Option<Interval>,
    language_score: Option<Interval>,
    /// The two in one number from 0 to 100.
    combined: Option<f64>,
}

/// What to run.
#[derive(Debug, Deserialize, JsonSchema)]
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
) -> Result<Answer<Started, 202>, ApiError> {
    let Body(NewRun { suite, model }) = body;
    let request = StartRequest {
        by: Some(grant.caller().clone()),
        ..StartRequest::new(&suite, Some(&model), Origin::Person)
    };
    let id = evals.start(request).await?;
    let (run, found) = evals.find(id).await?;
    Ok(Answer::new(&Started { run: view(&evals, run, found.as_ref()) }))
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

fn view(evals: &Evals, run: RunSummary, found: Option<&Results>) -> RunJson {
    let progress = evals.progress(run.id).filter(|_| run.state == RunState::Running);
    RunJson {
        progress: progress.map(|(done, total)| format!("{done} of {total}")),
        summary: found.map(summary).or_else(|| run.reason.clone()),
        stereotype_share: found.map(|found| found.overall.stereotype_share),
        language_score: found.map(|found| found.language.score),
        combined: found.map(|found| found.combined),
        run,
    }
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
