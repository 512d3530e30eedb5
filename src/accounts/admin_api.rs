//! What administrators do with accounts, over HTTP.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use serde::Deserialize;

use super::api::PersonJson;
use super::people::PersonChange;
use super::{Accounts, DisplayName, Username};
use crate::access::Grant;
use crate::access::permission::{BuiltinRole, ManagePeople, Permission, ReadPeople};
use crate::ids::UserId;
use crate::secret::SecretText;
use crate::web::{ApiError, Body};

/// Everybody.
pub(crate) async fn people(
    grant: Grant<ReadPeople>,
    accounts: Data<Accounts>,
) -> Result<HttpResponse, ApiError> {
    let people: Vec<PersonJson> =
        accounts.people(&grant).await?.into_iter().map(PersonJson::from).collect();
    Ok(HttpResponse::Ok().json(serde_json::json!({ "people": people })))
}

/// The body of `POST /api/admin/people`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InviteBody {
    username: String,
    display_name: String,
    roles: Vec<String>,
}

/// Makes an account and its invitation link.
pub(crate) async fn invite(
    grant: Grant<ManagePeople>,
    body: Body<InviteBody>,
    accounts: Data<Accounts>,
) -> Result<HttpResponse, ApiError> {
    let Body(InviteBody { username, display_name, roles }) = body;
    let (username, name) = (Username::parse(&username)?, DisplayName::parse(&display_name)?);
    let (view, secret) = accounts.invite(&grant, &username, &name, &roles).await?;
    Ok(HttpResponse::Created().json(serde_json::json!({
        "person": PersonJson::from(view), "invitation_link": link(&secret),
    })))
}

/// The body of `PATCH /api/admin/people/{id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeBody {
    roles: Option<Vec<String>>,
    disabled: Option<bool>,
}

/// Changes roles, or switches an account off or on.
pub(crate) async fn change(
    grant: Grant<ManagePeople>,
    id: Path<UserId>,
    body: Body<ChangeBody>,
    accounts: Data<Accounts>,
) -> Result<HttpResponse, ApiError> {
    let Body(ChangeBody { roles, disabled }) = body;
    let change = PersonChange { roles, is_disabled: disabled };
    let view = accounts.change(&grant, id.into_inner(), change).await?;
    Ok(HttpResponse::Ok().json(serde_json::json!({ "person": PersonJson::from(view) })))
}

/// Deletes a person and everything that is theirs.
pub(crate) async fn delete(
    grant: Grant<ManagePeople>,
    id: Path<UserId>,
    accounts: Data<Accounts>,
) -> Result<HttpResponse, ApiError> {
    accounts.delete(Some(&grant), id.into_inner()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Starts a reset.
pub(crate) async fn reset(
    grant: Grant<ManagePeople>,
    id: Path<UserId>,
    accounts: Data<Accounts>,
) -> Result<HttpResponse, ApiError> {
    let secret = accounts.reset(&grant, id.into_inner()).await?;
    Ok(HttpResponse::Ok().json(serde_json::json!({ "invitation_link": link(&secret) })))
}

/// The permission matrix.
pub(crate) async fn roles(_: Grant<ReadPeople>) -> HttpResponse {
    let permissions: Vec<_> = Permission::ALL
        .iter()
        .map(|one| serde_json::json!({ "name": one.name(), "meaning": one.meaning() }))
        .collect();
    let roles: Vec<_> = BuiltinRole::ALL
        .iter()
        .map(|role| {
            let held: Vec<&str> = role.permissions().iter().map(Permission::name).collect();
            serde_json::json!({ "name": role.name(), "permissions": held })
        })
        .collect();
    HttpResponse::Ok().json(serde_json::json!({ "permissions": permissions, "roles": roles }))
}

/// The path and fragment of an invitation: the fragment never reaches a server's log.
fn link(secret: &SecretText) -> String {
    format!("/invite#{}", secret.expose())
}
