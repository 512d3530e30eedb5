//! `/api/admin/groups`.

use actix_web::web::{Data, Path};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GROUPS_MAX, GroupChange, GroupView, Groups};
use crate::access::Grant;
use crate::access::permission::{ManagePeople, ReadPeople};
use crate::config::LimitSet;
use crate::ids::{GroupId, UserId};
use crate::limits::Usage;
use crate::web::{Answer, ApiError, Body, Empty};

/// `GET /api/admin/groups`: every group.
pub(crate) async fn list(
    grant: Grant<ReadPeople>,
    groups: Data<Groups>,
) -> Result<Answer<GroupList>, ApiError> {
    let (groups, unreadable) = groups.list(&grant).await?;
    let groups = groups.into_iter().map(GroupJson::from).collect();
    Ok(Answer::new(&GroupList { groups, most: GROUPS_MAX, unreadable }))
}

/// `POST /api/admin/groups`: makes one.
pub(crate) async fn add(
    grant: Grant<ManagePeople>,
    body: Body<NewGroup>,
    groups: Data<Groups>,
) -> Result<Answer<GroupJson, 201>, ApiError> {
    let Body(NewGroup { name, limits, add }) = body;
    let (name, add) = (Some(name), add.unwrap_or_default());
    let change = GroupChange { name, limits, add, remove: Vec::new() };
    Ok(Answer::new(&groups.add(&grant, change).await?.into()))
}

/// `PATCH /api/admin/groups/{id}`: changes what is given.
pub(crate) async fn change(
    grant: Grant<ManagePeople>,
    id: Path<GroupId>,
    body: Body<ChangedGroup>,
    groups: Data<Groups>,
) -> Result<Answer<GroupJson>, ApiError> {
    let Body(ChangedGroup { name, limits, add, remove }) = body;
    let (add, remove) = (add.unwrap_or_default(), remove.unwrap_or_default());
    let change = GroupChange { name, limits, add, remove };
    Ok(Answer::new(&groups.change(&grant, id.into_inner(), change).await?.into()))
}

/// `DELETE /api/admin/groups/{id}`: deletes one, or one that cannot be opened.
pub(crate) async fn remove(
    grant: Grant<ManagePeople>,
    id: Path<GroupId>,
    groups: Data<Groups>,
) -> Result<Empty, ApiError> {
    groups.remove(Some(&grant), id.into_inner()).await?;
    Ok(Empty::empty())
}

/// The body of `POST /api/admin/groups`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGroup {
    name: String,
    /// What its members may use together; what is absent is not limited.
    limits: Option<LimitSet>,
    /// Who is taken in.
    add: Option<Vec<UserId>>,
}

/// The body of `PATCH /api/admin/groups/{id}`; what is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangedGroup {
    name: Option<String>,
    /// All of its limits: what is absent in them is not limited any more.
    limits: Option<LimitSet>,
    /// Who is taken in.
    add: Option<Vec<UserId>>,
    /// Who is taken out.
    remove: Option<Vec<UserId>>,
}

/// Every group, and how many there may be.
#[derive(Serialize, JsonSchema)]
pub(crate) struct GroupList {
    groups: Vec<GroupJson>,
    most: usize,
    /// Those that cannot be opened: they limit nobody, and can be deleted.
    unreadable: Vec<GroupId>,
}

/// A group.
#[derive(Serialize, JsonSchema)]
pub(crate) struct GroupJson {
    id: GroupId,
    name: String,
    limits: LimitSet,
    members: Vec<MemberJson>,
    /// What its members have used together.
    usage: Usage,
}

#[derive(Serialize, JsonSchema)]
struct MemberJson {
    id: UserId,
    username: String,
}

impl From<GroupView> for GroupJson {
    fn from(view: GroupView) -> Self {
        let GroupView { group, members, usage } = view;
        let member = |(id, username)| MemberJson { id, username };
        let members = members.into_iter().map(member).collect();
        Self { id: group.id, name: group.name, limits: group.limits, members, usage }
    }
}
