//! Backups: made while the server runs, sealed, verified as a whole before anything is touched.
//!
//! # Two files
//!
//! A backup is two files, each sealed under a key that is derived from the root key and the file's
//! own salt, so that the root key (or its passphrase) and the files restore everything:
//!
//! - `NAME.strongroom-backup`: the database, the audit log's heads and public key, the keys of
//!   the system, and the TLS directory. May be kept for as long as one likes.
//! - `NAME.strongroom-keys`: the wrapped data keys of people, and nothing else. Small; made anew
//!   with every backup, and meant to be kept for a short time only (`old_key_files` and
//!   `delete_key_files`, which the server calls where it makes backups).
//!
//! # What deleting a person means for old backups
//!
//! Deleting a person destroys their data key in the data directory. What they wrote is still in
//! old data files, sealed under that key, and the key is still in the key files that were made
//! before the deletion. It is gone for good once the last of those key files is deleted: from then
//! on no data file, however old, gives it back. A restore therefore takes any data file together
//! with any key file of the same root key, and the newest key file is the right one: restored with
//! it, an old data file opens for everybody except those who were deleted since. What a data file
//! holds about a deleted person outside sealed values (user name, audit events with their id) stays
//! in it.
//!
//! Not in a backup: model files (they are large, and not secret from who made them), and the
//! configuration. Knows no HTTP and, but for what a restore must end (`settle`), no feature; who
//! may make or restore a backup is the caller's business.

mod create;
mod expire;
mod file;
mod manifest;
mod restore;
mod settle;

use std::path::{Path, PathBuf};

pub use create::{Created, Sources, create};
pub use expire::{delete_key_files, old_key_files};
pub use file::Kind;
pub use manifest::Manifest;
pub use restore::{DamagedLog, Restore, Restored, Unlock, cut_off, restore, verify};
pub use settle::{KeySeen, Keys, Settled, settle};

use crate::audit::AuditError;
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::db::lock::LockError;
use crate::vault::VaultError;
use crate::vault::stream::StreamError;

/// The ending of data files.
pub const DATA_ENDING: &str = "strongroom-backup";
/// The ending of key files.
pub const KEYS_ENDING: &str = "strongroom-keys";
/// The database's name in a data directory.
pub const DATABASE: &str = "strongroom.db";

/// Why a backup could not be made, verified or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file is no backup of a version that this program knows.
    #[error("{0} is not a Strongroom backup that this version can read")]
    NotABackup(PathBuf),
    /// The file is of the other kind.
    #[error("{path} is a {found} file, and a {expected} file is needed here")]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: Kind,
        /// What is needed.
        expected: Kind,
    },
    /// The file was changed or cut short, or another root key sealed it.
    #[error("{0} was changed or cut short, or belongs to another root key")]
    CannotOpen(PathBuf),
    /// The backup was made while the root key lay in a file: a passphrase does not open it.
    #[error("{0} was made while the root key lay in a file: give that key file")]
    NeedsKeyFile(PathBuf),
    /// The directory to restore to holds data.
    #[error("{0} holds data already: choose an empty directory, or say that it is to be replaced")]
    NotEmpty(PathBuf),
    /// The audit log in the backup does not verify.
    #[error("the audit log in the backup does not verify: {0}")]
    AuditLog(String),
    /// The backup cannot be opened or the keys in it do not fit.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The database cannot be copied, or the one in the backup cannot be used.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The audit log cannot be read.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A server uses the directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The backup is too large to be sealed.
    #[error("the backup is too large to be sealed")]
    TooLarge,
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

impl BackupError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |error| Self::Io { path: path.to_owned(), error }
    }

    fn stream(path: &Path) -> impl FnOnce(StreamError) -> Self + '_ {
        |error| match error {
            StreamError::CannotOpen => Self::CannotOpen(path.to_owned()),
            StreamError::TooLarge => Self::TooLarge,
            StreamError::Io(error) => Self::Io { path: path.to_owned(), error },
        }
    }
}

/// Removes what backups and restores that were cut off left in and beside a data directory. Not while
/// one is made.
pub fn remove_stale(data_dir: &Path, now: Timestamp) -> Result<(), BackupError> {
    create::remove_stale(data_dir)?;
    restore::remove_staging(data_dir, now)
}

#[cfg(test)]
mod tests;
