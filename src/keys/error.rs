//! What can go wrong with keys, and what the client sees of it.

use crate::access::authenticate::{audit_error, db_error, vault_error};
use crate::access::{NetworksError, Withdrawn};
use crate::audit::AuditError;
use crate::config::LIMIT_MAX;
use crate::db::DbError;
use crate::vault::VaultError;
use crate::web::{ApiError, ErrorCode};

/// An error of keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The name is not accepted.
    #[error("A key's name has 1 to 60 characters.")]
    BadName,
    /// No such scope.
    #[error("A key's scopes are a list of: api.use, metrics.read, usage.read.")]
    UnknownScope,
    /// The owner lacks it, so the key cannot have it.
    #[error("You do not hold the permission `{0}`, so a key of yours cannot have it.")]
    NotHeld(&'static str),
    /// The list of models is not accepted.
    #[error("A key's models are a list of 1 to 64 model names.")]
    BadModels,
    /// There is no such model, or its owner may not use it: its place in the list, from 1.
    #[error("Model {0} of the list is not there, or you may not use it.")]
    UnknownModel(usize),
    /// A limit is not accepted.
    #[error(
        "A limit is a whole number from 1 to {LIMIT_MAX}. Leave out what is not to be limited."
    )]
    BadLimit(&'static str),
    /// The networks are not accepted.
    #[error(transparent)]
    BadNetworks(#[from] NetworksError),
    /// The expiry is not accepted.
    #[error("A key expires after 1 to {0} days, or not at all.")]
    BadExpiry(u32),
    /// Too many keys.
    #[error("There are {0} keys already. Revoke one first.")]
    TooMany(usize),
    /// What let the caller in was withdrawn.
    #[error(transparent)]
    Withdrawn(#[from] Withdrawn),
    /// Its row is not as this server wrote it.
    #[error(
        "This key was changed in the database and is not let in. Revoke it, and make a new one."
    )]
    Altered,
    /// No such key, or not yours.
    #[error("There is nothing here, or it is not yours.")]
    NotFound,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
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

impl From<rusqlite::Error> for KeyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Db(error.into())
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        let said = error.to_string();
        let with =
            |param: &str| Self::new(ErrorCode::InvalidValue).message(said.clone()).param(param);
        match error {
            KeyError::BadName => with("name"),
            KeyError::UnknownScope | KeyError::NotHeld(_) => with("scopes"),
            KeyError::BadModels | KeyError::UnknownModel(_) => with("models"),
            KeyError::BadLimit(name) => with(&format!("limits.{name}")),
            KeyError::BadNetworks(_) => with("networks"),
            KeyError::BadExpiry(_) => with("expires_in_days"),
            KeyError::TooMany(_) | KeyError::Altered => {
                Self::new(ErrorCode::Conflict).message(said)
            }
            KeyError::Withdrawn(error) => error.into(),
            KeyError::NotFound => ErrorCode::NotFound.into(),
            KeyError::Random => Self::new(ErrorCode::Internal).because(said),
            KeyError::Db(error) => db_error(&error),
            KeyError::Audit(error) => audit_error(&error),
            KeyError::Vault(error) => vault_error(error),
        }
    }
}
