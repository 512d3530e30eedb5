//! The account part of the web app's API: set-up, signing in and out, one's own account.

use actix_web::cookie::time::Duration as CookieAge;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::USER_AGENT;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use super::links::NewOwner;
use super::people::PersonView;
use super::sessions::Begun;
use super::{Accounts, DisplayName, Origin};
use crate::access::authenticate::{check_same_origin, vault_error};
use crate::access::{Authenticator, Public, SignedIn};
use crate::clock::{Clock, Timestamp};
use crate::gate::Gate;
use crate::ids::{SessionId, UserId};
use crate::secret::SecretText;
use crate::web::{ApiError, Body};

/// What the page needs to know before anybody is signed in.
#[derive(Serialize)]
pub(crate) struct Status {
    state: &'static str,
    organisation: String,
    version: &'static str,
}

/// Says whether the server is set up.
pub(crate) async fn status(_: Public, accounts: Data<Accounts>) -> Result<HttpResponse, ApiError> {
    let state = if accounts.is_set_up().await? { "ready" } else { "setup" };
    let organisation = accounts.organisation().to_owned();
    Ok(HttpResponse::Ok().json(Status { state, organisation, version: env!("CARGO_PKG_VERSION") }))
}

/// The body of `POST /api/setup`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetupBody {
    token: SecretText,
    username: String,
    display_name: Option<String>,
    password: SecretText,
}

/// Redeems the set-up link: makes the owner and signs them in.
pub(crate) async fn setup(
    public: Public,
    request: HttpRequest,
    body: Body<SetupBody>,
    accounts: Data<Accounts>,
    authenticator: Data<Authenticator>,
) -> Result<HttpResponse, ApiError> {
    check_same_origin(&request)?;
    let Body(SetupBody { token, username, display_name, password }) = body;
    let owner = NewOwner::parse(&username, display_name.as_deref(), password)?;
    let origin = origin(public, &request);
    let begun = accounts.redeem_setup(token.expose(), owner, &origin).await?;
    signed_in(&accounts, &authenticator, begun, HttpResponse::Created()).await
}

/// The body of `POST /api/invitation`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvitationBody {
    token: SecretText,
    display_name: Option<String>,
    password: SecretText,
}

/// Redeems an invitation or reset: sets the password and signs in.
pub(crate) async fn invitation(
    public: Public,
    request: HttpRequest,
    body: Body<InvitationBody>,
    accounts: Data<Accounts>,
    authenticator: Data<Authenticator>,
) -> Result<HttpResponse, ApiError> {
    check_same_origin(&request)?;
    let Body(InvitationBody { token, display_name, password }) = body;
    let name = display_name.as_deref().map(DisplayName::parse).transpose()?;
    let origin = origin(public, &request);
    let begun = accounts.redeem_invitation(token.expose(), &password, name, &origin).await?;
    signed_in(&accounts, &authenticator, begun, HttpResponse::Created()).await
}

/// The body of `POST /api/session`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignInBody {
    username: String,
    password: SecretText,
}

/// Signs in.
pub(crate) async fn sign_in(
    public: Public,
    request: HttpRequest,
    body: Body<SignInBody>,
    accounts: Data<Accounts>,
    authenticator: Data<Authenticator>,
) -> Result<HttpResponse, ApiError> {
    check_same_origin(&request)?;
    let Body(SignInBody { username, password }) = body;
    let begun = accounts.sign_in(&username, &password, &origin(public, &request)).await?;
    signed_in(&accounts, &authenticator, begun, HttpResponse::Ok()).await
}

/// Signs out.
pub(crate) async fn sign_out(
    signed_in: SignedIn,
    accounts: Data<Accounts>,
    authenticator: Data<Authenticator>,
) -> Result<HttpResponse, ApiError> {
    if let Some(session) = signed_in.caller().session() {
        accounts.end_session(signed_in.caller(), session).await?;
    }
    let mut cookie = cookie(&authenticator, String::new());
    cookie.make_removal();
    Ok(HttpResponse::NoContent()
        .cookie(cookie)
        .insert_header(("clear-site-data", "\"cache\", \"storage\""))
        .finish())
}

/// Who is signed in.
pub(crate) async fn me(
    signed_in: SignedIn,
    accounts: Data<Accounts>,
    authenticator: Data<Authenticator>,
    gate: Data<Gate>,
) -> Result<HttpResponse, ApiError> {
    let caller = signed_in.caller();
    let mut me = me_json(&accounts, &authenticator, caller.user, caller.session()).await?;
    me["usage"] = gate.usage_view(caller);
    Ok(HttpResponse::Ok().json(me))
}

/// The body of `PATCH /api/me`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileBody {
    display_name: String,
}

/// Changes the name that one is shown by.
pub(crate) async fn rename(
    signed_in: SignedIn,
    body: Body<ProfileBody>,
    accounts: Data<Accounts>,
) -> Result<HttpResponse, ApiError> {
    accounts.rename(&signed_in, DisplayName::parse(&body.0.display_name)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The body of `POST /api/me/password`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordBody {
    current: SecretText,
    new: SecretText,
}

/// Changes one's password; other sessions end.
pub(crate) async fn change_password(
    signed_in: SignedIn,
    body: Body<PasswordBody>,
    accounts: Data<Accounts>,
) -> Result<HttpResponse, ApiError> {
    accounts.change_password(&signed_in, &body.0.current, &body.0.new).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Serialize)]
struct SessionJson {
    id: SessionId,
    created_at: Timestamp,
    last_seen_at: Timestamp,
    address: Option<String>,
    user_agent: String,
    current: bool,
}

/// One's own sessions.
pub(crate) async fn sessions(
    signed_in: SignedIn,
    accounts: Data<Accounts>,
) -> Result<HttpResponse, ApiError> {
    let current = signed_in.caller().session();
    let views = accounts.sessions(signed_in.caller()).await?.into_iter();
    let sessions: Vec<SessionJson> = views
        .map(|view| SessionJson {
            current: Some(view.id) == current,
            id: view.id,
            created_at: view.created_at,
            last_seen_at: view.last_seen_at,
            address: view.address,
            user_agent: view.user_agent,
        })
        .collect();
    Ok(HttpResponse::Ok().json(serde_json::json!({ "sessions": sessions })))
}

/// Ends one of one's own sessions.
pub(crate) async fn end_session(
    signed_in: SignedIn,
    id: Path<SessionId>,
    accounts: Data<Accounts>,
) -> Result<HttpResponse, ApiError> {
    accounts.end_session(signed_in.caller(), id.into_inner()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A person as JSON.
#[derive(Serialize)]
pub(super) struct PersonJson {
    id: UserId,
    username: String,
    display_name: String,
    roles: Vec<&'static str>,
    disabled: bool,
    invited: bool,
    created_at: Timestamp,
}

impl From<PersonView> for PersonJson {
    fn from(view: PersonView) -> Self {
        Self {
            id: view.id,
            username: view.username,
            display_name: view.display_name,
            roles: view.roles.iter().map(|role| role.name()).collect(),
            disabled: view.is_disabled,
            invited: view.is_invited,
            created_at: view.created_at,
        }
    }
}

async fn me_json(
    accounts: &Accounts,
    authenticator: &Authenticator,
    user: UserId,
    session: Option<SessionId>,
) -> Result<serde_json::Value, ApiError> {
    let view = accounts.me(user).await?;
    let none = crate::access::permission::PermissionSet::default();
    let held = view.roles.iter().fold(none, |sum, role| sum.or(role.permissions()));
    let permissions: Vec<&str> =
        held.iter().map(crate::access::permission::Permission::name).collect();
    let csrf = match session {
        Some(session) => Some(authenticator.csrf_token(session).map_err(vault_error)?),
        None => None,
    };
    let mut person = serde_json::to_value(PersonJson::from(view))
        .map_err(|error| ApiError::from(crate::web::ErrorCode::Internal).because(error))?;
    person["permissions"] = permissions.into();
    Ok(serde_json::json!({ "person": person, "csrf": csrf, "session_id": session }))
}

async fn signed_in(
    accounts: &Accounts,
    authenticator: &Authenticator,
    begun: Begun,
    mut response: actix_web::HttpResponseBuilder,
) -> Result<HttpResponse, ApiError> {
    let me = me_json(accounts, authenticator, begun.user, Some(begun.session)).await?;
    let mut cookie = cookie(authenticator, begun.secret.expose().to_owned());
    let age = begun.expires_at.since(Clock::system().now());
    cookie.set_max_age(CookieAge::seconds(i64::try_from(age.as_secs()).unwrap_or(0)));
    Ok(response.cookie(cookie).json(me))
}

fn cookie(authenticator: &Authenticator, value: String) -> Cookie<'static> {
    let name = authenticator.cookie_name();
    Cookie::build(name, value)
        .path("/")
        .secure(name.starts_with("__Host-"))
        .http_only(true)
        .same_site(SameSite::Strict)
        .finish()
}

fn origin(public: Public, request: &HttpRequest) -> Origin {
    let agent = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
    let user_agent = agent.unwrap_or_default().chars().take(160).collect();
    Origin { address: public.address, request: public.request, user_agent }
}
