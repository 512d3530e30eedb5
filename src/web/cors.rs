//! Scripts of other servers' pages (CORS): only those that the settings name, only below `/v1`, and only
//! with a key that the script itself sends. No answer here ever lets a browser add a cookie.

use actix_web::HttpResponse;
use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};

use super::programs::is_of_programs;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
/// How long a browser need not ask again, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
/// What scripts may read of an answer beside what they always may.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, request-id, retry-after, retry-after-ms, x-should-retry, idempotency-replayed, \
     x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
     x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, \
     anthropic-ratelimit-requests-limit, anthropic-ratelimit-requests-remaining, \
     anthropic-ratelimit-requests-reset, anthropic-ratelimit-tokens-limit, \
     anthropic-ratelimit-tokens-remaining, anthropic-ratelimit-tokens-reset",
);
const BY_ORIGIN: HeaderValue = HeaderValue::from_static("origin");

/// What a request is to the rules of other servers' pages.
pub(super) struct Origin {
    /// The page's, where it is one that may.
    allowed: Option<HeaderValue>,
    /// Whether the answer depends on whose page asks.
    matters: bool,
}

impl Origin {
    /// Of a request, with the origins that may.
    pub(super) fn of(request: &ServiceRequest, origins: &[String]) -> Self {
        if origins.is_empty() || !is_of_programs(request.path()) {
            return Self { allowed: None, matters: false };
        }
        let mut sent = request.headers().get_all(ORIGIN);
        let only = sent.next().filter(|_| sent.next().is_none());
        let is_named = |value: &&HeaderValue| {
            origins.iter().any(|origin| origin.as_bytes() == value.as_bytes())
        };
        Self { allowed: only.filter(is_named).cloned(), matters: true }
    }

    /// The answer to a browser that asks, before it sends a request, whether it may.
    pub(super) fn preflight(&self, request: &ServiceRequest) -> Option<HttpResponse> {
        let headers = request.headers();
        let asks = *request.method() == Method::OPTIONS
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || self.allowed.is_none() {
            return None;
        }
        let mut response = HttpResponse::NoContent();
        response.insert_header((ACCESS_CONTROL_ALLOW_METHODS, METHODS));
        response.insert_header((ACCESS_CONTROL_MAX_AGE, MAX_AGE));
        // Clients send headers of their own about themselves, under many names.
        if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            response.insert_header((ACCESS_CONTROL_ALLOW_HEADERS, asked.clone()));
        }
        Some(response.finish())
    }

    /// Puts on an answer that the page may read it, where it may.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        if self.matters {
            headers.append(VARY, BY_ORIGIN);
        }
        if let Some(origin) = self.allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            headers.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
        }
    }
}

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
