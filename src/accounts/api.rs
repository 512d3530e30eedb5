//! The account part of the web app's API: set-up, signing in and out, one's own account.

use actix_web::HttpRequest;
use actix_web::cookie::time::Duration as CookieAge;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::USER_AGENT;
use actix_web::web::{Data, Path};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::links::NewOwner;
use super::people::PersonView;
use super::sessions::Begun;
use super::{AccountError, Accounts, DisplayName, Origin};
use crate::access::authenticate::{check_same_origin, vault_error};
use crate::access::permission::{Permission, PermissionSet};
use crate::access::{Authenticator, Public, SignedIn};
use crate::clock::{Clock, Timestamp};
use crate::gate::Gate;
use crate::gate::standing::UsageJson;
use crate::ids::{SessionId, UserId};
use crate::secret::SecretText;
use crate::web::{Answer, ApiError, Body, Empty};

/// What the page needs to know before anybody is signed in.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Status {
    /// `setup` before there is an owner, then `ready`; `sealed` while the vault is.
    state: &'static str,
    organisation: String,
    version: &'static str,
}

/// Says whether the server is set up.
pub(crate) async fn status(
    _: Public,
    accounts: Data<Accounts>,
) -> Result<Answer<Status>, ApiError> {
    let state = if accounts.is_set_up().await? { "ready" } else { "setup" };
    let organisation = accounts.organisation().to_owned();
    Ok(Answer::new(&Status { state, organisation, version: env!("CARGO_PKG_VERSION") }))
}

/// The body of `POST /api/setup`.
#[derive(Deserialize, JsonSchema)]
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
) -> Result<Answer<Me, 201>, ApiError> {
    check_same_origin(&request)?;
    let Body(SetupBody { token, username, display_name, password }) = body;
    let owner = NewOwner::parse(&username, display_name.as_deref(), password)?;
    let origin = origin(public, &request);
    let begun = accounts.redeem_setup(token.expose(), owner, &origin).await;
    let begun = told(&authenticator, &request, begun).await?;
    signed_in(&accounts, &authenticator, begun).await
}

/// The body of `POST /api/invitation`.
#[derive(Deserialize, JsonSchema)]
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
) -> Result<Answer<Me, 201>, ApiError> {
    check_same_origin(&request)?;
    let Body(InvitationBody { token, display_name, password }) = body;
    let name = display_name.as_deref().map(DisplayName::parse).transpose()?;
    let origin = origin(public, &request);
    let begun = accounts.redeem_invitation(token.expose(), &password, name, &origin).await;
    let begun = told(&authenticator, &request, begun).await?;
    signed_in(&accounts, &authenticator, begun).await
}

/// The body of `POST /api/session`.
#[derive(Deserialize, JsonSchema)]
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
) -> Result<Answer<Me>, ApiError> {
    check_same_origin(&request)?;
    let Body(SignInBody { username, password }) = body;
    let begun = accounts.sign_in(&username, &password, &origin(public, &request)).await;
    let begun = told(&authenticator, &request, begun).await?;
    signed_in(&accounts, &authenticator, begun).await
}

/// An attempt that came too early was not made, and is on record all the same.
async fn told<T>(
    authenticator: &Authenticator,
    request: &HttpRequest,
    outcome: Result<T, AccountError>,
) -> Result<T, ApiError> {
    match outcome {
        Err(error @ AccountError::Throttled(_)) => {
            Err(authenticator.not_identified(request, error.into()).await)
        }
        other => Ok(other?),
    }
}

/// Signs out.
pub(crate) async fn sign_out(
    signed_in: SignedIn,
    accounts: Data<Accounts>,
    authenticator: Data<Authenticator>,
) -> Result<Empty, ApiError> {
    if let Some(session) = signed_in.caller().session() {
        accounts.end_session(signed_in.caller(), session).await?;
    }
    let mut cookie = cookie(&authenticator, String::new());
    cookie.make_removal();
    let answer = Empty::empty().cookie(&cookie);
    Ok(answer.header(("clear-site-data", "\"cache\", \"storage\"")))
}

/// Who is signed in.
pub(crate) async fn me(
    signed_in: SignedIn,
    accounts: Data<Accounts>,
    authenticator: Data<Authenticator>,
    gate: Data<Gate>,
) -> Result<Answer<WithUsage>, ApiError> {
    let caller = signed_in.caller();
    let me = me_json(&accounts, &authenticator, caller.user, caller.session()).await?;
    Ok(Answer::new(&WithUsage { me, usage: gate.usage_view(caller) }))
}

/// The body of `PATCH /api/me`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileBody {
    display_name: String,
}

/// Changes the name that one is shown by.
pub(crate) async fn rename(
    signed_in: SignedIn,
    body: Body<ProfileBody>,
    accounts: Data<Accounts>,
) -> Result<Empty, ApiError> {
    accounts.rename(&signed_in, DisplayName::parse(&body.0.display_name)?).await?;
    Ok(Empty::empty())
}

/// The body of `POST /api/me/password`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordBody {
    current: SecretText,
    new: SecretText,
}

/// Changes one's password; other sessions end.
pub(crate) async fn change_password(
    signed_in: SignedIn,
    request: HttpRequest,
    body: Body<PasswordBody>,
    accounts: Data<Accounts>,
    authenticator: Data<Authenticator>,
) -> Result<Empty, ApiError> {
    let changed = accounts.change_password(&signed_in, &body.0.current, &body.0.new).await;
    told(&authenticator, &request, changed).await?;
    Ok(Empty::empty())
}

#[derive(Serialize, JsonSchema)]
struct SessionJson {
    id: SessionId,
    created_at: Timestamp,
    last_seen_at: Timestamp,
    address: Option<String>,
    user_agent: String,
    /// Whether it is the one that asks.
    current: bool,
}

/// Where somebody is signed in.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SessionList {
    sessions: Vec<SessionJson>,
}

/// One's own sessions.
pub(crate) async fn sessions(
    signed_in: SignedIn,
    accounts: Data<Accounts>,
) -> Result<Answer<SessionList>, ApiError> {
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
    Ok(Answer::new(&SessionList { sessions }))
}

/// Ends one of one's own sessions.
pub(crate) async fn end_session(
    signed_in: SignedIn,
    id: Path<SessionId>,
    accounts: Data<Accounts>,
) -> Result<Empty, ApiError> {
    accounts.end_session(signed_in.caller(), id.into_inner()).await?;
    Ok(Empty::empty())
}

/// A person as JSON.
#[derive(Serialize, JsonSchema)]
pub(super) struct PersonJson {
    id: UserId,
    username: String,
    display_name: String,
    roles: Vec<&'static str>,
    disabled: bool,
    /// Whether the invitation is still open.
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

/// Oneself.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Me {
    person: OwnJson,
    /// What `x-strongroom-csrf` has to be; it holds for this session.
    csrf: Option<String>,
    session_id: Option<SessionId>,
}

/// Oneself, and what one has used of one's limits.
#[derive(Serialize, JsonSchema)]
pub(crate) struct WithUsage {
    #[serde(flatten)]
    me: Me,
    usage: UsageJson,
}

/// A person, and what they may do.
#[derive(Serialize, JsonSchema)]
struct OwnJson {
    #[serde(flatten)]
    person: PersonJson,
    permissions: Vec<&'static str>,
}

async fn me_json(
    accounts: &Accounts,
    authenticator: &Authenticator,
    user: UserId,
    session: Option<SessionId>,
) -> Result<Me, ApiError> {
    let view = accounts.me(user).await?;
    let none = PermissionSet::default();
    let held = view.roles.iter().fold(none, |sum, role| sum.or(role.permissions()));
    let permissions = held.iter().map(Permission::name).collect();
    let csrf = match session {
        Some(session) => Some(authenticator.csrf_token(session).map_err(vault_error)?),
        None => None,
    };
    let person = OwnJson { person: PersonJson::from(view), permissions };
    Ok(Me { person, csrf, session_id: session })
}

async fn signed_in<const STATUS: u16>(
    accounts: &Accounts,
    authenticator: &Authenticator,
    begun: Begun,
) -> Result<Answer<Me, STATUS>, ApiError> {
    let me = me_json(accounts, authenticator, begun.user, Some(begun.session)).await?;
    let mut cookie = cookie(authenticator, begun.secret.expose().to_owned());
    let age = begun.expires_at.since(Clock::system().now());
    cookie.set_max_age(CookieAge::seconds(i64::try_from(age.as_secs()).unwrap_or(0)));
    Ok(Answer::new(&me).cookie(&cookie))
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
