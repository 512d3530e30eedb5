//! What administrators do with accounts, over HTTP.

use actix_web::web::{Data, Path};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::PersonJson;
use super::people::PersonChange;
use super::{Accounts, DisplayName, Username};
use crate::access::Grant;
use crate::access::permission::{BuiltinRole, ManagePeople, Permission, ReadPeople};
use crate::ids::UserId;
use crate::secret::SecretText;
use crate::web::{Answer, ApiError, Body, Empty};

/// Everybody.
pub(crate) async fn people(
    grant: Grant<ReadPeople>,
    accounts: Data<Accounts>,
) -> Result<Answer<People>, ApiError> {
    let people = accounts.people(&grant).await?.into_iter().map(PersonJson::from).collect();
    Ok(Answer::new(&People { people }))
}

/// Everybody.
#[derive(Serialize, JsonSchema)]
pub(crate) struct People {
    people: Vec<PersonJson>,
}

/// A person.
#[derive(Serialize, JsonSchema)]
pub(crate) struct One {
    person: PersonJson,
}

/// A new person, and the path of the link that lets them in.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Invited {
    person: PersonJson,
    invitation_link: String,
}

/// The path of a link that lets somebody set a new password.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Reset {
    invitation_link: String,
}

/// Which role may do what.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Matrix {
    permissions: Vec<PermissionJson>,
    roles: Vec<RoleJson>,
}

#[derive(Serialize, JsonSchema)]
struct PermissionJson {
    name: &'static str,
    meaning: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct RoleJson {
    name: &'static str,
    permissions: Vec<&'static str>,
}

/// The body of `POST /api/admin/people`.
#[derive(Deserialize, JsonSchema)]
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
) -> Result<Answer<Invited, 201>, ApiError> {
    let Body(InviteBody { username, display_name, roles }) = body;
    let (username, name) = (Username::parse(&username)?, DisplayName::parse(&display_name)?);
    let (view, secret) = accounts.invite(&grant, &username, &name, &roles).await?;
    Ok(Answer::new(&Invited { person: view.into(), invitation_link: link(&secret) }))
}

/// The body of `PATCH /api/admin/people/{id}`.
#[derive(Deserialize, JsonSchema)]
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
) -> Result<Answer<One>, ApiError> {
    let Body(ChangeBody { roles, disabled }) = body;
    let change = PersonChange { roles, is_disabled: disabled };
    let view = accounts.change(&grant, id.into_inner(), change).await?;
    Ok(Answer::new(&One { person: view.into() }))
}

/// Deletes a person and everything that is theirs.
pub(crate) async fn delete(
    grant: Grant<ManagePeople>,
    id: Path<UserId>,
    accounts: Data<Accounts>,
) -> Result<Empty, ApiError> {
    accounts.delete(Some(&grant), id.into_inner()).await?;
    Ok(Empty::empty())
}

/// Starts a reset.
pub(crate) async fn reset(
    grant: Grant<ManagePeople>,
    id: Path<UserId>,
    accounts: Data<Accounts>,
) -> Result<Answer<Reset>, ApiError> {
    let secret = accounts.reset(&grant, id.into_inner()).await?;
    Ok(Answer::new(&Reset { invitation_link: link(&secret) }))
}

/// The permission matrix.
pub(crate) async fn roles(_: Grant<ReadPeople>) -> Answer<Matrix> {
    let permissions = Permission::ALL
        .iter()
        .map(|one| PermissionJson { name: one.name(), meaning: one.meaning() })
        .collect();
    let roles = BuiltinRole::ALL
        .iter()
        .map(|role| {
            let held = role.permissions().iter().map(Permission::name).collect();
            RoleJson { name: role.name(), permissions: held }
        })
        .collect();
    Answer::new(&Matrix { permissions, roles })
}

/// The path and fragment of an invitation: the fragment never reaches a server's log.
fn link(secret: &SecretText) -> String {
    format!("/invite#{}", secret.expose())
}
