//! AES-256-GCM (NIST SP 800-38D) over one value: version ‖ key id ‖ nonce ‖ ciphertext ‖ tag.

use std::sync::atomic::{AtomicU64, Ordering};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use zeroize::Zeroizing;

use super::VaultError;
use crate::secret::SecretKey;

const VERSION: u8 = 1;
pub(super) const KEY_ID_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
const HEAD_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;

pub(super) type DataKeyId = [u8; KEY_ID_BYTES];

/// A data key in memory.
pub(super) struct DataKey {
    pub(super) id: DataKeyId,
    cipher: Aes256Gcm,
    key: SecretKey,
    /// Values sealed with it, counted in reservations that are on disk before they are used.
    pub(super) used: AtomicU64,
    pub(super) reserved: AtomicU64,
}

impl DataKey {
    pub(super) fn new(id: DataKeyId, key: SecretKey, used: u64) -> Self {
        let cipher = Aes256Gcm::new(key.expose().into());
        Self { id, cipher, key, used: AtomicU64::new(used), reserved: AtomicU64::new(used) }
    }

    pub(super) fn expose(&self) -> &SecretKey {
        &self.key
    }

    /// Takes one seal out of the reservation; false where it is used up.
    pub(super) fn take(&self) -> bool {
        self.used.fetch_add(1, Ordering::SeqCst) < self.reserved.load(Ordering::SeqCst)
    }
}

/// The id of the key that a value was sealed with.
pub(super) fn key_id(sealed: &[u8]) -> Option<DataKeyId> {
    match sealed.first() {
        Some(&VERSION) => sealed.get(1..=KEY_ID_BYTES)?.try_into().ok(),
        Some(_) | None => None,
    }
}

/// Seals `plaintext`; the associated data and the key's id are bound in.
pub(super) fn seal(key: &DataKey, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| VaultError::Random)?;
    let bound = [aad, &key.id].concat();
    let body = key
        .cipher
        .encrypt(&Nonce::from(nonce), Payload { msg: plaintext, aad: &bound })
        .map_err(|_| VaultError::CannotOpen)?;
    let mut sealed = Vec::with_capacity(HEAD_BYTES + body.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(&key.id);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&body);
    Ok(sealed)
}

/// Opens what `seal` made.
pub(super) fn open(
    key: &DataKey,
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let nonce: [u8; NONCE_BYTES] = sealed
        .get(1 + KEY_ID_BYTES..HEAD_BYTES)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(VaultError::CannotOpen)?;
    if sealed[0] != VERSION {
        return Err(VaultError::CannotOpen);
    }
    let bound = [aad, &key.id].concat();
    key.cipher
        .decrypt(&Nonce::from(nonce), Payload { msg: &sealed[HEAD_BYTES..], aad: &bound })
        .map(Zeroizing::new)
        .map_err(|_| VaultError::CannotOpen)
}
