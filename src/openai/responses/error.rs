//! What can go wrong with responses, and what the client sees of it.

use crate::access::Withdrawn;
use crate::access::authenticate::{audit_error, db_error, vault_error};
use crate::audit::AuditError;
use crate::db::DbError;
use crate::gate::GateError;
use crate::vault::VaultError;
use crate::web::{ApiError, ErrorCode};

/// Why something could not be done with a response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResponseError {
    /// There is none, or it is somebody else's.
    #[error("no such response")]
    NotFound,
    /// The one that a request goes on from, or that an item of it stands in, is not there.
    #[error("no such response: {param}")]
    NothingBefore {
        /// The parameter that names it.
        param: String,
    },
    /// It goes on from more than may be read.
    #[error("too much to go on from: {param}")]
    TooMuch {
        /// The parameter that names it.
        param: String,
    },
    /// No response is kept here.
    #[error("responses are not kept")]
    KeepsNone,
    /// A response that is kept came to its end while its caller waited.
    #[error("responses are not made in the background")]
    NotInBackground,
    /// No conversation is made shorter here.
    #[error("conversations are not compacted")]
    CompactsNone,
    /// What let the caller in was withdrawn.
    #[error(transparent)]
    Withdrawn(#[from] Withdrawn),
    /// The gate said no.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The record cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A response could not be sealed or opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<ResponseError> for ApiError {
    fn from(error: ResponseError) -> Self {
        match error {
            ResponseError::NotFound => ErrorCode::NotFound.into(),
            ResponseError::NothingBefore { param } => Self::new(ErrorCode::NotFound)
                .message(format!(
                    "There is nothing by the id in `{param}`, or a response before it was deleted, or it is not yours. Responses are kept where `store` is true, for as long as this server keeps them."
                ))
                .param(param),
            ResponseError::TooMuch { param } => Self::new(ErrorCode::InvalidValue)
                .message(format!(
                    "`{param}` goes on from more than is read for one request. Send what matters of it as `input`."
                ))
                .param(param),
            ResponseError::KeepsNone => Self::new(ErrorCode::UnsupportedParameter)
                .message(
                    "`store` with this value is not supported: this server keeps no responses. Accepted: false.",
                )
                .param("store"),
            ResponseError::NotInBackground => Self::new(ErrorCode::InvalidRequest).message(
                "Only what is made in the background can be cancelled, and this server makes nothing there: to end an answer that is being written, close its connection.",
            ),
            ResponseError::CompactsNone => Self::new(ErrorCode::NotFound).message(
                "Conversations are not compacted here. Ask for a response with `truncation` set to `auto`, or send a summary in the place of old items.",
            ),
            ResponseError::Withdrawn(error) => error.into(),
            ResponseError::Gate(error) => told(error),
            ResponseError::Db(error) => db_error(&error),
            ResponseError::Audit(error) => audit_error(&error),
            ResponseError::Vault(error) => vault_error(error),
        }
    }
}

/// What the gate says, with the name that the conversation has here.
fn told(error: GateError) -> ApiError {
    let error = match error {
        GateError::OutOfRange { parameter: "messages", expected } => {
            GateError::OutOfRange { parameter: "input", expected }
        }
        other => other,
    };
    let is_input = matches!(
        error,
        GateError::PromptTooLong { .. } | GateError::Template | GateError::EmptyPrompt { .. }
    );
    let error = ApiError::from(error);
    if is_input { error.param("input") } else { error }
}
