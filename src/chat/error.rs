//! What can go wrong with conversations.

use crate::access::Withdrawn;
use crate::access::authenticate::{audit_error, db_error, vault_error};
use crate::audit::AuditError;
use crate::db::DbError;
use crate::gate::GateError;
use crate::vault::VaultError;
use crate::web::{ApiError, ErrorCode};

/// Why something could not be done with a conversation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChatError {
    /// There is none, or it is somebody else's.
    #[error("no such conversation")]
    NotFound,
    /// An answer is being written in it.
    #[error("an answer is being written")]
    Answering,
    /// There is nothing to answer anew.
    #[error("nothing to regenerate")]
    NothingToRegenerate,
    /// The id that a message came with belongs to another one.
    #[error("the id is in use")]
    IdInUse,
    /// What let the caller in was withdrawn.
    #[error(transparent)]
    Withdrawn(#[from] Withdrawn),
    /// A parameter is not accepted.
    #[error("{param}: {expected}")]
    Invalid {
        /// Its name.
        param: &'static str,
        /// What is accepted.
        expected: &'static str,
    },
    /// The shared prompt is gone, or not for this person any more.
    #[error("no such prompt")]
    NoPrompt,
    /// There are as many as there may be.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// The gate said no.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The record cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A text could not be sealed or opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<ChatError> for ApiError {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::NotFound => ErrorCode::NotFound.into(),
            ChatError::Answering => Self::new(ErrorCode::Conflict)
                .message("An answer is being written in this conversation. Stop it or wait."),
            ChatError::NothingToRegenerate => Self::new(ErrorCode::Conflict)
                .message("There is no message in this conversation to answer anew."),
            ChatError::IdInUse => Self::new(ErrorCode::Conflict)
                .message("`id` belongs to another message. Make a new one.")
                .param("id"),
            ChatError::Withdrawn(error) => error.into(),
            ChatError::Invalid { param, expected } => Self::new(ErrorCode::InvalidValue)
                .message(format!("`{param}` is not accepted: expected {expected}."))
                .param(param),
            ChatError::NoPrompt => Self::new(ErrorCode::PromptGone)
                .message(
                    "The instructions that this conversation stands under are not there any more, or are not for this model. Choose others, or none.",
                )
                .param("prompt"),
            ChatError::TooMany(what) => Self::new(ErrorCode::Conflict)
                .message(format!("There are as many {what} as there may be. Delete some.")),
            ChatError::Gate(error) => error.into(),
            ChatError::Db(error) => db_error(&error),
            ChatError::Audit(error) => audit_error(&error),
            ChatError::Vault(error) => vault_error(error),
        }
    }
}
