//! `/v1/responses`.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use serde_json::json;

use super::answer::Head;
use super::error::ResponseError;
use super::items::Place;
use super::listing::{Page, shown};
use super::request::{self, Ask};
use super::state::{Before, Responses, Use};
use super::stream::{Closing, Composer, Keeping, Writing};
use crate::access::permission::UseApi;
use crate::access::{Caller, Grant};
use crate::gate::{ExchangeHandle, Notice, Purpose};
use crate::ids::ResponseId;
use crate::openai::api::{OpenAi, Pairs};
use crate::openai::events::to_end;
use crate::openai::fields::Fields;
use crate::web::{ApiError, Body};

/// `POST /v1/responses`
pub(crate) async fn create(
    grant: Grant<UseApi>,
    body: Result<Body<Fields>, ApiError>,
    api: Data<OpenAi>,
    responses: Data<Responses>,
) -> HttpResponse {
    let ask = body.and_then(|Body(fields)| request::read(fields));
    let model = api.asked(grant.caller(), ask.as_ref().map(|ask| (Purpose::Api, ask.model())));
    let result = respond(&api, &responses, grant.caller(), ask).await;
    api.answer(grant.caller(), model, result)
}

/// `POST /v1/responses/input_tokens`
pub(crate) async fn input_tokens(
    grant: Grant<UseApi>,
    body: Result<Body<Fields>, ApiError>,
    api: Data<OpenAi>,
    responses: Data<Responses>,
) -> HttpResponse {
    let ask = body.and_then(|Body(fields)| request::count(fields));
    let model = api.asked(grant.caller(), ask.as_ref().map(|ask| (Purpose::Tokens, ask.model())));
    let result = count(&api, &responses, grant.caller(), ask).await;
    api.answer(grant.caller(), model, result)
}

async fn count(
    api: &OpenAi,
    responses: &Responses,
    caller: &Caller,
    ask: Result<Ask, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let ask = ask?;
    let before = responses.before(caller, &ask).await?;
    let asked = ask.tokens(&before.items, &before.input);
    let read = api.gate.read_tokens(caller, asked).await.map_err(ResponseError::Gate)?;
    let counted = json!({ "object": "response.input_tokens", "input_tokens": read.tokens.len() });
    Ok(HttpResponse::Ok().json(counted))
}

async fn respond(
    api: &OpenAi,
    responses: &Responses,
    caller: &Caller,
    ask: Result<Ask, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let mut ask = ask?;
    let id = ResponseId::new();
    ask.echo.store = responses.keeps(ask.stores)?;
    let (is_streamed, echo) = (ask.is_streamed, ask.echo.clone());
    let (of, by) = (responses.clone(), caller.clone());
    let prepare = async move {
        let before = of.before(&by, &ask).await?;
        Ok::<_, ResponseError>((ask.exchange(&before.items, &before.input), before))
    };
    let way = api.gate.start_after(caller, Purpose::Api, prepare).await?;
    let (gate, clock) = (api.gate.clone(), api.clock.clone());
    let (responses, by) = (responses.clone(), caller.clone());
    let writing = move |handle: &ExchangeHandle, mut before: Before| {
        for (at, item) in before.input.iter_mut().enumerate() {
            item.settle(id, Place::In(at));
        }
        let (input, used) = (before.input, before.used);
        let keeping = echo.store.then(|| Keeping { responses, caller: by, input, used });
        let head = Head { id, created: clock.now(), model: handle.model.clone(), echo };
        let composer = Composer::new(head, notices(handle));
        Writing { composer, closing: Closing { gate, clock, keeping } }
    };
    if is_streamed {
        return Ok(api.streamed(caller, way, writing));
    }
    let (handle, before) = way.through().await?;
    let Writing { mut composer, mut closing } = writing(&handle, before);
    let (ending, usage) = to_end(handle, |event| drop(composer.take(event))).await?;
    closing.close(&mut composer, ending, usage).await?;
    Ok(HttpResponse::Ok().json(composer.response()))
}

/// What was done to the conversation before the model saw it.
fn notices(handle: &ExchangeHandle) -> Vec<Notice> {
    let mut notices = handle.notices.clone();
    if handle.dropped > 0 {
        notices.push(Notice::trimmed(handle.dropped));
    }
    notices
}

/// `GET /v1/responses/{id}`
pub(crate) async fn read(
    grant: Grant<UseApi>,
    id: Path<String>,
    query: Pairs,
    api: Data<OpenAi>,
    responses: Data<Responses>,
) -> HttpResponse {
    let result = async {
        shown(&query)?;
        let kept = responses.read(grant.caller(), parse(&id)?, Use::Shown).await?;
        Ok(HttpResponse::Ok().json(kept.response))
    };
    api.answer(grant.caller(), None, result.await)
}

/// `GET /v1/responses/{id}/input_items`
pub(crate) async fn input_items(
    grant: Grant<UseApi>,
    id: Path<String>,
    query: Pairs,
    api: Data<OpenAi>,
    responses: Data<Responses>,
) -> HttpResponse {
    let result = async {
        let page = Page::read(&query)?;
        let kept = responses.read(grant.caller(), parse(&id)?, Use::InputItems).await?;
        Ok(HttpResponse::Ok().json(page.of(kept.input)?))
    };
    api.answer(grant.caller(), None, result.await)
}

/// `DELETE /v1/responses/{id}`
pub(crate) async fn delete(
    grant: Grant<UseApi>,
    id: Path<String>,
    api: Data<OpenAi>,
    responses: Data<Responses>,
) -> HttpResponse {
    let result = async {
        let id = parse(&id)?;
        responses.delete(grant.caller(), id).await?;
        let gone = json!({ "id": id, "object": "response", "deleted": true });
        Ok(HttpResponse::Ok().json(gone))
    };
    api.answer(grant.caller(), None, result.await)
}

/// `POST /v1/responses/{id}/cancel`: of those that are kept, all have come to their end.
pub(crate) async fn cancel(
    grant: Grant<UseApi>,
    id: Path<String>,
    api: Data<OpenAi>,
    responses: Data<Responses>,
) -> HttpResponse {
    let result = async {
        let error = if responses.has(grant.caller(), parse(&id)?).await? {
            ResponseError::NotInBackground
        } else {
            ResponseError::NotFound
        };
        Err(error.into())
    };
    api.answer(grant.caller(), None, result.await)
}

/// `POST /v1/responses/compact`
pub(crate) async fn compact(grant: Grant<UseApi>, api: Data<OpenAi>) -> HttpResponse {
    api.answer(grant.caller(), None, Err(ResponseError::CompactsNone.into()))
}

/// A text that is no id is the id of nothing.
fn parse(id: &str) -> Result<ResponseId, ApiError> {
    ResponseId::parse(id).map_err(|_| ResponseError::NotFound.into())
}
