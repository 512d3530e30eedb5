//! `/v1`: models, chat completions, completions, embeddings, ranking, tokens.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::{Data, Path, Query};
use actix_web::{Error, HttpRequest, HttpResponse, ResponseError};
use serde_json::{Value, json};

use super::answer::{About, Answer, Writer};
use super::anthropic::api::{is_asked_by_theirs, version};
use super::anthropic::models::{self, Page};
use super::common::Delivery;
use super::events::{self, Finished, Opening, Script, Whole};
use super::fields::Fields;
use super::parameters::Endpoint;
use super::text_answer::{EmbeddingList, Ranking};
use super::text_request::{Encoding, Selection};
use super::token_answer::{Spelled, TokenList};
use super::token_request::Shown;
use super::{chat_request, completion_request, text_request, token_request};
use crate::access::authenticate::known_program;
use crate::access::permission::UseApi;
use crate::access::{Caller, Grant};
use crate::clock::Clock;
use crate::gate::standing::Dialect;
use crate::gate::{
    EmbedAsk, ExchangeHandle, ExchangeRequest, Gate, Model, ModelKind, Purpose, ReadAsk, Spell, Way,
};
use crate::web::{self, ApiError, Body, ErrorCode};

/// What the handlers work with.
#[derive(Clone)]
pub(crate) struct OpenAi {
    /// The road.
    pub(crate) gate: Gate,
    /// The clock.
    pub(crate) clock: Clock,
    /// The silence after which a comment keeps a stream open; none: no comments.
    pub(crate) heartbeat: Option<Duration>,
}

/// The query of an address, as it came: names may stand there twice.
pub(super) type Pairs = Query<Vec<(String, String)>>;

/// `GET /v1/models`, in the shape that the client reads.
pub(crate) async fn models(
    grant: Grant<UseApi>,
    head: HttpRequest,
    query: Pairs,
    api: Data<OpenAi>,
) -> HttpResponse {
    let models = api.gate.models(grant.caller());
    let result = if is_asked_by_theirs(&head) {
        let page = version(&head).and_then(|()| Page::read(&query)?.of(&models));
        page.map(|page| HttpResponse::Ok().json(page))
    } else {
        let data: Vec<Value> = models.iter().map(|model| view(model)).collect();
        Ok(HttpResponse::Ok().json(json!({ "object": "list", "data": data })))
    };
    api.answer(grant.caller(), None, result)
}

/// `GET /v1/models/{id}`; ids may contain `/`.
pub(crate) async fn model(
    grant: Grant<UseApi>,
    head: HttpRequest,
    id: Path<String>,
    api: Data<OpenAi>,
) -> HttpResponse {
    let found = api.gate.model(grant.caller(), Some(&id));
    let result = match &found {
        Some(model) if is_asked_by_theirs(&head) => {
            version(&head).map(|()| HttpResponse::Ok().json(models::view(model)))
        }
        Some(model) => Ok(HttpResponse::Ok().json(view(model))),
        None => Err(ApiError::new(ErrorCode::ModelNotFound).param("model")),
    };
    api.answer(grant.caller(), found, result)
}

/// `POST /v1/chat/completions`
pub(crate) async fn chat_completions(
    grant: Grant<UseApi>,
    body: Result<Body<Fields>, ApiError>,
    api: Data<OpenAi>,
) -> HttpResponse {
    let request = body.and_then(|Body(fields)| chat_request::read(fields));
    let model = api.asked(grant.caller(), request.as_ref().map(|(ask, _)| named(ask)));
    let result = api.complete(grant.caller(), Endpoint::Chat, request).await;
    api.answer(grant.caller(), model, result)
}

/// `POST /v1/completions`
pub(crate) async fn completions(
    grant: Grant<UseApi>,
    body: Result<Body<Fields>, ApiError>,
    api: Data<OpenAi>,
) -> HttpResponse {
    let request = body.and_then(|Body(fields)| completion_request::read(fields));
    let model = api.asked(grant.caller(), request.as_ref().map(|(ask, _)| named(ask)));
    let result = api.complete(grant.caller(), Endpoint::Completions, request).await;
    api.answer(grant.caller(), model, result)
}

/// `POST /v1/embeddings`
pub(crate) async fn embeddings(
    grant: Grant<UseApi>,
    body: Result<Body<Fields>, ApiError>,
    api: Data<OpenAi>,
) -> HttpResponse {
    let request = body.and_then(|Body(fields)| text_request::embeddings(fields));
    let model = api.asked(
        grant.caller(),
        request.as_ref().map(|(ask, _)| (ask.purpose(), ask.model.as_deref())),
    );
    let result = api.embed(grant.caller(), request).await;
    api.answer(grant.caller(), model, result)
}

/// `POST /v1/rerank`
pub(crate) async fn rerank(
    grant: Grant<UseApi>,
    body: Result<Body<Fields>, ApiError>,
    api: Data<OpenAi>,
) -> HttpResponse {
    let request = body.and_then(|Body(fields)| text_request::rerank(fields));
    let model = api.asked(
        grant.caller(),
        request.as_ref().map(|(ask, _)| (ask.purpose(), ask.model.as_deref())),
    );
    let result = api.rank(grant.caller(), request).await;
    api.answer(grant.caller(), model, result)
}

/// `POST /v1/tokenize`
pub(crate) async fn tokenize(
    grant: Grant<UseApi>,
    body: Result<Body<Fields>, ApiError>,
    api: Data<OpenAi>,
) -> HttpResponse {
    let request = body.and_then(|Body(fields)| token_request::tokenize(fields));
    let model = api.asked(
        grant.caller(),
        request.as_ref().map(|(ask, _)| (Purpose::Tokens, ask.model.as_deref())),
    );
    let result = api.tokenize(grant.caller(), request).await;
    api.answer(grant.caller(), model, result)
}

/// `POST /v1/detokenize`
pub(crate) async fn detokenize(
    grant: Grant<UseApi>,
    body: Result<Body<Fields>, ApiError>,
    api: Data<OpenAi>,
) -> HttpResponse {
    let request = body.and_then(|Body(fields)| token_request::detokenize(fields));
    let model = api
        .asked(grant.caller(), request.as_ref().map(|ask| (Purpose::Tokens, ask.model.as_deref())));
    let result = api.detokenize(grant.caller(), request).await;
    api.answer(grant.caller(), model, result)
}

impl OpenAi {
    async fn complete(
        &self,
        caller: &Caller,
        endpoint: Endpoint,
        request: Result<(ExchangeRequest, Delivery), ApiError>,
    ) -> Result<HttpResponse, ApiError> {
        let (request, delivery) = request?;
        let (with_logprobs, choices) = (request.logprobs.is_some(), request.answers());
        let way = self.gate.start(caller, request).await?;
        let (api, by) = (self.clone(), caller.clone());
        let writer = move |handle: &ExchangeHandle, ()| {
            let model = api.gate.model(&by, Some(&handle.model));
            Writer::new(About {
                endpoint,
                request: handle.id,
                model: handle.model.clone(),
                digest: model.and_then(|model| model.digest.clone()),
                created: api.clock.now(),
                is_streamed: delivery.is_streamed,
                with_usage: delivery.with_usage,
                with_logprobs,
                choices,
            })
        };
        if delivery.is_streamed {
            return Ok(self.streamed(caller, way, writer));
        }
        let (handle, ()) = way.through().await?;
        let writer = writer(&handle, ());
        whole(handle, &writer, choices).await
    }

    /// The answer in events, as the script writes them. Where the model has to be loaded first the client
    /// has status and headers before, and hears of what goes wrong from then on as an event.
    pub(super) fn streamed<T: 'static, E: Into<ApiError> + 'static, S: Script + 'static>(
        &self,
        caller: &Caller,
        way: Way<T, E>,
        script: impl FnOnce(&ExchangeHandle, T) -> S + 'static,
    ) -> HttpResponse {
        let opening = match way {
            Way::Open(handle, beside) => {
                let script = script(&handle, beside);
                Opening::Open(handle, script)
            }
            Way::Waits(rest) => Opening::Comes(Box::pin(async move {
                let (handle, beside) = rest.await.map_err(Into::into)?;
                let script = script(&handle, beside);
                Ok((handle, script))
            })),
        };
        let whole = Whole::default();
        let body = events::written(opening, caller.request, self.heartbeat, whole.clone());
        let mut response = web::events::stream().streaming(body);
        response.extensions_mut().insert(whole);
        response
    }

    async fn embed(
        &self,
        caller: &Caller,
        request: Result<(EmbedAsk, Encoding), ApiError>,
    ) -> Result<HttpResponse, ApiError> {
        let (ask, encoding) = request?;
        let made = self.gate.embed(caller, ask).await?;
        Ok(HttpResponse::Ok().json(EmbeddingList::new(made, encoding)))
    }

    async fn rank(
        &self,
        caller: &Caller,
        request: Result<(EmbedAsk, Selection), ApiError>,
    ) -> Result<HttpResponse, ApiError> {
        let (ask, selection) = request?;
        let made = self.gate.embed(caller, ask).await?;
        Ok(HttpResponse::Ok().json(Ranking::new(made, selection)))
    }

    async fn tokenize(
        &self,
        caller: &Caller,
        request: Result<(ReadAsk, Shown), ApiError>,
    ) -> Result<HttpResponse, ApiError> {
        let (ask, shown) = request?;
        let read = self.gate.read_tokens(caller, ask).await?;
        Ok(HttpResponse::Ok().json(TokenList::new(read, shown)))
    }

    async fn detokenize(
        &self,
        caller: &Caller,
        request: Result<Spell, ApiError>,
    ) -> Result<HttpResponse, ApiError> {
        let text = self.gate.spell(caller, request?).await?;
        Ok(HttpResponse::Ok().json(Spelled::from(text)))
    }

    /// The model that a request is for; none where it is not open to the caller, or the request is
    /// not understood.
    pub(super) fn asked(
        &self,
        caller: &Caller,
        named: Result<(Purpose, Option<&str>), &ApiError>,
    ) -> Option<Arc<Model>> {
        let (purpose, name) = named.ok()?;
        self.gate.asked(caller, purpose, name)
    }

    /// Puts the caller's limits on the answer, good or bad; those of the model that was asked among
    /// them.
    pub(super) fn answer(
        &self,
        caller: &Caller,
        model: Option<Arc<Model>>,
        result: Result<HttpResponse, ApiError>,
    ) -> HttpResponse {
        self.answer_in(Dialect::OpenAi, caller, model, result)
    }

    /// The same, for clients of another API.
    pub(super) fn answer_in(
        &self,
        dialect: Dialect,
        caller: &Caller,
        model: Option<Arc<Model>>,
        result: Result<HttpResponse, ApiError>,
    ) -> HttpResponse {
        let mut response = result.unwrap_or_else(|error| error.error_response());
        self.tell(dialect, caller, model.as_deref(), response.headers_mut());
        response
    }

    fn tell(
        &self,
        dialect: Dialect,
        caller: &Caller,
        model: Option<&Model>,
        headers: &mut HeaderMap,
    ) {
        for (name, value) in self.gate.limit_headers(caller, model, dialect) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// Puts the limits of whoever came with a good key on the answers that no handler here gave: refusals
/// of the permission, and those of addresses and methods that are not there.
pub(crate) async fn tell_limits<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let mut response = next.call(request).await?;
    let is_told = response.headers().keys().any(|name| name.as_str().starts_with("x-ratelimit-"));
    let caller = known_program(response.request());
    let api = response.request().app_data::<Data<OpenAi>>().cloned();
    if let (false, Some(caller), Some(api)) = (is_told, caller, api) {
        // A key that was withdrawn meanwhile is told nothing any more.
        if response.status() != StatusCode::UNAUTHORIZED {
            let dialect = Dialect::of(response.request().path());
            api.tell(dialect, &caller, None, response.headers_mut());
        }
    }
    Ok(response)
}

/// What a request is for, and the model that it names.
pub(super) fn named(request: &ExchangeRequest) -> (Purpose, Option<&str>) {
    (request.purpose, request.model.as_deref())
}

/// Waits for all of the answers. A client who goes away drops this, and with it the work.
async fn whole(
    handle: ExchangeHandle,
    writer: &Writer,
    choices: usize,
) -> Result<HttpResponse, ApiError> {
    let mut answers = vec![Answer::default(); choices];
    let Finished { usage, notices } = events::to_the_end(handle, |choice, event| {
        if let Some(answer) = answers.get_mut(choice) {
            answer.take(event);
        }
    })
    .await?;
    Ok(HttpResponse::Ok().json(writer.whole(&answers, usage, &notices)))
}

fn view(model: &Model) -> Value {
    let info = model.info();
    json!({
        "id": model.name,
        "object": "model",
        "created": model.since.seconds(),
        "owned_by": "strongroom",
        "context_length": info.map(|info| info.context_tokens),
        "max_model_len": info.map(|info| info.context_tokens),
        "strongroom": {
            "state": model.state.name(),
            "aliases": model.aliases,
            "default": model.is_default,
            "architecture": info.map(|info| info.architecture.clone()),
            "parameters": info.map(|info| info.parameters),
            "quantization": info.map(|info| info.quantization.clone()),
            "kind": model.kind().map(ModelKind::name),
            "capabilities": model.kind().map(ModelKind::capabilities),
        },
    })
}
