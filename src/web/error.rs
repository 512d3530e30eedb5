//! What a client sees when something goes wrong: one table from error code to status and type,
//! one body shape, the one that OpenAI's clients read.

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use schemars::JsonSchema;
use serde::Serialize;

macro_rules! error_codes {
    ($($variant:ident $status:ident $kind:literal $code:literal $default:literal;)+) => {
        /// A thing that can go wrong, as clients know it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(#[doc = $default] $variant,)+
        }

        impl ErrorCode {
            /// Every code, for the documentation and its tests.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)+];

            /// The HTTP status that goes with the code.
            pub fn status(self) -> StatusCode {
                match self { $(ErrorCode::$variant => StatusCode::$status,)+ }
            }

            /// The `type` field: the family of the error in OpenAI's naming.
            pub fn kind(self) -> &'static str {
                match self { $(ErrorCode::$variant => $kind,)+ }
            }

            /// The `code` field.
            pub fn name(self) -> &'static str {
                match self { $(ErrorCode::$variant => $code,)+ }
            }

            /// What is said where the place that failed has nothing better to say.
            pub fn default_message(self) -> &'static str {
                match self { $(ErrorCode::$variant => $default,)+ }
            }
        }
    };
}

error_codes! {
    InvalidRequest BAD_REQUEST "invalid_request_error" "invalid_request" "The request is not valid.";
    InvalidJson BAD_REQUEST "invalid_request_error" "invalid_json" "The body is not valid JSON.";
    InvalidValue BAD_REQUEST "invalid_request_error" "invalid_value" "A parameter has a value that is not accepted.";
    UnknownParameter BAD_REQUEST "invalid_request_error" "unknown_parameter" "The request has a parameter that is not known.";
    UnsupportedParameter BAD_REQUEST "invalid_request_error" "unsupported_parameter" "The request has a parameter that this server does not support.";
    ContextLengthExceeded BAD_REQUEST "invalid_request_error" "context_length_exceeded" "The prompt is longer than the model's context.";
    RequestExceedsLimit BAD_REQUEST "invalid_request_error" "request_exceeds_limit" "The request may take more tokens than a limit allows at all.";
    IdempotencyKeyReused BAD_REQUEST "invalid_request_error" "idempotency_key_reused" "This idempotency key was used for another request. Use a new key for each request.";
    ContentPolicy BAD_REQUEST "invalid_request_error" "content_policy" "The guard refused this text.";
    InvalidApiKey UNAUTHORIZED "authentication_error" "invalid_api_key" "The API key is missing or not valid.";
    NotSignedIn UNAUTHORIZED "authentication_error" "not_signed_in" "You are not signed in.";
    WrongCredentials UNAUTHORIZED "authentication_error" "wrong_credentials" "The name or the password is wrong.";
    LinkExpired UNAUTHORIZED "authentication_error" "link_expired" "This link has been used or has expired.";
    PermissionDenied FORBIDDEN "permission_error" "permission_denied" "Your role does not allow this.";
    CrossOrigin FORBIDDEN "permission_error" "cross_origin" "The request did not come from this server's own page.";
    WrongHost MISDIRECTED_REQUEST "invalid_request_error" "wrong_host" "This server does not answer for that host name.";
    NotFound NOT_FOUND "invalid_request_error" "not_found" "There is nothing here, or it is not yours.";
    ModelNotFound NOT_FOUND "invalid_request_error" "model_not_found" "There is no such model, or you may not use it.";
    MethodNotAllowed METHOD_NOT_ALLOWED "invalid_request_error" "method_not_allowed" "This address does not take that method.";
    RequestTimeout REQUEST_TIMEOUT "invalid_request_error" "request_timeout" "The request took too long to arrive.";
    Conflict CONFLICT "invalid_request_error" "conflict" "This cannot be done in the present state.";
    PromptGone CONFLICT "invalid_request_error" "prompt_gone" "These instructions are not there any more, or are not for this model.";
    IdempotencyInProgress CONFLICT "invalid_request_error" "idempotency_in_progress" "The request with this idempotency key is still being answered. Send it again a little later.";
    ModelConflict CONFLICT "invalid_request_error" "model_conflict" "This cannot be done as the models stand.";
    PayloadTooLarge PAYLOAD_TOO_LARGE "invalid_request_error" "payload_too_large" "The body is too large.";
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE "invalid_request_error" "unsupported_media_type" "Send JSON with content-type: application/json.";
    TooManyRequests TOO_MANY_REQUESTS "requests" "rate_limit_exceeded" "Too many requests. Wait, then try again.";
    TooManyTokens TOO_MANY_REQUESTS "tokens" "rate_limit_exceeded" "The token rate is used up. Wait, then try again.";
    BudgetExhausted TOO_MANY_REQUESTS "insufficient_quota" "insufficient_quota" "A budget of the day or of the month is used up.";
    TooManyConcurrent TOO_MANY_REQUESTS "requests" "concurrency_exceeded" "Too many of your requests are running. Wait until one has ended.";
    SignInThrottled TOO_MANY_REQUESTS "requests" "sign_in_throttled" "Too many attempts. Wait, then try again.";
    Busy SERVICE_UNAVAILABLE "server_error" "busy" "The server is busy. Try again shortly.";
    Sealed SERVICE_UNAVAILABLE "server_error" "sealed" "The server is sealed. An operator must open it with `strongroom unseal`.";
    StorageFull SERVICE_UNAVAILABLE "server_error" "storage_full" "The disk is full, so nothing was stored.";
    AuditUnavailable SERVICE_UNAVAILABLE "server_error" "audit_unavailable" "The audit log cannot be written, so nothing was done.";
    ShuttingDown SERVICE_UNAVAILABLE "server_error" "shutting_down" "The server is shutting down.";
    ModelNotReady SERVICE_UNAVAILABLE "server_error" "model_not_ready" "The model is not loaded yet.";
    ModelMemory SERVICE_UNAVAILABLE "server_error" "model_memory" "There is not enough memory to load the model now.";
    TimeLimit GATEWAY_TIMEOUT "server_error" "time_limit" "The request took longer than this server allows. Ask for a shorter answer.";
    Internal INTERNAL_SERVER_ERROR "server_error" "internal_error" "Something went wrong on the server. The request id names it in the log.";
}

impl ErrorCode {
    /// When to come back, where the place that failed knows no better.
    pub fn wait(self) -> Option<Duration> {
        match self {
            Self::Busy | Self::IdempotencyInProgress => Some(Duration::from_secs(1)),
            Self::ModelNotReady => Some(Duration::from_secs(2)),
            Self::ShuttingDown => Some(Duration::from_secs(5)),
            Self::ModelMemory => Some(Duration::from_secs(10)),
            Self::Sealed => Some(Duration::from_secs(30)),
            Self::StorageFull | Self::AuditUnavailable => Some(Duration::from_mins(1)),
            _ => None,
        }
    }

    /// The parameter that an error of this code names.
    pub fn names(self) -> Names {
        match self {
            Self::UnknownParameter | Self::UnsupportedParameter => Names::AtFault,
            Self::InvalidRequest
            | Self::InvalidValue
            | Self::ContextLengthExceeded
            | Self::NotFound
            | Self::Conflict => Names::AtFaultOrNone,
            Self::IdempotencyKeyReused | Self::IdempotencyInProgress => {
                Names::One("idempotency-key")
            }
            Self::PromptGone => Names::One("prompt"),
            Self::PayloadTooLarge => Names::One("body"),
            // None where the address names it.
            Self::ModelNotFound => Names::OneOrNone("model"),
            Self::UnsupportedMediaType => Names::OneOrNone("content-encoding"),
            _ => Names::None,
        }
    }

    /// Whether clients may ask again by themselves. They do after 408, 409, 429 and every 5xx unless
    /// they are told otherwise; they are where somebody has to act first, or where the same work
    /// would end the same way.
    pub fn asks_again(self) -> bool {
        !matches!(
            self,
            // Does not come back within a client's patience.
            Self::BudgetExhausted
                | Self::Conflict
                | Self::PromptGone
                | Self::ModelConflict
                | Self::Sealed
                | Self::StorageFull
                | Self::AuditUnavailable
                | Self::TimeLimit
        )
    }
}

/// Which parameter the errors of a code name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// None.
    None,
    /// Always this one.
    One(&'static str),
    /// This one, or none.
    OneOrNone(&'static str),
    /// That which the request had wrong.
    AtFault,
    /// The same, where it is one parameter that is wrong.
    AtFaultOrNone,
}

impl Names {
    /// In words, for the documentation.
    pub fn describe(self) -> String {
        match self {
            Self::None => String::new(),
            Self::One(name) => format!("`{name}`"),
            Self::OneOrNone(name) => format!("`{name}`, or none"),
            Self::AtFault => "the parameter at fault".to_owned(),
            Self::AtFaultOrNone => "the parameter at fault, or none".to_owned(),
        }
    }
}

/// An error on its way to a client.
#[derive(Debug, Clone)]
pub struct ApiError {
    code: ErrorCode,
    message: Option<String>,
    param: Option<String>,
    retry_after: Option<Duration>,
    asks_again: bool,
}

impl ApiError {
    /// Makes an error with the code's own message.
    pub fn new(code: ErrorCode) -> Self {
        Self {
            code,
            message: None,
            param: None,
            retry_after: code.wait(),
            asks_again: code.asks_again(),
        }
    }

    /// Says what happened and what to do. Never a text of a person, a path or a secret.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Names the parameter at fault.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Names it where it is known.
    #[must_use]
    pub fn param_of(mut self, param: Option<&str>) -> Self {
        self.param = param.map(str::to_owned);
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Says that asking again changes nothing before somebody has acted.
    #[must_use]
    pub fn for_good(mut self) -> Self {
        (self.retry_after, self.asks_again) = (None, false);
        self
    }

    /// Logs the cause, once, with the span of the request; the client never sees it.
    #[must_use]
    pub fn because(self, cause: impl fmt::Display) -> Self {
        if self.code.status().is_server_error() {
            tracing::error!(code = self.code.name(), cause = %cause, "request failed");
        } else {
            tracing::debug!(code = self.code.name(), cause = %cause, "request refused");
        }
        self
    }

    /// The code of the error.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The parameter at fault.
    pub fn at_fault(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// When to come back.
    pub fn wait(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether clients may ask again by themselves.
    pub fn asks_again(&self) -> bool {
        self.asks_again
    }

    /// The body, as every client and every stream gets it.
    pub fn body(&self) -> ErrorBody<'_> {
        ErrorBody {
            error: ErrorFields {
                message: self.message.as_deref().unwrap_or(self.code.default_message()),
                kind: self.code.kind(),
                param: self.param.as_deref(),
                code: self.code.name(),
            },
        }
    }
}

/// `{"error": {…}}`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub struct ErrorBody<'a> {
    error: ErrorFields<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ErrorFields<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'a str>,
    code: &'static str,
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message.as_deref().unwrap_or(self.code.default_message()))
    }
}

impl std::error::Error for ApiError {}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.code.status());
        if let Some(wait) = self.retry_after {
            // Clients read the millisecond form first where it is there (openai-python, -node).
            response.insert_header((RETRY_AFTER, wait.as_secs_f64().ceil().max(1.0).to_string()));
            response.insert_header((
                HeaderName::from_static("retry-after-ms"),
                wait.as_millis().max(1).to_string(),
            ));
        }
        if !self.asks_again {
            response.insert_header((HeaderName::from_static("x-should-retry"), "false"));
        }
        if self.code == ErrorCode::InvalidApiKey {
            response.insert_header((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        let mut response = response.json(self.body());
        // For the shapes that other clients read.
        response.extensions_mut().insert(self.clone());
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_the_four_fields_of_openai() {
        let error = ApiError::new(ErrorCode::InvalidValue).message("too hot").param("temperature");
        let body = serde_json::to_value(error.body()).expect("plain data");
        assert_eq!(
            body,
            serde_json::json!({"error": {"message": "too hot", "type": "invalid_request_error",
                "param": "temperature", "code": "invalid_value"}})
        );
    }

    /// The headers that clients read before they ask again: `retry-after` and `x-should-retry`.
    fn told(error: &ApiError) -> (Option<String>, Option<String>) {
        let response = error.error_response();
        let header = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
        };
        (header("retry-after"), header("x-should-retry"))
    }

    #[test]
    fn whatever_is_unavailable_says_when_to_come_back_and_whether_to_ask_again_unasked() {
        for code in ErrorCode::ALL {
            let (wait, should) = told(&(*code).into());
            if code.status() == StatusCode::SERVICE_UNAVAILABLE {
                assert!(wait.is_some(), "{code:?}");
            }
            assert_eq!(should.is_none(), code.asks_again(), "{code:?}");
        }
        let false_ = Some("false".to_owned());
        for (code, wait) in [
            (ErrorCode::Sealed, Some("30")),
            (ErrorCode::StorageFull, Some("60")),
            (ErrorCode::AuditUnavailable, Some("60")),
            (ErrorCode::TimeLimit, None),
        ] {
            assert_eq!(told(&code.into()), (wait.map(str::to_owned), false_.clone()), "{code:?}");
        }
        assert_eq!(told(&ErrorCode::Busy.into()), (Some("1".to_owned()), None));
        let stays = ApiError::new(ErrorCode::ModelNotReady).for_good();
        assert_eq!(told(&stays), (None, false_));
    }
}
