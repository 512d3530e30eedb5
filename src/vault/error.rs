//! What can go wrong with keys and sealed values.

use std::path::PathBuf;

/// What can go wrong in the vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The vault is sealed: it has no root key yet.
    #[error("the vault is sealed")]
    Sealed,
    /// The value does not open: it was changed, moved, or sealed with another key. Which of these
    /// is not said.
    #[error("a sealed value does not open")]
    CannotOpen,
    /// The passphrase is not the right one, or its file was changed.
    #[error("the passphrase does not open the vault")]
    WrongPassphrase,
    /// The passphrase is too short.
    #[error("a passphrase needs at least {0} characters")]
    ShortPassphrase(usize),
    /// The passphrase has a character that cannot be typed in one line, or too many.
    #[error("a passphrase is one line of at most {0} bytes, without control characters")]
    UnfitPassphrase(usize),
    /// A passphrase was given where the root key lies in the clear.
    #[error("the root key lies in a file, in the clear: no passphrase opens it")]
    NoPassphrase,
    /// There are no keys in the directory.
    #[error("{0} holds no root key")]
    NoRoot(PathBuf),
    /// There are keys in the directory already.
    #[error("{0} holds a root key already")]
    Exists(PathBuf),
    /// Others than the owner can read a key file.
    #[error(
        "{0} can be read by others than its owner: set its mode to 0600 and think of the key as known"
    )]
    InsecureMode(PathBuf),
    /// A key file is not what it should be.
    #[error("the key file {0} is damaged or belongs to another root key")]
    Damaged(PathBuf),
    /// The file system said no.
    #[error("key files cannot be read or written: {0}")]
    Io(#[from] std::io::Error),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// The passphrase could not be stretched.
    #[error("the passphrase could not be stretched: {0}")]
    Stretch(String),
}
