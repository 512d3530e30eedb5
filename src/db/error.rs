//! What can go wrong with the database, as callers can act on it.

use std::path::Path;

use rusqlite::ErrorCode;

/// An error of the database.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DbError {
    /// The disk is full; nothing of the transaction was kept.
    #[error("the disk is full")]
    Full,
    /// The database cannot be written.
    #[error("the database is read-only")]
    ReadOnly,
    /// The disk did not do what it was asked.
    #[error("the disk failed: {0}")]
    Io(String),
    /// The file cannot be opened; says which it is, so that nobody else has to.
    #[error("{path}: {why}; {help}")]
    CannotOpen {
        /// The file.
        path: String,
        /// Why, in SQLite's words.
        why: String,
        /// What may help.
        help: &'static str,
    },
    /// More jobs wait than may.
    #[error("the database is busy")]
    Busy,
    /// The database's threads have ended.
    #[error("the database is closed")]
    Closed,
    /// The file was made by a newer version of this program.
    #[error(
        "the database has schema {found}, and this version knows up to {known}: start a newer version, or restore the copy that was made before the upgrade"
    )]
    Newer {
        /// The schema of the file.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// A migration that was applied is not the one that this program carries.
    #[error("migration {number} ({name}) of the database is not the one in this program")]
    Altered {
        /// The migration's number.
        number: i64,
        /// The migration's name.
        name: String,
    },
    /// The file cannot be used as it is.
    #[error("the database cannot be used: {0}")]
    Unusable(String),
    /// A constraint of the schema was broken.
    #[error("the database refused the change: {0}")]
    Constraint(String),
    /// What must be true before a commit is not, so nothing of the transaction was kept.
    #[error("the change was not kept: {0}")]
    Refused(String),
    /// Any other error of SQLite. The message names tables and columns, never values.
    #[error("database error: {0}")]
    Sqlite(String),
}

impl DbError {
    /// What it means that this file was not opened.
    pub(super) fn of_opening(path: &Path, error: rusqlite::Error) -> Self {
        if error.sqlite_error_code() != Some(ErrorCode::CannotOpen) {
            return error.into();
        }
        let (named, why) = (path.display().to_string(), error.to_string());
        // SQLite's words end with the path.
        let why = why.strip_suffix(&format!(": {named}")).unwrap_or(&why).to_owned();
        let help = if path.exists() {
            "it has to be a file that the user who runs this may read and write, in a directory of theirs"
        } else {
            "there is no such file: is `--data-dir` the right directory?"
        };
        Self::CannotOpen { path: named, why, help }
    }
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => Self::Io(error.to_string()),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Unusable(error.to_string())
            }
            Some(ErrorCode::ConstraintViolation) => Self::Constraint(error.to_string()),
            Some(_) | None => Self::Sqlite(error.to_string()),
        }
    }
}
