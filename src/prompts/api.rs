//! `/api/admin/prompts` and `/api/prompts`.

use actix_web::web::{Data, Path};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unreadable::UnreadableRow;
use super::{Draft, PROMPTS_MAX, Prompt, Prompts, PromptsError, RowName, Unreadable};
use crate::access::Grant;
use crate::access::authenticate::{audit_error, db_error, vault_error};
use crate::access::permission::{Chat, ManagePrompts};
use crate::clock::Timestamp;
use crate::ids::SharedPromptId;
use crate::web::{Answer, ApiError, Body, Empty, ErrorCode};

/// `GET /api/admin/prompts`: every shared prompt.
pub(crate) async fn list(
    grant: Grant<ManagePrompts>,
    prompts: Data<Prompts>,
) -> Result<Answer<PromptList>, ApiError> {
    let Unreadable { first, count } = prompts.unreadable(&grant);
    let prompts = prompts.list(&grant).into_iter().map(PromptJson::from).collect();
    let unreadable = first.into_iter().map(UnreadableJson::from).collect();
    let list = PromptList { prompts, most: PROMPTS_MAX, unreadable, unreadable_count: count };
    Ok(Answer::new(&list))
}

/// `POST /api/admin/prompts`: makes one.
pub(crate) async fn add(
    grant: Grant<ManagePrompts>,
    body: Body<PromptBody>,
    prompts: Data<Prompts>,
) -> Result<Answer<PromptJson, 201>, ApiError> {
    let Body(body) = body;
    Ok(Answer::new(&prompts.add(&grant, body.into()).await?.into()))
}

/// `PATCH /api/admin/prompts/{id}`: says all of it anew.
pub(crate) async fn change(
    grant: Grant<ManagePrompts>,
    id: Path<SharedPromptId>,
    body: Body<PromptBody>,
    prompts: Data<Prompts>,
) -> Result<Answer<PromptJson>, ApiError> {
    let Body(body) = body;
    Ok(Answer::new(&prompts.change(&grant, id.into_inner(), body.into()).await?.into()))
}

/// `DELETE /api/admin/prompts/{id}`: deletes one, or a row that cannot be opened.
pub(crate) async fn remove(
    grant: Grant<ManagePrompts>,
    id: Path<String>,
    prompts: Data<Prompts>,
) -> Result<Empty, ApiError> {
    let name = RowName::parse(&id).ok_or(ErrorCode::NotFound)?;
    prompts.remove(&grant, name).await?;
    Ok(Empty::empty())
}

/// `GET /api/prompts`: those that one's own conversations may stand under.
pub(crate) async fn choices(
    grant: Grant<Chat>,
    prompts: Data<Prompts>,
) -> Result<Answer<Choices>, ApiError> {
    let choice = |prompt: Prompt| Choice {
        id: prompt.shared.id,
        name: prompt.name,
        models: prompt.shared.models,
    };
    let prompts = prompts.open_to(grant.caller()).into_iter().map(choice).collect();
    Ok(Answer::new(&Choices { prompts }))
}

/// What is said of a shared prompt.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromptBody {
    name: String,
    text: String,
    /// `null`: for everybody.
    roles: Option<Vec<String>>,
    /// `null`: for every model.
    models: Option<Vec<String>>,
}

impl From<PromptBody> for Draft {
    fn from(body: PromptBody) -> Self {
        let PromptBody { name, text, roles, models } = body;
        Self { name, text, roles, models }
    }
}

/// A shared prompt, for those who keep them.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PromptJson {
    id: SharedPromptId,
    name: String,
    text: String,
    /// `null`: for everybody.
    roles: Option<Vec<String>>,
    /// `null`: for every model.
    models: Option<Vec<String>>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Prompt> for PromptJson {
    fn from(prompt: Prompt) -> Self {
        let Prompt { name, shared, created_at, updated_at } = prompt;
        let (id, text, roles, models) = (shared.id, shared.text, shared.roles, shared.models);
        Self { id, name, text, roles, models, created_at, updated_at }
    }
}

/// Every shared prompt, and how many there may be.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PromptList {
    prompts: Vec<PromptJson>,
    most: usize,
    /// The first of those that cannot be opened, and are left out.
    unreadable: Vec<UnreadableJson>,
    /// How many of these there are.
    unreadable_count: usize,
}

/// What cannot be opened.
#[derive(Serialize, JsonSchema)]
struct UnreadableJson {
    /// What it is deleted by.
    id: String,
    /// What stands there as its id, as far as it can be shown.
    says: String,
}

impl From<UnreadableRow> for UnreadableJson {
    fn from(row: UnreadableRow) -> Self {
        Self { id: row.name.to_string(), says: row.says }
    }
}

/// What a conversation may stand under.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Choices {
    prompts: Vec<Choice>,
}

#[derive(Serialize, JsonSchema)]
struct Choice {
    id: SharedPromptId,
    name: String,
    /// `null`: for every model.
    models: Option<Vec<String>>,
}

impl From<PromptsError> for ApiError {
    fn from(error: PromptsError) -> Self {
        let said = error.to_string();
        let with =
            |param: &str| Self::new(ErrorCode::InvalidValue).message(said.clone()).param(param);
        match error {
            PromptsError::NotFound => ErrorCode::NotFound.into(),
            PromptsError::BadName => with("name"),
            PromptsError::BadText => with("text"),
            PromptsError::BadRoles => with("roles"),
            PromptsError::BadModels => with("models"),
            PromptsError::SameName => Self::new(ErrorCode::Conflict).message(said).param("name"),
            PromptsError::TooMany => Self::new(ErrorCode::Conflict).message(said),
            PromptsError::Withdrawn(error) => error.into(),
            PromptsError::Db(error) => db_error(&error),
            PromptsError::Audit(error) => audit_error(&error),
            PromptsError::Vault(error) => vault_error(error),
        }
    }
}
