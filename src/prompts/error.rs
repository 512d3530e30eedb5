//! What can go wrong with shared prompts, and what the client sees of it.

use super::PROMPTS_MAX;
use crate::access::Withdrawn;
use crate::audit::AuditError;
use crate::db::DbError;
use crate::vault::VaultError;

/// Why something could not be done with a shared prompt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PromptsError {
    /// There is none.
    #[error("There is nothing here, or it is not yours.")]
    NotFound,
    /// The name is not accepted.
    #[error("A prompt's name has 1 to 60 characters.")]
    BadName,
    /// The text is not accepted.
    #[error("A prompt has 1 to 32768 bytes of text.")]
    BadText,
    /// A role that there is not.
    #[error(
        "The roles are a list of the server's roles, not empty; without it a prompt is for everybody."
    )]
    BadRoles,
    /// A model that there is not.
    #[error(
        "The models are a list of 1 to 64 models of this server; without it a prompt is for all."
    )]
    BadModels,
    /// Another one has this name.
    #[error("There is a prompt of this name already.")]
    SameName,
    /// There are as many as there may be.
    #[error("There are {PROMPTS_MAX} prompts already. Delete one first.")]
    TooMany,
    /// What let the caller in was withdrawn.
    #[error(transparent)]
    Withdrawn(#[from] Withdrawn),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The audit log failed.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}
