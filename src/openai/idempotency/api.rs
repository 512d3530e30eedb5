//! What stands around the handlers of `/v1`: a POST that names itself by `Idempotency-Key` is answered from
//! what is kept, or answered and kept. It comes here once it is known to be within its bounds, is
//! authenticated before anything of it is looked up, and takes the whole road where it has no answer yet.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;

use actix_web::body::{BodyStream, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{Error, HttpResponse, ResponseError as _};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::Value;

use super::error::{HEADER, IdempotencyError};
use super::state::{ANSWER_BYTES_MAX, Answer, Claim, Idempotency, Key, Stand};
use crate::access::Authenticator;
use crate::access::permission::Permission;
use crate::openai::events::Whole;
use crate::web::body::body_error;
use crate::web::events::untouched;
use crate::web::programs::is_of_programs;
use crate::web::{ApiError, ErrorCode};

/// On an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The middleware: what has an answer is not asked again.
pub(crate) async fn answer_once<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let is_posted = *request.method() == Method::POST && is_of_programs(request.path());
    if !is_posted || !request.headers().contains_key(HEADER) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    match begin(&mut request).await {
        Ok(Stand::New(claim)) => {
            let response = next.call(request).await?.map_into_boxed_body();
            Ok(kept(response, *claim).await)
        }
        Ok(Stand::Kept(answer)) => Ok(request.into_response(again(answer))),
        Err(error) => Ok(request.into_response(error.error_response())),
    }
}

async fn begin(request: &mut ServiceRequest) -> Result<Stand, ApiError> {
    let authenticator = request.app_data::<Data<Authenticator>>().cloned();
    let once = request.app_data::<Data<Idempotency>>().cloned();
    let (Some(authenticator), Some(once)) = (authenticator, once) else {
        return Err(ApiError::new(ErrorCode::Internal).because("answers are kept nowhere"));
    };
    let caller = authenticator.check(request.request(), Some(Permission::UseApi)).await?;
    let key = named(request)?;
    let body = request.extract::<Bytes>().await.map_err(|error| body_error(&error))?;
    request.set_payload(Payload::from(body.clone()));
    // To read it takes as long as the client likes.
    authenticator.check_again(&caller).await?;
    // Without the host, which HTTP/2 writes before it.
    let address = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    Ok(once.begin(&caller, &key, &address, &body).await?)
}

fn named(request: &ServiceRequest) -> Result<Key, IdempotencyError> {
    let mut named = request.headers().get_all(HEADER);
    match (named.next(), named.next()) {
        (Some(key), None) => Key::parse(key.as_bytes()),
        _ => Err(IdempotencyError::NoKey),
    }
}

/// An answer that was given before.
fn again(answer: Answer) -> HttpResponse {
    let mut response = if let Some(error) = refusal(&answer) {
        error.error_response()
    } else {
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
        let mut response = HttpResponse::build(status);
        response.insert_header((CONTENT_TYPE, answer.kind));
        untouched(&mut response);
        response.body(answer.body)
    };
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// The error that an answer is, so that each client reads it in its own shape.
fn refusal(answer: &Answer) -> Option<ApiError> {
    if answer.status < 400 {
        return None;
    }
    let body: Value = serde_json::from_str(&answer.body).ok()?;
    let field = |name: &str| body["error"][name].as_str();
    let code = ErrorCode::ALL.iter().find(|code| Some(code.name()) == field("code"))?;
    let message = field("message").unwrap_or(code.default_message());
    Some(ApiError::new(*code).message(message).param_of(field("param")))
}

/// Keeps an answer that would be the same another time: one in a piece before it goes out, a stream before
/// its last words do.
async fn kept(response: ServiceResponse, claim: Claim) -> ServiceResponse {
    if !is_settled(&response) {
        return response;
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let (status, kind) = (response.status().as_u16(), kind.unwrap_or_default().to_owned());
    let whole = response.response().extensions().get::<Whole>().cloned();
    let (request, response) = response.into_parts();
    let (head, body) = response.into_parts();
    let body = match (body.try_into_bytes(), whole) {
        (Ok(bytes), None) => {
            claim.keep(status, kind, bytes.to_vec()).await;
            BoxBody::new(bytes)
        }
        (Err(body), Some(whole)) => {
            let tape = Tape { bytes: Vec::new(), of: Some((claim, status, kind)) };
            BoxBody::new(BodyStream::new(recorded(body, whole, tape)))
        }
        (Ok(bytes), Some(_)) => BoxBody::new(bytes),
        (Err(body), None) => body,
    };
    ServiceResponse::new(request, head.set_body(body))
}

/// Whether an answer is one that waiting, other rights or other limits would not change. What is refused
/// for its form is not among them: it is refused the same way another time, before it is counted, so that
/// nothing would bound how much is written for it.
fn is_settled(response: &ServiceResponse) -> bool {
    let code = response.response().extensions().get::<ApiError>().map(ApiError::code);
    match code {
        None => response.status().is_success(),
        Some(code) => matches!(code, ErrorCode::ContextLengthExceeded | ErrorCode::ContentPolicy),
    }
}

/// What has gone out of a stream.
struct Tape {
    bytes: Vec<u8>,
    /// None: it has become too long to be kept, or has been.
    of: Option<(Claim, u16, String)>,
}

impl Tape {
    fn take(&mut self, bytes: &[u8]) {
        // Comments that keep the connection open are no part of the answer.
        if self.of.is_none() || bytes.starts_with(b":") {
            return;
        }
        if self.bytes.len() + bytes.len() > ANSWER_BYTES_MAX {
            (self.of, self.bytes) = (None, Vec::new());
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    async fn keep(&mut self) {
        if let Some((claim, status, kind)) = self.of.take() {
            claim.keep(status, kind, std::mem::take(&mut self.bytes)).await;
        }
    }
}

type Piece = Result<Bytes, Box<dyn StdError>>;

/// A stream that is kept once it is whole. One that is left before lets go of its key.
fn recorded(body: BoxBody, whole: Whole, tape: Tape) -> impl Stream<Item = Piece> {
    unfold(Some((Box::pin(body), tape)), move |state| {
        let whole = whole.clone();
        async move {
            let (mut body, mut tape) = state?;
            match next(&mut body).await {
                Some(Ok(piece)) if !whole.is_known() => {
                    tape.take(&piece);
                    Some((Ok(piece), Some((body, tape))))
                }
                Some(Ok(piece)) => {
                    let mut last = piece.to_vec();
                    while let Some(Ok(piece)) = next(&mut body).await {
                        last.extend_from_slice(&piece);
                    }
                    tape.take(&last);
                    tape.keep().await;
                    Some((Ok(last.into()), None))
                }
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        }
    })
}

async fn next(body: &mut Pin<Box<BoxBody>>) -> Option<Piece> {
    poll_fn(|context| body.as_mut().poll_next(context)).await
}
