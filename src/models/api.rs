//! What the web app learns of the models.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::library::{Library, ModelsError};
use crate::access::permission::{BuiltinRole, ManageModels, ReadModels};
use crate::access::{Grant, SignedIn};
use crate::gate::{Catalog, Gate, Model, ModelKind, ModelState};
use crate::web::{ApiError, Body, ErrorCode};

/// `GET /api/models`: those that the caller may use.
pub(crate) async fn list(signed_in: SignedIn, gate: Data<Gate>) -> HttpResponse {
    let models = gate.models(signed_in.caller());
    let views: Vec<ModelView> = models.iter().map(|model| ModelView::from(&**model)).collect();
    HttpResponse::Ok().json(json!({ "models": views }))
}

/// `GET /api/admin/models`: all of them, with where they came from and who may use them.
pub(crate) async fn admin_list(_grant: Grant<ReadModels>, library: Data<Library>) -> HttpResponse {
    let views: Vec<Value> = library.all().iter().map(|model| admin_view(model)).collect();
    HttpResponse::Ok().json(json!({ "models": views }))
}

/// Who may use a model.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessChange {
    /// Names of roles; `null`: everybody who may use models.
    roles: Option<Vec<String>>,
}

/// `PATCH /api/admin/models/{id}`: says who may use a model.
pub(crate) async fn change_access(
    grant: Grant<ManageModels>,
    id: Path<String>,
    body: Body<AccessChange>,
    library: Data<Library>,
) -> Result<HttpResponse, ApiError> {
    let Body(AccessChange { roles }) = body;
    let unknown = roles.iter().flatten().any(|role| BuiltinRole::parse(role).is_none());
    if unknown {
        return Err(ApiError::new(ErrorCode::InvalidValue)
            .message("`roles` names a role that does not exist.")
            .param("roles"));
    }
    library.set_access(&id, roles, grant.caller()).await?;
    let model = library.find(Some(&id)).ok_or(ErrorCode::ModelNotFound)?;
    Ok(HttpResponse::Ok().json(admin_view(&model)))
}

impl From<ModelsError> for ApiError {
    fn from(error: ModelsError) -> Self {
        let code = match &error {
            ModelsError::Withdrawn(_) => ErrorCode::NotSignedIn,
            ModelsError::NotFound => ErrorCode::ModelNotFound,
            ModelsError::Audit(_) => ErrorCode::AuditUnavailable,
            ModelsError::Db(_)
            | ModelsError::BadName(_)
            | ModelsError::SameName(_)
            | ModelsError::NoSuchDefault(_)
            | ModelsError::Thread(_) => ErrorCode::Internal,
        };
        Self::new(code).because(error)
    }
}

fn admin_view(model: &Model) -> Value {
    let mut view = serde_json::to_value(ModelView::from(model)).unwrap_or_default();
    view["aliases"] = json!(model.aliases);
    view["sha256"] = json!(model.digest);
    view["roles"] = json!(model.roles);
    view["file_bytes"] = json!(model.info().map(|info| info.file_bytes));
    view["since"] = json!(model.since);
    view["reason"] = match &model.state {
        ModelState::Failed(reason) => json!(reason),
        ModelState::Loading | ModelState::Ready => Value::Null,
    };
    view
}

/// A model, for those who use it.
#[derive(Debug, Serialize)]
pub(crate) struct ModelView {
    id: String,
    context_tokens: Option<usize>,
    parameters: Option<u64>,
    quantization: Option<String>,
    architecture: Option<String>,
    /// `chat`, `embedding` or `reranker`; none until the model is read.
    kind: Option<&'static str>,
    state: &'static str,
    default: bool,
}

impl From<&Model> for ModelView {
    fn from(model: &Model) -> Self {
        let info = model.info();
        Self {
            id: model.name.clone(),
            context_tokens: info.map(|info| info.context_tokens),
            parameters: info.map(|info| info.parameters),
            quantization: info.map(|info| info.quantization.clone()),
            architecture: info.map(|info| info.architecture.clone()),
            kind: model.kind().map(ModelKind::name),
            state: model.state.name(),
            default: model.is_default,
        }
    }
}
