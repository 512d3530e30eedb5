//! The one authenticator: every header form meets the same checks, and every refusal is on record.
//!
//! Browsers come with the session cookie and reach `/api`; programs come with a key, as
//! `Authorization: Bearer` or `x-api-key`, and reach `/v1` and `/metrics`. One request carries one
//! credential, once.

use std::sync::Arc;

use actix_web::cookie::Cookie;
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, COOKIE, HeaderName, ORIGIN};
use actix_web::{HttpMessage as _, HttpRequest};
use subtle::ConstantTimeEq;

use super::changes::{Withdrawn, withdrawn};
use super::permission::Permission;
use super::refusals::{Refusals, Source};
use super::registry::{KeyEntry, KeyRefusal, Registry};
use super::token::{self, TokenKind};
use super::{Caller, KeyContext, Via};
use crate::audit::{Action, Actor, AuditError, Event, Outcome};
use crate::clock::Clock;
use crate::db::DbError;
use crate::ids::SessionId;
use crate::vault::{BlindPurpose, Vault, VaultError};
use crate::web::coding::SentKey;
use crate::web::programs::is_of_programs;
use crate::web::shell::{named_host, peer, request_id};
use crate::web::{ApiError, ErrorCode};

/// The session cookie over TLS; the prefix binds it to this host, path `/` and TLS (RFC 6265bis).
pub(crate) const COOKIE_NAME: &str = "__Host-strongroom";
/// The session cookie where plain HTTP is spoken on loopback.
pub(crate) const PLAIN_COOKIE_NAME: &str = "strongroom";
/// The header that proves a request comes from our own page.
pub(crate) const CSRF_HEADER: HeaderName = HeaderName::from_static("x-strongroom-csrf");
const API_KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// Who is not let in: what they are answered, and the key of theirs that is good elsewhere.
struct Stranger {
    error: ApiError,
    elsewhere: Option<Arc<KeyEntry>>,
}

impl From<ApiError> for Stranger {
    fn from(error: ApiError) -> Self {
        Self { error, elsewhere: None }
    }
}

impl From<KeyRefusal> for Stranger {
    /// The same answer for all: whoever found a key is not told that it would do elsewhere.
    fn from(refusal: KeyRefusal) -> Self {
        let elsewhere = match refusal {
            KeyRefusal::Unknown => None,
            KeyRefusal::Elsewhere(key) => Some(key),
        };
        Self { error: ErrorCode::InvalidApiKey.into(), elsewhere }
    }
}

/// Which credential a path takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Web,
    Programs,
}

/// Finds out who is calling.
pub(crate) struct Authenticator {
    registry: Arc<Registry>,
    vault: Vault,
    clock: Clock,
    /// Whether browsers reach this server over HTTPS, be it by a proxy.
    is_https: bool,
    refusals: Arc<Refusals>,
}

impl Authenticator {
    /// Makes the authenticator.
    pub(crate) fn new(
        registry: Arc<Registry>,
        vault: Vault,
        refusals: Arc<Refusals>,
        clock: Clock,
        is_https: bool,
    ) -> Self {
        Self { registry, vault, clock, is_https, refusals }
    }

    /// The name of the session cookie.
    pub(crate) fn cookie_name(&self) -> &'static str {
        if self.is_https { COOKIE_NAME } else { PLAIN_COOKIE_NAME }
    }

    /// The token that the page of a session sends with every change.
    pub(crate) fn csrf_token(&self, session: SessionId) -> Result<String, VaultError> {
        let digest = self.vault.blind(BlindPurpose::Csrf, session.as_bytes())?;
        Ok(hex::encode(digest))
    }

    /// The caller, if the request's credential holds and they may do what is asked. A refusal is
    /// on record before it is answered.
    pub(crate) async fn check(
        &self,
        request: &HttpRequest,
        needed: Option<Permission>,
    ) -> Result<Caller, ApiError> {
        let caller = match self.identify(request) {
            Ok(caller) => caller,
            Err(stranger) => return Err(self.not_let_in(request, stranger).await),
        };
        know(request, caller.clone());
        if let Some(permission) = needed
            && !caller.may(permission)
        {
            let event = Event::new(Action::AccessDenied, Outcome::Denied, caller.actor())
                .from_request(caller.address, caller.request)
                .with("permission", permission.name());
            self.record(event, Source::Person(caller.user)).await?;
            return Err(ApiError::new(ErrorCode::PermissionDenied)
                .message(format!("This needs the permission `{}`.", permission.name())));
        }
        Ok(caller)
    }

    /// Who asks below `/v1` for what is not there, if they send a key. One that is not good is on record,
    /// as everywhere: otherwise keys could be tried out here without a trace.
    pub(crate) async fn recognise(&self, request: &HttpRequest) -> Result<(), ApiError> {
        if !is_of_programs(request.path()) || !matches!(presented_key(request), Ok(Some(_))) {
            return Ok(());
        }
        match self.identify(request) {
            Ok(caller) => {
                know(request, caller);
                Ok(())
            }
            Err(stranger) => Err(self.not_let_in(request, stranger).await),
        }
    }

    /// Puts on record that somebody is not let in. Of a good key that came from elsewhere the record
    /// says whose it is, and it counts among what is told of people: no flood of strangers hides it.
    async fn not_let_in(&self, request: &HttpRequest, stranger: Stranger) -> ApiError {
        let Stranger { error, elsewhere } = stranger;
        let Some(key) = elsewhere else { return self.not_identified(request, error).await };
        let actor = Actor::Key { user: key.user, key: key.id };
        let event = Event::new(Action::KeyRefuse, Outcome::Denied, actor)
            .subject(key.id)
            .from_request(peer(request), request_id(request));
        self.record(event, Source::Person(key.user)).await.err().unwrap_or(error)
    }

    /// Puts on record that somebody did not show who they are, and gives what they are answered.
    pub(crate) async fn not_identified(&self, request: &HttpRequest, error: ApiError) -> ApiError {
        let address = peer(request);
        let event = Event::new(Action::AuthenticationFailed, Outcome::Denied, Actor::Anonymous)
            .with("code", error.code().name())
            .from_request(address, request_id(request));
        self.record(event, Source::Address(address)).await.err().unwrap_or(error)
    }

    /// The same, for a caller who was let in a while ago.
    pub(crate) async fn check_again(&self, caller: &Caller) -> Result<(), ApiError> {
        if self.registry.holds(caller) {
            return Ok(());
        }
        self.record(withdrawn(caller), Source::Person(caller.user)).await?;
        Err(match caller.via {
            Via::Key(_) => ErrorCode::InvalidApiKey.into(),
            Via::Session(_) | Via::System => Withdrawn.into(),
        })
    }

    fn identify(&self, request: &HttpRequest) -> Result<Caller, Stranger> {
        let door = door_of(request.path());
        // As it is routed, that is with what was written as `%76` read: one that leads elsewhere than it
        // says takes neither credential.
        if door_of(request.match_info().as_str()) != door {
            return Err(ApiError::from(ErrorCode::NotFound).into());
        }
        let key = presented_key(request)?;
        let cookie = presented_cookie(request, self.cookie_name())?;
        let refused = match (door, key, cookie) {
            (Door::Programs, Some(key), None) => return self.by_key(request, &key),
            (Door::Programs, None, _) => ApiError::new(ErrorCode::InvalidApiKey)
                .message("Send an API key: `Authorization: Bearer sr-…`."),
            (Door::Web, None, Some(cookie)) => return Ok(self.by_session(request, &cookie)?),
            (Door::Web, None, None) => ErrorCode::NotSignedIn.into(),
            (_, Some(_), Some(_)) => ApiError::new(ErrorCode::InvalidRequest)
                .message("Send an API key or a session cookie, not both."),
            (Door::Web, Some(_), None) => ApiError::new(ErrorCode::NotSignedIn)
                .message("API keys work below /v1 only; this address is for the web app."),
        };
        Err(refused.into())
    }

    /// The one place where a key opens anything, whatever header it came in.
    fn by_key(&self, request: &HttpRequest, secret: &str) -> Result<Caller, Stranger> {
        let refused = || ApiError::from(ErrorCode::InvalidApiKey);
        if !token::is_well_formed(TokenKind::Key, secret) {
            return Err(refused().into());
        }
        let hash = self.blind(BlindPurpose::ApiKey, secret)?;
        let address = peer(request);
        let key = self.registry.use_key(&hash, self.clock.now(), address)?;
        let person = self.registry.person(key.user).filter(|one| !one.is_disabled);
        let person = person.ok_or_else(refused)?;
        Ok(Caller {
            user: key.user,
            permissions: person.permissions().and(key.scopes),
            roles: person.roles.iter().map(|role| role.name().to_owned()).collect(),
            via: Via::Key(KeyContext {
                id: key.id,
                models: key.models.clone(),
                limits: key.limits,
            }),
            address,
            request: request_id(request),
        })
    }

    fn by_session(&self, request: &HttpRequest, secret: &str) -> Result<Caller, ApiError> {
        let refused = || ApiError::from(ErrorCode::NotSignedIn);
        if !token::is_well_formed(TokenKind::Session, secret) {
            return Err(refused());
        }
        let hash = self.blind(BlindPurpose::Session, secret)?;
        let session = self.registry.use_session(&hash, self.clock.now()).ok_or_else(refused)?;
        let person = self.registry.person(session.user).filter(|one| !one.is_disabled);
        let person = person.ok_or_else(refused)?;
        if changes_state(request.method()) {
            self.check_own_page(request, session.id)?;
        }
        Ok(Caller {
            user: session.user,
            permissions: person.permissions(),
            roles: person.roles.iter().map(|role| role.name().to_owned()).collect(),
            via: Via::Session(session.id),
            address: peer(request),
            request: request_id(request),
        })
    }

    fn check_own_page(&self, request: &HttpRequest, session: SessionId) -> Result<(), ApiError> {
        check_same_origin(request)?;
        let expected = self.csrf_token(session).map_err(vault_error)?;
        let sent =
            request.headers().get(CSRF_HEADER).map(actix_web::http::header::HeaderValue::as_bytes);
        match sent {
            Some(sent) if bool::from(sent.ct_eq(expected.as_bytes())) => Ok(()),
            Some(_) | None => Err(ErrorCode::CrossOrigin.into()),
        }
    }

    fn blind(&self, purpose: BlindPurpose, secret: &str) -> Result<[u8; 32], ApiError> {
        self.vault.blind(purpose, secret.as_bytes()).map_err(vault_error)
    }

    async fn record(&self, event: Event, source: Source) -> Result<(), ApiError> {
        self.refusals.record(event, source).await.map_err(|error| audit_error(&error))
    }
}

/// What an audit log that cannot be written means to a client: nothing was done.
pub(crate) fn audit_error(error: &AuditError) -> ApiError {
    let code = match error {
        AuditError::Db(DbError::Full) => ErrorCode::StorageFull,
        _ => ErrorCode::AuditUnavailable,
    };
    ApiError::new(code).because(error)
}

impl From<Withdrawn> for ApiError {
    fn from(error: Withdrawn) -> Self {
        Self::from(ErrorCode::NotSignedIn).because(error)
    }
}

/// What a database that failed means to a client.
pub(crate) fn db_error(error: &DbError) -> ApiError {
    let code = match error {
        DbError::Full => ErrorCode::StorageFull,
        DbError::Busy => ErrorCode::Busy,
        DbError::Closed => ErrorCode::ShuttingDown,
        DbError::Refused(_) => ErrorCode::AuditUnavailable,
        DbError::ReadOnly
        | DbError::Io(_)
        | DbError::CannotOpen { .. }
        | DbError::Newer { .. }
        | DbError::Altered { .. }
        | DbError::Unusable(_)
        | DbError::Constraint(_)
        | DbError::Sqlite(_) => ErrorCode::Internal,
    };
    ApiError::new(code).because(error)
}

/// What a vault that does not serve means to a client.
pub(crate) fn vault_error(error: VaultError) -> ApiError {
    match error {
        VaultError::Sealed => ErrorCode::Sealed.into(),
        other => ApiError::new(ErrorCode::Internal).because(other),
    }
}

/// Refuses a change that a browser says came from another site.
pub(crate) fn check_same_origin(request: &HttpRequest) -> Result<(), ApiError> {
    let header = |name: &str| request.headers().get(name).map(|value| value.as_bytes().to_vec());
    if let Some(site) = header("sec-fetch-site") {
        return match &*site {
            b"same-origin" => Ok(()),
            _ => Err(ErrorCode::CrossOrigin.into()),
        };
    }
    let Some(origin) = request.headers().get(ORIGIN) else { return Ok(()) };
    let sent = origin.to_str().unwrap_or_default();
    let host = sent.split_once("://").map_or("", |(_, host)| host);
    if host.eq_ignore_ascii_case(named_host(request)) {
        Ok(())
    } else {
        Err(ErrorCode::CrossOrigin.into())
    }
}

/// Who was found to be calling, kept in the extensions of the request.
struct Known(Caller);

fn know(request: &HttpRequest, caller: Caller) {
    let mut extensions = request.extensions_mut();
    if caller.key().is_some() {
        extensions.insert(SentKey);
    }
    extensions.insert(Known(caller));
}

/// The program whose key came with a request below `/v1`, once that was found good.
pub(crate) fn known_program(request: &HttpRequest) -> Option<Caller> {
    let extensions = request.extensions();
    let Known(caller) = extensions.get::<Known>()?;
    (is_of_programs(request.path()) && caller.key().is_some()).then(|| caller.clone())
}

fn door_of(path: &str) -> Door {
    if path == "/metrics" || is_of_programs(path) { Door::Programs } else { Door::Web }
}

fn changes_state(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn presented_key(request: &HttpRequest) -> Result<Option<String>, ApiError> {
    let twice =
        || ApiError::new(ErrorCode::InvalidRequest).message("Send one API key, in one header.");
    let headers = request.headers();
    let mut found = None;
    for value in headers.get_all(AUTHORIZATION).chain(headers.get_all(API_KEY_HEADER)) {
        if found.is_some() {
            return Err(twice());
        }
        let text = value.to_str().map_err(|_| ApiError::from(ErrorCode::InvalidApiKey))?;
        found = Some(text.trim().to_owned());
    }
    let Some(text) = found else { return Ok(None) };
    if headers.contains_key(AUTHORIZATION) {
        let (scheme, rest) = text.split_once(' ').unwrap_or((&text, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(ErrorCode::InvalidApiKey.into());
        }
        return Ok(Some(rest.trim().to_owned()));
    }
    Ok(Some(text))
}

fn presented_cookie(request: &HttpRequest, name: &str) -> Result<Option<String>, ApiError> {
    let mut found = None;
    for value in request.headers().get_all(COOKIE) {
        let text = value.to_str().map_err(|_| ApiError::from(ErrorCode::NotSignedIn))?;
        for cookie in text.split(';').filter_map(|one| Cookie::parse(one.trim()).ok()) {
            if cookie.name() != name {
                continue;
            }
            if found.is_some() {
                return Err(ApiError::new(ErrorCode::InvalidRequest)
                    .message("The session cookie stands there twice."));
            }
            found = Some(cookie.value().to_owned());
        }
    }
    Ok(found)
}
