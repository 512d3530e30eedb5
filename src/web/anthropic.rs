//! Errors as Anthropic's clients read them. Whatever goes wrong below `/v1/messages`, and below
//! `/v1/models` where such a client asks, in a handler or long before one, is answered in this shape.

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Serialize;

use super::error::{ApiError, ErrorCode};
use crate::ids::RequestId;

const MESSAGES: &str = "/v1/messages";
const MODELS: &str = "/v1/models";
/// What these clients say with every request, and no others.
pub const VERSION: &str = "anthropic-version";
/// Where these clients look for the id of a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// "Overloaded", in Anthropic's own number.
const OVERLOADED: u16 = 529;

/// `{"type": "error", …}`, with the code of the error in its details.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "MessageError")]
pub struct AnthropicError {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "error"))]
    kind: &'static str,
    error: Fields,
    request_id: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "MessageErrorFields")]
struct Fields {
    #[serde(rename = "type")]
    kind: &'static str,
    message: String,
    details: Details,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "MessageErrorDetails")]
struct Details {
    error_code: &'static str,
    param: Option<String>,
}

impl AnthropicError {
    /// This error, of this request.
    pub fn new(error: &ApiError, request: RequestId) -> Self {
        let details =
            Details { error_code: error.code().name(), param: error.at_fault().map(str::to_owned) };
        let fields = Fields { kind: family(error.code()).1, message: error.to_string(), details };
        Self { kind: "error", error: fields, request_id: request.to_string() }
    }
}

/// Status and type of a code, in Anthropic's naming.
pub fn family(code: ErrorCode) -> (u16, &'static str) {
    let status = code.status().as_u16();
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 if code == ErrorCode::Busy => return (OVERLOADED, "overloaded_error"),
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    (status, kind)
}

/// Whether it is Anthropic's clients that speak to this path.
pub fn is_theirs(path: &str) -> bool {
    is_below(MESSAGES, path)
}

fn is_below(door: &str, path: &str) -> bool {
    path.strip_prefix(door).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Gives an answer the shape that the clients of its path read.
pub(super) fn shaped<B: MessageBody + 'static>(
    path: &str,
    request: RequestId,
    mut response: ServiceResponse<EitherBody<B>>,
) -> ServiceResponse<EitherBody<B>> {
    let is_client = response.request().headers().contains_key(VERSION);
    let has_shape = is_theirs(path) || is_client && is_below(MODELS, path);
    if !has_shape {
        return response;
    }
    if let Ok(value) = HeaderValue::from_str(&request.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let error = response.response().extensions().get::<ApiError>().cloned();
    let Some(error) = error else { return response };
    if let Ok(status) = StatusCode::from_u16(family(error.code()).0) {
        *response.response_mut().status_mut() = status;
    }
    let body = serde_json::to_vec(&AnthropicError::new(&error, request)).unwrap_or_default();
    response.map_body(|_, _| EitherBody::right(BoxBody::new(body)))
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError as _;
    use actix_web::body::to_bytes;
    use actix_web::test::TestRequest;
    use serde_json::{Value, json};

    use super::*;

    async fn answered(path: &str, error: ApiError) -> (u16, Option<String>, Value) {
        answered_to(TestRequest::post().uri(path), path, error).await
    }

    async fn answered_to(
        request: TestRequest,
        path: &str,
        error: ApiError,
    ) -> (u16, Option<String>, Value) {
        let request = request.to_srv_request();
        let response = request.into_response(error.error_response()).map_into_left_body();
        let id = RequestId::new();
        let response: ServiceResponse<EitherBody<BoxBody>> = shaped(path, id, response);
        let named = response.headers().get("request-id");
        let named = named.map(|value| value.to_str().expect("text").to_owned());
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body()).await.unwrap_or_else(|_| panic!("a body"));
        let mut body: Value = serde_json::from_slice(&body).expect("JSON");
        if let Some(sent) = body.get("request_id") {
            assert_eq!(sent, &json!(id.to_string()));
            body.as_object_mut().expect("an object").remove("request_id");
        }
        (status, named.filter(|named| *named == id.to_string()), body)
    }

    #[actix_web::test]
    async fn errors_about_models_have_their_shape_for_their_clients_alone() {
        for (path, version, is_theirs) in [
            ("/v1/models", true, true),
            ("/v1/models/a/b", true, true),
            ("/v1/models", false, false),
            ("/v1/modelsx", true, false),
            ("/v1/chat/completions", true, false),
        ] {
            let request = TestRequest::get().uri(path);
            let request =
                if version { request.insert_header((VERSION, "2023-06-01")) } else { request };
            let (status, named, body) =
                answered_to(request, path, ErrorCode::ModelNotFound.into()).await;
            assert_eq!(status, 404);
            assert_eq!(
                (named.is_some(), body["type"] == "error"),
                (is_theirs, is_theirs),
                "{path}"
            );
        }
    }

    #[actix_web::test]
    async fn errors_below_messages_have_their_shape_and_no_others() {
        let error = ApiError::new(ErrorCode::InvalidValue).message("too hot").param("temperature");
        for path in ["/v1/messages", "/v1/messages/count_tokens", "/v1/messages/nothing"] {
            let (status, named, body) = answered(path, error.clone()).await;
            assert_eq!((status, named.is_some()), (400, true));
            assert_eq!(
                body,
                json!({"type": "error", "error": {"type": "invalid_request_error",
                    "message": "too hot",
                    "details": {"error_code": "invalid_value", "param": "temperature"}}})
            );
        }
        for path in ["/v1/messagesx", "/v1/chat/completions", "/"] {
            let (_, named, body) = answered(path, error.clone()).await;
            assert_eq!((named, &body["error"]["code"]), (None, &json!("invalid_value")));
        }
    }

    #[actix_web::test]
    async fn statuses_and_types_are_those_that_are_published() {
        for (code, status, kind) in [
            (ErrorCode::InvalidApiKey, 401, "authentication_error"),
            (ErrorCode::PermissionDenied, 403, "permission_error"),
            (ErrorCode::ModelNotFound, 404, "not_found_error"),
            (ErrorCode::MethodNotAllowed, 405, "invalid_request_error"),
            (ErrorCode::PayloadTooLarge, 413, "request_too_large"),
            (ErrorCode::TooManyTokens, 429, "rate_limit_error"),
            (ErrorCode::Internal, 500, "api_error"),
            (ErrorCode::Sealed, 503, "api_error"),
            (ErrorCode::TimeLimit, 504, "timeout_error"),
            (ErrorCode::Busy, 529, "overloaded_error"),
        ] {
            let (answered, _, body) = answered("/v1/messages", code.into()).await;
            assert_eq!((answered, &body["error"]["type"]), (status, &json!(kind)), "{code:?}");
        }
    }
}
