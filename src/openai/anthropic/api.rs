//! `/v1/messages`: a message in one piece or streamed, and how many tokens its prompt has.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::answer::{Said, Writer};
use super::request::{self, Manner};
use super::stream::Streamed;
use crate::access::permission::UseApi;
use crate::access::{Caller, Grant};
use crate::gate::standing::Dialect;
use crate::gate::{Ending, ExchangeHandle, ExchangeRequest, Purpose, ReadAsk};
use crate::openai::api::{OpenAi, named};
use crate::openai::events::{self, Finished};
use crate::openai::fields::Fields;
use crate::web::anthropic::VERSION;
use crate::web::{ApiError, Body, ErrorCode};

/// Those that clients name; what is asked for and answered is the same in both.
const PUBLISHED: [&str; 2] = ["2023-06-01", "2026-10-21"];

/// `POST /v1/messages`
pub(crate) async fn messages(
    grant: Grant<UseApi>,
    head: HttpRequest,
    body: Result<Body<Fields>, ApiError>,
    api: Data<OpenAi>,
) -> HttpResponse {
    let request = version(&head).and(body).and_then(|Body(fields)| request::message(fields));
    let model = api.asked(grant.caller(), request.as_ref().map(|(ask, _)| named(ask)));
    let result = answer(&api, grant.caller(), request).await;
    api.answer_in(Dialect::Anthropic, grant.caller(), model, result)
}

/// `POST /v1/messages/count_tokens`
pub(crate) async fn count_tokens(
    grant: Grant<UseApi>,
    head: HttpRequest,
    body: Result<Body<Fields>, ApiError>,
    api: Data<OpenAi>,
) -> HttpResponse {
    let request = version(&head).and(body).and_then(|Body(fields)| request::count(fields));
    let model = api
        .asked(grant.caller(), request.as_ref().map(|ask| (Purpose::Tokens, ask.model.as_deref())));
    let result = count(&api, grant.caller(), request).await;
    api.answer_in(Dialect::Anthropic, grant.caller(), model, result)
}

async fn answer(
    api: &OpenAi,
    caller: &Caller,
    request: Result<(ExchangeRequest, Manner), ApiError>,
) -> Result<HttpResponse, ApiError> {
    let (request, manner) = request?;
    let way = api.gate.start(caller, request).await?;
    let (gate, by, is_streamed) = (api.gate.clone(), caller.clone(), manner.is_streamed);
    let writer = move |handle: &ExchangeHandle| {
        let model = gate.model(&by, Some(&handle.model));
        let context = model.and_then(|model| model.info().map(|info| info.context_tokens));
        Writer { request: handle.id, model: handle.model.clone(), manner, context }
    };
    if is_streamed {
        let script =
            move |handle: &ExchangeHandle, ()| Streamed::new(writer(handle), handle.prompt_tokens);
        return Ok(api.streamed(caller, way, script));
    }
    let (handle, ()) = way.through().await?;
    let writer = writer(&handle);
    let mut said = Said::default();
    let finished = events::to_the_end(handle, |_, event| said.take(event)).await;
    let Finished { usage, notices } = finished?;
    let stop = writer.stop(said.ending.unwrap_or(Ending::Stop), usage);
    let content = said.content(&writer.manner);
    Ok(HttpResponse::Ok().json(writer.message(content, stop, usage, &notices)))
}

async fn count(
    api: &OpenAi,
    caller: &Caller,
    request: Result<ReadAsk, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let read = api.gate.read_tokens(caller, request?).await?;
    Ok(HttpResponse::Ok().json(json!({ "input_tokens": read.tokens.len() })))
}

/// Whether one of Anthropic's clients asks.
pub(in crate::openai) fn is_asked_by_theirs(head: &HttpRequest) -> bool {
    head.headers().contains_key(VERSION)
}

/// Refuses a version of the API that is not this one. `anthropic-beta` may name anything: what a beta
/// adds comes as parameters, and those are looked at.
pub(in crate::openai) fn version(head: &HttpRequest) -> Result<(), ApiError> {
    let mut named = head.headers().get_all(VERSION);
    if named.all(|version| PUBLISHED.iter().any(|known| version.as_bytes() == known.as_bytes())) {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::InvalidValue)
        .message(
            "`anthropic-version` names a version that is not spoken here: expected 2023-06-01 or 2026-10-21.",
        )
        .param(VERSION))
}
