//! Why a run cannot be started or shown.

use super::crows::CrowsError;
use crate::access::authenticate::{audit_error, db_error};
use crate::audit::AuditError;
use crate::db::DbError;
use crate::web::{ApiError, ErrorCode};

/// What can go wrong with the evaluations.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EvalsError {
    /// There is no suite of that name.
    #[error("there is no suite of that name: `counterfactual` and `crows-pairs` are known")]
    UnknownSuite,
    /// The published data set cannot be used.
    #[error("the CrowS-Pairs data cannot be used: {0}")]
    Data(#[from] CrowsError),
    /// There is no such model, or it is not open to the caller.
    #[error("there is no such model")]
    ModelNotFound,
    /// The model is being read, or could not be.
    #[error("the model is not loaded")]
    ModelNotReady,
    /// Another run is under way.
    #[error("another evaluation is running: one runs at a time")]
    AlreadyRunning,
    /// There is no such run.
    #[error("there is no such run")]
    NotFound,
    /// The run has no results.
    #[error("the run has no results")]
    NoResults,
    /// The server is being stopped.
    #[error("the server is shutting down")]
    Closing,
    /// The results were kept by another version.
    #[error("the results cannot be read: {0}")]
    Unreadable(serde_json::Error),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The record cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl From<EvalsError> for ApiError {
    fn from(error: EvalsError) -> Self {
        let say = |code: ErrorCode, message: &str| Self::new(code).message(message);
        match &error {
            EvalsError::UnknownSuite => {
                say(ErrorCode::InvalidValue, "There is no suite of that name.").param("suite")
            }
            EvalsError::Data(_) => say(
                ErrorCode::Conflict,
                "The published CrowS-Pairs file is not in the data directory under `evaluations`, or is not as it was published.",
            )
            .because(error),
            EvalsError::ModelNotFound => Self::new(ErrorCode::ModelNotFound).param("model"),
            EvalsError::ModelNotReady => Self::new(ErrorCode::ModelNotReady),
            EvalsError::AlreadyRunning => {
                say(ErrorCode::Conflict, "Another evaluation is running. One runs at a time.")
            }
            EvalsError::NotFound => Self::new(ErrorCode::NotFound),
            EvalsError::NoResults => say(ErrorCode::Conflict, "This run has no results."),
            EvalsError::Closing => Self::new(ErrorCode::ShuttingDown),
            EvalsError::Unreadable(_) => Self::new(ErrorCode::Internal).because(error),
            EvalsError::Db(error) => db_error(error),
            EvalsError::Audit(error) => audit_error(error),
        }
    }
}
