//! What can go wrong with the library of models.

use crate::access::Withdrawn;
use crate::audit::AuditError;
use crate::config::MODEL_NAME_RULE;
use crate::db::DbError;
use crate::vault::VaultError;

/// What can go wrong with the library.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelsError {
    /// A file's name, or an alias, is no model's name.
    #[error("`{0}` is no name: {MODEL_NAME_RULE}")]
    BadName(String),
    /// Two models have the same name.
    #[error("two models or aliases are called `{0}`: rename one of them")]
    SameName(String),
    /// The default model is none of those that are served.
    #[error("`models.default` is `{0}`, and no model of that name is served")]
    NoSuchDefault(String),
    /// An alias in the configuration names a model that is not served.
    #[error("`models.aliases.{alias}` is `{model}`, and no model of that name is served")]
    NoSuchModel {
        /// The alias.
        alias: String,
        /// The model that it names.
        model: String,
    },
    /// There is no model of that name.
    #[error("no such model")]
    NotFound,
    /// What was asked cannot be done as the model stands.
    #[error("{0}")]
    Conflict(String),
    /// The models directory cannot be read.
    #[error("the models directory cannot be read: {0}")]
    Directory(std::io::Error),
    /// There are more models than can be kept.
    #[error("there can be at most {0} models")]
    TooMany(usize),
    /// The server ends.
    #[error("the server is shutting down")]
    Closing,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The vault that binds rows does not serve.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What let the caller in was withdrawn.
    #[error(transparent)]
    Withdrawn(#[from] Withdrawn),
    /// The record cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A thread that reads or unloads models cannot be started.
    #[error("the thread that reads models cannot be started: {0}")]
    Thread(std::io::Error),
}
