//! The models over HTTP: what everybody sees of those they may use, and what administrators see and
//! do.

use actix_web::web::{Data, Path};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::ModelsError;
use super::library::Library;
use super::scanning::Scan;
use crate::access::permission::{BuiltinRole, ManageModels, ReadModels};
use crate::access::{Grant, SignedIn};
use crate::clock::Timestamp;
use crate::gate::{Catalog, Gate, Model, ModelKind, ModelState, Setback};
use crate::vault::VaultError;
use crate::web::{Answer, ApiError, Body, Empty, ErrorCode};

/// `GET /api/models`: those that the caller may use.
pub(crate) async fn list(signed_in: SignedIn, gate: Data<Gate>) -> Answer<Models> {
    let models = gate.models(signed_in.caller());
    let models = models.iter().map(|model| ModelJson::from(&**model)).collect();
    Answer::new(&Models { models })
}

/// Models that one may use.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Models {
    models: Vec<ModelJson>,
}

/// `GET /api/admin/models`: all of them, with where they came from and who may use them.
pub(crate) async fn admin_list(
    _grant: Grant<ReadModels>,
    library: Data<Library>,
) -> Answer<Served> {
    Answer::new(&served(&library))
}

/// Every model, and the aliases that can be taken away here.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Served {
    models: Vec<ServedJson>,
    /// Further names that were made at run time.
    aliases: Vec<AliasJson>,
    /// Whether there is a directory that can be looked through.
    has_directory: bool,
}

/// Everything that there is, as the API and the command line show it.
pub(crate) fn served(library: &Library) -> Served {
    let models = library.all().iter().map(|model| ServedJson::of(library, model)).collect();
    let alias = |(alias, model)| AliasJson { alias, model };
    let aliases = library.own_aliases().into_iter().map(alias).collect();
    Served { models, aliases, has_directory: library.has_directory() }
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
) -> Result<Answer<ServedJson>, ApiError> {
    let Body(AccessChange { roles }) = body;
    let unknown = roles.iter().flatten().any(|role| BuiltinRole::parse(role).is_none());
    if unknown {
        return Err(ApiError::new(ErrorCode::InvalidValue)
            .message("`roles` names a role that does not exist.")
            .param("roles"));
    }
    library.set_access(&id, roles, grant.caller()).await?;
    Ok(Answer::new(&one(&library, &id)?))
}

/// `POST /api/admin/models/{id}/load`: loads a model, or reads one anew whose file has changed.
pub(crate) async fn load(
    grant: Grant<ManageModels>,
    id: Path<String>,
    library: Data<Library>,
) -> Result<Answer<ServedJson, 202>, ApiError> {
    library.load(&id, grant.caller()).await?;
    Ok(Answer::new(&one(&library, &id)?))
}

/// `POST /api/admin/models/{id}/unload`: unloads a model once its answers have ended.
pub(crate) async fn unload(
    grant: Grant<ManageModels>,
    id: Path<String>,
    library: Data<Library>,
) -> Result<Answer<ServedJson, 202>, ApiError> {
    library.unload(&id, grant.caller()).await?;
    Ok(Answer::new(&one(&library, &id)?))
}

/// `POST /api/admin/models/{id}/cancel`: cancels a load.
pub(crate) async fn cancel(
    grant: Grant<ManageModels>,
    id: Path<String>,
    library: Data<Library>,
) -> Result<Answer<ServedJson, 202>, ApiError> {
    library.cancel(&id, grant.caller()).await?;
    Ok(Answer::new(&one(&library, &id)?))
}

/// `POST /api/admin/model-scan`: looks through the models directory.
pub(crate) async fn scan(
    grant: Grant<ManageModels>,
    library: Data<Library>,
) -> Result<Answer<ScanJson>, ApiError> {
    Ok(Answer::new(&ScanJson::from(library.rescan(grant.caller()).await?)))
}

/// What looking through the directory found.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ScanJson {
    /// Models that were not there before.
    appeared: Vec<String>,
    /// Models whose file is gone.
    vanished: Vec<String>,
    /// Files that are not served, and why.
    refused: Vec<RefusedJson>,
}

#[derive(Serialize, JsonSchema)]
struct RefusedJson {
    file: String,
    reason: String,
}

impl From<Scan> for ScanJson {
    fn from(Scan { appeared, vanished, refused }: Scan) -> Self {
        let refused = refused.into_iter().map(|(file, reason)| RefusedJson { file, reason });
        Self { appeared, vanished, refused: refused.collect() }
    }
}

/// A further name of a model.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AliasJson {
    alias: String,
    model: String,
}

/// `POST /api/admin/model-aliases`: gives a model a further name.
pub(crate) async fn add_alias(
    grant: Grant<ManageModels>,
    body: Body<AliasJson>,
    library: Data<Library>,
) -> Result<Answer<ServedJson, 201>, ApiError> {
    let Body(AliasJson { alias, model }) = body;
    library.add_alias(&alias, &model, grant.caller()).await?;
    Ok(Answer::new(&one(&library, &model)?))
}

/// `DELETE /api/admin/model-aliases/{alias}`: takes an alias away that was made at run time.
pub(crate) async fn remove_alias(
    grant: Grant<ManageModels>,
    alias: Path<String>,
    library: Data<Library>,
) -> Result<Empty, ApiError> {
    library.remove_alias(&alias, grant.caller()).await?;
    Ok(Empty::empty())
}

fn one(library: &Library, id: &str) -> Result<ServedJson, ApiError> {
    let model = library.find(Some(id)).ok_or(ErrorCode::ModelNotFound)?;
    Ok(ServedJson::of(library, &model))
}

impl From<ModelsError> for ApiError {
    fn from(error: ModelsError) -> Self {
        let code = match &error {
            ModelsError::Withdrawn(_) => ErrorCode::NotSignedIn,
            ModelsError::NotFound => ErrorCode::ModelNotFound,
            ModelsError::Audit(_) => ErrorCode::AuditUnavailable,
            ModelsError::Closing => ErrorCode::ShuttingDown,
            ModelsError::Vault(VaultError::Sealed) => ErrorCode::Sealed,
            ModelsError::Conflict(reason) => {
                return Self::new(ErrorCode::ModelConflict).message(reason);
            }
            ModelsError::BadName(_) => {
                return Self::new(ErrorCode::InvalidValue)
                    .message("An alias has 1 to 128 letters, digits or . _ - / : + in it.")
                    .param("alias");
            }
            ModelsError::Directory(_) => {
                return Self::new(ErrorCode::ModelConflict)
                    .message("The models directory cannot be read; the log says why.")
                    .because(error);
            }
            ModelsError::TooMany(most) => {
                return Self::new(ErrorCode::ModelConflict)
                    .message(format!("The models directory has more than {most} files."));
            }
            ModelsError::Db(_)
            | ModelsError::Vault(_)
            | ModelsError::SameName(_)
            | ModelsError::NoSuchDefault(_)
            | ModelsError::NoSuchModel { .. }
            | ModelsError::Thread(_) => ErrorCode::Internal,
        };
        Self::new(code).because(error)
    }
}

/// A model, for those who use it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ModelJson {
    id: String,
    context_tokens: Option<usize>,
    parameters: Option<u64>,
    quantization: Option<String>,
    architecture: Option<String>,
    /// `chat`, `embedding` or `reranker`; none until the model is read.
    kind: Option<&'static str>,
    /// `not_loaded`, `loading`, `ready`, `unloading` or `failed`.
    state: &'static str,
    /// Whether a request has it loaded.
    on_demand: bool,
    default: bool,
}

impl From<&Model> for ModelJson {
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
            on_demand: model.is_on_demand,
            default: model.is_default,
        }
    }
}

/// A model, for those who run the server.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ServedJson {
    #[serde(flatten)]
    model: ModelJson,
    aliases: Vec<String>,
    sha256: Option<String>,
    roles: Option<Vec<String>>,
    file_bytes: Option<u64>,
    since: Timestamp,
    /// Why it failed, or why the last load changed nothing.
    reason: Option<String>,
    /// How far it is read, as long as it is.
    progress: Option<ProgressJson>,
    /// Memory that is set aside for it and its cache.
    memory_bytes: Option<u64>,
    /// Requests that use it now.
    in_use: usize,
    /// When somebody last used it, as long as it is in memory.
    last_used: Option<Timestamp>,
}

/// How far a model is read.
#[derive(Debug, Serialize, JsonSchema)]
struct ProgressJson {
    /// None where its turn has not come, and while its digest is made.
    percent: Option<u8>,
    bytes: u64,
    of_bytes: u64,
}

impl ServedJson {
    fn of(library: &Library, model: &Model) -> Self {
        let in_use = model.in_use.as_ref();
        let progress = model.progress.as_ref().map(|progress| {
            let (bytes, of_bytes) = progress.bytes();
            ProgressJson { percent: progress.percent(), bytes, of_bytes }
        });
        let reason = match &model.state {
            ModelState::Failed(reason) => Some(reason.clone()),
            _ => model.setback.as_ref().map(Setback::words),
        };
        Self {
            model: model.into(),
            aliases: model.aliases.clone(),
            sha256: model.digest.clone(),
            roles: model.roles.clone(),
            file_bytes: library.file_bytes(&model.name),
            since: model.since,
            reason,
            progress,
            memory_bytes: model.memory_bytes,
            in_use: in_use.map_or(0, |in_use| in_use.count()),
            last_used: in_use.map(|in_use| in_use.last()),
        }
    }
}
