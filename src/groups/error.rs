//! What can go wrong with groups, and what the client sees of it.

use super::{CHANGES_MAX, GROUPS_MAX, MEMBERS_MAX};
use crate::access::Withdrawn;
use crate::access::authenticate::{audit_error, db_error, vault_error};
use crate::audit::AuditError;
use crate::config::LIMIT_MAX;
use crate::db::DbError;
use crate::limits::GROUPS_OF_ONE_MAX;
use crate::vault::VaultError;
use crate::web::{ApiError, ErrorCode};

/// Why something could not be done with a group.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GroupError {
    /// There is none.
    #[error("There is nothing here, or it is not yours.")]
    NotFound,
    /// The name is not accepted.
    #[error("A group's name has 1 to 60 characters.")]
    BadName,
    /// A limit is not accepted.
    #[error(
        "A limit is a whole number from 1 to {LIMIT_MAX}. Leave out what is not to be limited."
    )]
    BadLimit(&'static str),
    /// Another one has this name.
    #[error("There is a group of this name already.")]
    SameName,
    /// There are as many as there may be.
    #[error("There are {GROUPS_MAX} groups already. Delete one first.")]
    TooMany,
    /// More members than there may be.
    #[error("A group has at most {MEMBERS_MAX} members.")]
    TooManyMembers,
    /// More changes of members than one record names.
    #[error("At most {CHANGES_MAX} people are taken in or out at a time.")]
    TooManyChanges(&'static str),
    /// There is no such person: their place in the list, from 1.
    #[error("Person {0} of the list is not there.")]
    UnknownPerson(usize),
    /// Somebody is in as many groups as anybody may be.
    #[error("Person {0} of the list is in {GROUPS_OF_ONE_MAX} groups already.")]
    TooManyOfOne(usize),
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

impl From<GroupError> for ApiError {
    fn from(error: GroupError) -> Self {
        let said = error.to_string();
        let with =
            |param: &str| Self::new(ErrorCode::InvalidValue).message(said.clone()).param(param);
        match error {
            GroupError::NotFound => ErrorCode::NotFound.into(),
            GroupError::BadName => with("name"),
            GroupError::BadLimit(name) => with(&format!("limits.{name}")),
            GroupError::SameName => Self::new(ErrorCode::Conflict).message(said).param("name"),
            GroupError::TooMany => Self::new(ErrorCode::Conflict).message(said),
            GroupError::TooManyMembers | GroupError::TooManyOfOne(_) => {
                Self::new(ErrorCode::Conflict).message(said).param("add")
            }
            GroupError::TooManyChanges(param) => with(param),
            GroupError::UnknownPerson(_) => with("add"),
            GroupError::Withdrawn(error) => error.into(),
            GroupError::Db(error) => db_error(&error),
            GroupError::Audit(error) => audit_error(&error),
            GroupError::Vault(error) => vault_error(error),
        }
    }
}
