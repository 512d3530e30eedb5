//! The public half of the log's key, kept beside the log in the clear, so that the log can be
//! verified without the vault.

use std::path::Path;

use ed25519_dalek::{SigningKey, VerifyingKey};

use super::AuditError;

/// Its file below the audit directory: hexadecimal digits.
pub(super) const PUBLIC_KEY_FILE: &str = "public.key";

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

/// Reads the public key; none where it is missing or damaged.
pub(super) fn public_key(directory: &Path) -> Option<VerifyingKey> {
    let text = std::fs::read_to_string(directory.join(PUBLIC_KEY_FILE)).ok()?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes).ok()?;
    VerifyingKey::from_bytes(&bytes).ok()
}
