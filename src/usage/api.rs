//! Reports of use over HTTP: everybody's for who may read it, and one's own.

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_DISPOSITION;
use actix_web::web::{Data, Query};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Asked, Format, Report, Reports};
use crate::access::permission::ReadUsage;
use crate::access::{Grant, SignedIn};
use crate::web::{Answer, ApiError};

/// `GET /api/admin/usage`: an object, or with `format=csv` a table.
pub(crate) async fn report(
    grant: Grant<ReadUsage>,
    query: Query<Asked>,
    reports: Data<Reports>,
) -> Result<Answer<Report>, ApiError> {
    written(reports.report(&grant, &query).await?)
}

/// What somebody wants to know of their own use.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnAsked {
    /// The first day (UTC), such as `2026-01-31`; where absent, 30 days back.
    from: Option<String>,
    /// The last day; where absent, today.
    to: Option<String>,
    /// `key`, `model`, `kind`, `day`, or several with commas between; where absent, one sum.
    group_by: Option<String>,
    /// `json` (where absent) or `csv`.
    format: Option<String>,
}

/// `GET /api/me/usage`: the same of one's own use.
pub(crate) async fn own(
    signed_in: SignedIn,
    query: Query<OwnAsked>,
    reports: Data<Reports>,
) -> Result<Answer<Report>, ApiError> {
    let OwnAsked { from, to, group_by, format } = query.into_inner();
    let asked = Asked { from, to, group_by, format, ..Asked::default() };
    written(reports.own(&signed_in, &asked).await?)
}

fn written((report, format): (Report, Format)) -> Result<Answer<Report>, ApiError> {
    match format {
        Format::Json => Ok(Answer::new(&report)),
        Format::Csv => {
            let name = format!("attachment; filename=\"usage-{}-{}.csv\"", report.from, report.to);
            let table = HttpResponse::Ok()
                .content_type("text/csv; charset=utf-8")
                .insert_header((CONTENT_DISPOSITION, name))
                .body(report.csv()?);
            Ok(Answer::in_another_form(table))
        }
    }
}
