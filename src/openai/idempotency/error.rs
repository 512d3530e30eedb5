//! Why a request under a key of its own is not answered, and what the client sees of it.

use crate::access::Withdrawn;
use crate::access::authenticate::{audit_error, db_error, vault_error};
use crate::audit::AuditError;
use crate::db::DbError;
use crate::gate::GateError;
use crate::vault::VaultError;
use crate::web::{ApiError, ErrorCode};

/// The header that names a request.
pub(super) const HEADER: &str = "idempotency-key";

/// Why such a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdempotencyError {
    /// The header is not what it should be.
    #[error("not an idempotency key")]
    NoKey,
    /// No answer is kept here.
    #[error("answers are not kept")]
    KeepsNone,
    /// The key names another request.
    #[error("the key was used for another request")]
    Reused,
    /// The request that it names is being answered.
    #[error("the request is being answered")]
    UnderWay,
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
    /// An answer could not be sealed or opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<IdempotencyError> for ApiError {
    fn from(error: IdempotencyError) -> Self {
        match error {
            IdempotencyError::NoKey => Self::new(ErrorCode::InvalidValue)
                .message("`Idempotency-Key` stands there once, with 1 to 255 printable characters of ASCII.")
                .param(HEADER),
            IdempotencyError::KeepsNone => Self::new(ErrorCode::UnsupportedParameter)
                .message("`Idempotency-Key` is not supported: this server keeps no answers. Leave it out.")
                .param(HEADER),
            IdempotencyError::Reused => Self::new(ErrorCode::IdempotencyKeyReused).param(HEADER),
            IdempotencyError::UnderWay => Self::new(ErrorCode::IdempotencyInProgress).param(HEADER),
            IdempotencyError::Withdrawn(error) => error.into(),
            IdempotencyError::Gate(error) => error.into(),
            IdempotencyError::Db(error) => db_error(&error),
            IdempotencyError::Audit(error) => audit_error(&error),
            IdempotencyError::Vault(error) => vault_error(error),
        }
    }
}
