//! `/v1/moderations`.

use actix_web::HttpResponse;
use actix_web::web::Data;

use super::answer::Moderation;
use super::request;
use crate::access::Grant;
use crate::access::permission::UseApi;
use crate::openai::api::OpenAi;
use crate::openai::fields::Fields;
use crate::web::{ApiError, Body};

/// `POST /v1/moderations`
pub(crate) async fn moderations(
    grant: Grant<UseApi>,
    body: Result<Body<Fields>, ApiError>,
    api: Data<OpenAi>,
) -> HttpResponse {
    let inputs = body.and_then(|Body(fields)| request::read(fields));
    let caller = grant.caller();
    let result = async {
        let found = api.gate.moderate(caller, inputs?).await?;
        Ok(HttpResponse::Ok().json(Moderation::new(caller.request, &found)))
    };
    let result = result.await;
    api.answer(caller, None, result)
}
