//! The public half of the log's key, kept beside the log in the clear, so that the log can be
//! verified without the vault.

use std::path::Path;

use ed25519_dalek::{SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use super::AuditError;

/// Its file below the audit directory: hexadecimal digits.
pub(super) const PUBLIC_KEY_FILE: &str = "public.key";

/// Whose signatures are believed.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Those by the key that lies beside the log: who can write there can bring their own.
    Beside,
    /// Those by this key, from the vault or kept elsewhere; the one beside the log must be the same.
    Key(VerifyingKey),
    /// Those by the key beside the log, if it has this fingerprint.
    Fingerprint(String),
}

impl Trust {
    /// The key to check with. Tells where the one beside the log is not as it should be.
    pub(super) fn key(
        &self,
        directory: &Path,
        mut problem: impl FnMut(String),
    ) -> Option<VerifyingKey> {
        let beside = public_key(directory);
        let found = beside.as_ref().map(fingerprint);
        let wanted = match self {
            Self::Beside => found.clone(),
            Self::Key(key) => Some(fingerprint(key)),
            Self::Fingerprint(wanted) => Some(wanted.to_ascii_lowercase()),
        };
        match found {
            None => problem(format!("{PUBLIC_KEY_FILE} is missing or damaged")),
            Some(found) if Some(&found) != wanted.as_ref() => {
                problem(format!("{PUBLIC_KEY_FILE} was replaced: its fingerprint is {found}"));
            }
            Some(_) => {}
        }
        match self {
            Self::Key(key) => Some(*key),
            Self::Beside | Self::Fingerprint(_) => beside,
        }
    }
}

/// Writes the public key, or holds it against the one that is there.
pub(super) fn keep_public_key(directory: &Path, key: &SigningKey) -> Result<(), AuditError> {
    let path = directory.join(PUBLIC_KEY_FILE);
    let text = format!("{}\n", hex::encode(key.verifying_key().as_bytes()));
    match std::fs::read_to_string(&path) {
        Ok(known) if known == text => Ok(()),
        Ok(_) => {
            let what = format!("{} is not the key of this vault", path.display());
            Err(AuditError::Inconsistent(what))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let partial = path.with_extension("partial");
            std::fs::write(&partial, text)?;
            std::fs::File::open(&partial)?.sync_all()?;
            Ok(std::fs::rename(&partial, &path)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// The fingerprint of a public key, for people to compare and to keep: SHA-256, in hexadecimal
/// digits.
pub fn fingerprint(key: &VerifyingKey) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}

/// The public key beside the log; none where it is missing or damaged.
pub(super) fn public_key(directory: &Path) -> Option<VerifyingKey> {
    read_public_key(&directory.join(PUBLIC_KEY_FILE))
}

/// Reads a file with a public key; none where it is missing or damaged.
pub fn read_public_key(path: &Path) -> Option<VerifyingKey> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes).ok()?;
    VerifyingKey::from_bytes(&bytes).ok()
}
