//! `/v1/organization`: how much was used, and what it cost.

use actix_web::HttpResponse;
use actix_web::web::{Data, Query as FromAddress};

use super::answer::{Kind, Page};
use super::query::Query;
use crate::access::Grant;
use crate::access::permission::ReadUsage;
use crate::openai::api::OpenAi;
use crate::usage::Reports;

/// The query of an address, as it came: names may stand there twice.
type Pairs = FromAddress<Vec<(String, String)>>;

/// `GET /v1/organization/usage/completions`
pub(crate) async fn completions(
    grant: Grant<ReadUsage>,
    query: Pairs,
    api: Data<OpenAi>,
    reports: Data<Reports>,
) -> HttpResponse {
    page(Kind::Completions, &grant, &query, (&api, &reports)).await
}

/// `GET /v1/organization/usage/embeddings`
pub(crate) async fn embeddings(
    grant: Grant<ReadUsage>,
    query: Pairs,
    api: Data<OpenAi>,
    reports: Data<Reports>,
) -> HttpResponse {
    page(Kind::Embeddings, &grant, &query, (&api, &reports)).await
}

/// `GET /v1/organization/usage/moderations`
pub(crate) async fn moderations(
    grant: Grant<ReadUsage>,
    query: Pairs,
    api: Data<OpenAi>,
    reports: Data<Reports>,
) -> HttpResponse {
    page(Kind::Moderations, &grant, &query, (&api, &reports)).await
}

/// `GET /v1/organization/costs`
pub(crate) async fn costs(
    grant: Grant<ReadUsage>,
    query: Pairs,
    api: Data<OpenAi>,
    reports: Data<Reports>,
) -> HttpResponse {
    page(Kind::Costs, &grant, &query, (&api, &reports)).await
}

async fn page(
    kind: Kind,
    grant: &Grant<ReadUsage>,
    pairs: &[(String, String)],
    (api, reports): (&OpenAi, &Reports),
) -> HttpResponse {
    let result = async {
        let query = Query::read(kind, pairs, api.clock.now().seconds())?;
        let wanted = (query.span, query.selection.clone(), query.by);
        let sums = reports.sums(grant, kind.name(), wanted).await?;
        Ok(HttpResponse::Ok().json(Page::new(kind, &query, sums, reports.currency())))
    };
    let result = result.await;
    api.answer(grant.caller(), None, result)
}
