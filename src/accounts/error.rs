//! What can go wrong with accounts, and what the client sees of it.

use std::time::Duration;

use crate::access::Withdrawn;
use crate::access::authenticate::{audit_error, db_error, vault_error};
use crate::access::permission::BuiltinRole;
use crate::audit::AuditError;
use crate::db::DbError;
use crate::vault::VaultError;
use crate::web::{ApiError, ErrorCode};

/// An error of accounts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    /// The name or the password is wrong; which is not said.
    #[error("the name or the password is wrong")]
    WrongCredentials,
    /// Too many attempts.
    #[error("too many attempts; wait {0:?}")]
    Throttled(Duration),
    /// Too many passwords are being checked at once.
    #[error("too many sign-ins at once")]
    Busy,
    /// The link was used, has expired, or never was.
    #[error("the link has been used or has expired")]
    LinkExpired,
    /// There is an owner already.
    #[error("this server is set up already")]
    AlreadySetUp,
    /// The sign-in name is not accepted.
    #[error("a sign-in name has 3 to 32 lower-case letters, digits, `-` or `_`")]
    BadUsername,
    /// The display name is not accepted.
    #[error("a name has 1 to 80 characters, none of them invisible")]
    BadDisplayName,
    /// The password is not accepted.
    #[error("{0}")]
    BadPassword(String),
    /// The sign-in name is taken.
    #[error("this sign-in name is taken")]
    UsernameTaken,
    /// No such role.
    #[error("there is no role `{0}`")]
    UnknownRole(String),
    /// A person needs a role.
    #[error("a person needs at least one role")]
    NoRole,
    /// The server would be left without an owner.
    #[error("the last owner cannot be removed, disabled or given another role")]
    LastOwner,
    /// The role allows more than the caller may do.
    #[error(
        "the role `{0}` allows more than you may do, so you cannot give it, take it or reset who holds it"
    )]
    BeyondReach(BuiltinRole),
    /// What let the caller in was withdrawn.
    #[error(transparent)]
    Withdrawn(#[from] Withdrawn),
    /// No such thing, or not yours.
    #[error("there is nothing here, or it is not yours")]
    NotFound,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The audit log failed.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// A password could not be hashed.
    #[error("a password could not be hashed: {0}")]
    Hash(String),
}

impl From<rusqlite::Error> for AccountError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Db(error.into())
    }
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        let said = error.to_string();
        let with = |code: ErrorCode| Self::new(code).message(sentence(&said));
        match error {
            AccountError::WrongCredentials => ErrorCode::WrongCredentials.into(),
            AccountError::Throttled(wait) => {
                Self::new(ErrorCode::SignInThrottled).retry_after(wait)
            }
            AccountError::Busy => Self::new(ErrorCode::Busy).retry_after(Duration::from_secs(1)),
            AccountError::LinkExpired => ErrorCode::LinkExpired.into(),
            AccountError::BadUsername => with(ErrorCode::InvalidValue).param("username"),
            AccountError::BadDisplayName => with(ErrorCode::InvalidValue).param("display_name"),
            AccountError::BadPassword(_) => with(ErrorCode::InvalidValue).param("password"),
            AccountError::UnknownRole(_) | AccountError::NoRole => {
                with(ErrorCode::InvalidValue).param("roles")
            }
            AccountError::AlreadySetUp | AccountError::UsernameTaken | AccountError::LastOwner => {
                with(ErrorCode::Conflict)
            }
            AccountError::BeyondReach(_) => with(ErrorCode::PermissionDenied),
            AccountError::Withdrawn(error) => error.into(),
            AccountError::NotFound => ErrorCode::NotFound.into(),
            AccountError::Db(error) => db_error(&error),
            AccountError::Audit(error) => audit_error(&error),
            AccountError::Vault(error) => vault_error(error),
            AccountError::Random | AccountError::Hash(_) => {
                Self::new(ErrorCode::Internal).because(said)
            }
        }
    }
}

/// A message as a sentence of its own.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}
