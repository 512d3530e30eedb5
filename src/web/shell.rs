//! What surrounds every request: its id, its time limit, the host check, the headers of the
//! answer, and one line in the log.

use std::cell::OnceCell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{StatusCode, Version};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, ResponseError};
use tracing::{Instrument, Span};

use super::arrival::Arrivals;
use super::coding::CodedFiles;
use super::error::{ApiError, ErrorCode};
use super::patience::{Pace, Watched};
use super::presence::Presence;
use super::{anthropic, coding, cors, forwarded};
use crate::config::ForwardedHeader;
use crate::ids::RequestId;

/// The settings of the shell.
#[derive(Debug, Clone)]
pub struct Shell {
    /// Host names that requests may be for.
    pub hosts: Arc<[String]>,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// The memory that bodies share while they arrive.
    pub arrivals: Arrivals,
    /// The files of the web app, made smaller.
    pub files: CodedFiles,
    /// Whether browsers reach the server over HTTPS.
    pub is_https: bool,
    /// Proxies whose word on addresses is taken.
    pub trusted_proxies: Arc<[IpAddr]>,
    /// The header in which they say for whom they ask.
    pub forwarded_header: ForwardedHeader,
    /// Pages of other servers whose scripts may use `/v1`.
    pub cors_origins: Arc<[String]>,
}

/// The id of a request and where it came from, kept in its extensions.
#[derive(Debug)]
struct ThisRequest {
    id: RequestId,
    address: Option<IpAddr>,
    route: Rc<OnceCell<String>>,
}

/// What the log says of a request.
struct Line {
    span: Span,
    begun: Instant,
    route: Rc<OnceCell<String>>,
}

/// What the log says of an answer that nobody waited for; no client ever sees it.
const CLIENT_LEFT: u16 = 499;

impl Line {
    fn write(&self, status: u16, what: &'static str) {
        let route = self.route.get().map_or("-", String::as_str);
        let ms = self.begun.elapsed().as_millis() as u64;
        self.span.in_scope(|| tracing::info!(route, status, ms, "{what}"));
    }
}

/// A request that has no answer yet. Where it goes before it has one, whoever asked has gone.
struct Pending(Option<Line>);

impl Pending {
    fn answered(mut self, status: StatusCode) -> Option<Line> {
        self.0.take().inspect(|line| line.write(status.as_u16(), "answered"))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(line) = self.0.take().filter(|_| !std::thread::panicking()) {
            line.write(CLIENT_LEFT, "left");
        }
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The texts of a head over HTTP/2, where one byte names a field of kilobytes that came before.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// The policy for pages: nothing but our own files, no inline code, Trusted Types.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types strongroom dompurify";

const SAME_FOR_ALL: &[(&str, &str)] = &[
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-frame-options", "DENY"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
];

/// The middleware: wraps every route.
pub async fn surround(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<Watched<EitherBody<impl MessageBody + 'static>>>, Error> {
    let id = RequestId::new();
    let begun = Instant::now();
    let shell = request.app_data::<Data<Shell>>().cloned();
    let address = request.peer_addr().map(|peer| match &shell {
        Some(shell) => {
            let written = (shell.forwarded_header, request.headers());
            forwarded::client(peer.ip(), written, &shell.trusted_proxies)
        }
        None => peer.ip().to_canonical(),
    });
    let route = Rc::<OnceCell<String>>::default();
    request.extensions_mut().insert(ThisRequest { id, address, route: Rc::clone(&route) });
    let under = request.conn_data::<Rc<Pace>>().map(Pace::begin);
    let (is_https, checked) = match &shell {
        Some(shell) => (shell.is_https, check_head(&request, shell)),
        None => (true, Err(ApiError::new(ErrorCode::Internal).because("no shell settings"))),
    };
    let checked = match &under {
        Some(under) if under.is_refused() => checked.and(Err(ErrorCode::Busy.into())),
        Some(_) | None => checked,
    };
    let origins = shell.as_ref().map_or(&[][..], |shell| &*shell.cors_origins);
    let origin = cors::Origin::of(&request, origins);
    let method = request.method().clone();
    let path = request.path().to_owned();
    let span = tracing::info_span!("request", id = %id, %method);
    let pending = Pending(Some(Line { span: span.clone(), begun, route }));
    let mut presence = Presence::of(&request);
    if let Some(shell) = &shell {
        shell.arrivals.bound(&mut request, address, shell.body_timeout, presence.ended());
    }
    let early = match checked {
        Err(error) => Some(error.error_response()),
        Ok(()) => origin.preflight(&request),
    };
    let mut response = match early {
        Some(early) => request.into_response(early).map_into_right_body(),
        None => match answered(next.call(request).instrument(span), &mut presence).await {
            Some(Ok(response)) => response.map_into_left_body(),
            Some(Err(error)) => {
                pending.answered(error.as_response_error().status_code());
                return Err(error);
            }
            // Nobody reads this.
            None => return Err(ApiError::from(ErrorCode::RequestTimeout).into()),
        },
    };
    response = anthropic::shaped(&path, id, response);
    response = coding::made_smaller(response).await;
    note_route(response.request());
    add_headers(response.headers_mut(), id, is_https);
    origin.tell(response.headers_mut());
    let line = pending.answered(response.status());
    Ok(response.map_body(|_, body| {
        Watched::new(body, under, presence, move || {
            if let Some(line) = line {
                line.write(CLIENT_LEFT, "left before the end of the answer");
            }
        })
    }))
}

/// The answer of the server; none where whoever asked has left meanwhile, with whom the work ends.
async fn answered<T>(work: impl Future<Output = T>, presence: &mut Presence) -> Option<T> {
    tokio::select! {
        biased;
        answer = work => Some(answer),
        () = poll_fn(|context| presence.poll_left(context)) => None,
    }
}

/// Keeps by which route a request goes, for the line in the log.
pub fn note_route(request: &actix_web::HttpRequest) {
    if let Some(this) = request.extensions().get::<ThisRequest>() {
        this.route.get_or_init(|| request.match_pattern().unwrap_or_else(|| "-".to_owned()));
    }
}

/// The caller's address: that of the connection; what a header says only where a trusted proxy is
/// connected.
pub fn peer(request: &actix_web::HttpRequest) -> Option<IpAddr> {
    match request.extensions().get::<ThisRequest>() {
        Some(this) => this.address,
        None => request.peer_addr().map(|address| address.ip().to_canonical()),
    }
}

/// The id of the request at hand.
pub fn request_id(request: &actix_web::HttpRequest) -> RequestId {
    request.extensions().get::<ThisRequest>().map_or_else(RequestId::new, |this| this.id)
}

fn check_head(request: &ServiceRequest, shell: &Shell) -> Result<(), ApiError> {
    let headers = request.headers();
    // Over HTTP/1.1 a head has been bounded by the bytes that came.
    let texts = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    if request.version() == Version::HTTP_2 && texts.sum::<usize>() > HEAD_BYTES_MAX {
        return Err(ApiError::new(ErrorCode::InvalidRequest)
            .message("The head of the request is too long."));
    }
    if headers.get_all(header::HOST).count() > 1
        || headers.get_all(header::CONTENT_LENGTH).count() > 1
    {
        return Err(ApiError::new(ErrorCode::InvalidRequest)
            .message("A header that may stand once stands there twice."));
    }
    // A small body that becomes a large one is never made so: the bounds are those of what arrives.
    let is_coded = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).any(is_coded) {
        return Err(ApiError::new(ErrorCode::UnsupportedMediaType)
            .message(
                "Bodies are not taken in a coding. Send it as it is, without `content-encoding`.",
            )
            .param("content-encoding"));
    }
    let named = named_host(request.request());
    // A foreign host name here is a page elsewhere whose name was rebound to this machine.
    let host = host_without_port(named);
    if shell.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::WrongHost).message(
        "This server does not answer for that host name. An operator can add it to `server.hosts`.",
    ))
}

/// The host that a request is for, with its port, as its head names it; what a proxy's header says of
/// it is not looked at.
pub fn named_host(request: &actix_web::HttpRequest) -> &str {
    let authority = || request.uri().authority().map(actix_web::http::uri::Authority::as_str);
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    host.or_else(authority).unwrap_or_default()
}

fn host_without_port(named: &str) -> &str {
    if let Some(rest) = named.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    named.split(':').next().unwrap_or_default()
}

fn add_headers(headers: &mut HeaderMap, id: RequestId, is_https: bool) {
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, value);
    }
    for (name, value) in SAME_FOR_ALL {
        let name = HeaderName::from_static(name);
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if is_https {
        let value = HeaderValue::from_static("max-age=31536000; includeSubDomains");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_ports_and_brackets() {
        for (named, host) in [
            ("localhost:8443", "localhost"),
            ("localhost", "localhost"),
            ("[::1]:8443", "::1"),
            ("[::1]", "::1"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(host_without_port(named), host);
        }
    }
}
