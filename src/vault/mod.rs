//! Encryption at rest: key sources, hierarchy, sealing. Knows bytes and keys alone.
//!
//! The root key (256 bit) wraps data keys: one a person, one a purpose of the system, each in a
//! small file of its own below `<data>/keys/`, so that deleting a person's file destroys all that
//! was sealed for them. A sealed value opens only in the table, column, row and for the owner that
//! it was sealed for.

mod aead;
mod error;
mod files;
mod keyring;
mod root;
mod rotate;
pub mod stream;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::RwLock;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::ids::UserId;
use crate::secret::{SecretKey, SecretText};
pub use error::VaultError;
use keyring::Keyring;
pub use root::{RootKey, SourceKind};

/// Whose data key seals a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One person's.
    Person(UserId),
    /// The system's, for one purpose.
    System(Purpose),
}

/// A purpose of the system that has a data key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The audit log: its signing key and sealed details.
    Audit,
    /// Blind indexes and tokens.
    Index,
    /// Settings and certificates.
    Settings,
    /// Model files and runs of evaluations.
    Models,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 4] = [Self::Audit, Self::Index, Self::Settings, Self::Models];

    const fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Index => "index",
            Self::Settings => "settings",
            Self::Models => "models",
        }
    }
}

/// What a blind index or keyed digest is for; each has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlindPurpose {
    /// Look-up of API keys.
    ApiKey,
    /// Look-up of sessions.
    Session,
    /// Look-up of one-time links.
    Link,
    /// Tokens against cross-site requests.
    Csrf,
    /// Digests of prompts in the audit log.
    Prompt,
    /// Addresses and names in throttling.
    Throttle,
    /// Requests that are answered once: their names, and what they ask.
    Idempotency,
    /// What binds the rows that decide who somebody is.
    Row,
}

impl BlindPurpose {
    const fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "api-key",
            Self::Session => "session",
            Self::Link => "link",
            Self::Csrf => "csrf",
            Self::Prompt => "prompt",
            Self::Throttle => "throttle",
            Self::Idempotency => "idempotency",
            Self::Row => "row",
        }
    }
}

/// Where a value stands: it opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct Aad<'a> {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// The row's id, as text.
    pub row: &'a str,
    /// The owner's id, as text; empty for the system's.
    pub owner: &'a str,
}

/// A sealed value as it stands in a column: the only type that such columns take and give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// The stored bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes bytes as they were stored; whether they open is seen when they are opened.
    pub fn from_stored(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// How a new vault keeps its root key.
pub enum KeySource {
    /// A file of mode 0600.
    File,
    /// A file that a passphrase opens.
    Passphrase(SecretText),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::File => "File",
            Self::Passphrase(_) => "Passphrase(…)",
        })
    }
}

/// The vault.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    keyring: RwLock<Option<Keyring>>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Vault(…)")
    }
}

/// Seals under one data key before the next is made: far below the 2^32 at which random 96-bit
/// nonces become a risk (NIST SP 800-38D, section 8.3).
const SEALS_MAX: u64 = 1 << 30;

impl Vault {
    /// Makes a new vault in `directory`, open.
    pub fn create(directory: &Path, source: &KeySource) -> Result<Self, VaultError> {
        files::make_directory(directory)?;
        let root = root::generate(directory, source)?;
        let keyring = Keyring::create(directory, root, SEALS_MAX)?;
        // Last: a directory without a root key is one in which nothing was begun.
        root::write(directory, keyring.root(), source)?;
        Ok(Self::with(directory, Some(keyring)))
    }

    /// Loads the vault of `directory`: open with a key file, sealed with a passphrase.
    pub fn load(directory: &Path) -> Result<Self, VaultError> {
        rotate::recover(directory)?;
        let keyring = match root::load(directory)? {
            Some(root) => Some(Keyring::open(directory, root, SEALS_MAX)?),
            None => None,
        };
        Ok(Self::with(directory, keyring))
    }

    /// Whether `directory` holds a vault.
    pub fn exists(directory: &Path) -> bool {
        root::source(directory).is_ok()
    }

    /// Opens the keys of `directory` with a root key at hand.
    fn open_with(directory: &Path, root: SecretKey) -> Result<Self, VaultError> {
        let keyring = Keyring::open(directory, root, SEALS_MAX)?;
        Ok(Self::with(directory, Some(keyring)))
    }

    fn with(directory: &Path, keyring: Option<Keyring>) -> Self {
        let inner = Inner { directory: directory.to_owned(), keyring: RwLock::new(keyring) };
        Self { inner: Arc::new(inner) }
    }

    /// Opens a sealed vault. Takes about a second of one core; no effect on one that is open with
    /// this passphrase. A vault whose root key lies in the clear refuses every passphrase.
    pub fn unseal(&self, passphrase: &SecretText) -> Result<(), VaultError> {
        let root = root::unwrap(&self.inner.directory, passphrase)?;
        let keyring = Keyring::open(&self.inner.directory, root, SEALS_MAX)?;
        root::finish_move(&self.inner.directory, keyring.root())?;
        let mut current = self.inner.keyring.write();
        if current.is_none() {
            *current = Some(keyring);
        }
        Ok(())
    }

    /// Whether the vault is open.
    pub fn is_open(&self) -> bool {
        self.inner.keyring.read().is_some()
    }

    /// How the root key is kept.
    pub fn source(&self) -> Result<SourceKind, VaultError> {
        root::source(&self.inner.directory)
    }

    /// The root key under its passphrase, as it lies on disk; none where it lies in the clear. A
    /// backup carries it, so that the passphrase alone opens the backup on a new machine.
    pub fn wrapped_root(&self) -> Result<Option<Vec<u8>>, VaultError> {
        root::wrapped(&self.inner.directory)
    }

    /// When the root key was made.
    pub fn root_made_at(&self) -> Result<Timestamp, VaultError> {
        root::made_at(&self.inner.directory)
    }

    /// How the root key of `directory` is kept and when it was made, without opening anything.
    pub fn root_facts(directory: &Path) -> Result<(SourceKind, Timestamp), VaultError> {
        Ok((root::source(directory)?, root::made_at(directory)?))
    }

    /// Keeps the same root key under a passphrase from now on. What held it before is destroyed
    /// once the new file was read back and gave the same key.
    pub fn move_to_passphrase(&self, passphrase: &SecretText) -> Result<(), VaultError> {
        self.with_keyring(|keyring| root::rewrap(&self.inner.directory, keyring.root(), passphrase))
    }

    /// Changes the passphrase of the root key. Backups that were made before open with the old one.
    pub fn change_passphrase(
        &self,
        current: &SecretText,
        new: &SecretText,
    ) -> Result<(), VaultError> {
        root::unwrap(&self.inner.directory, current)?;
        self.move_to_passphrase(new)
    }

    /// Replaces the root key: wraps every data key anew and keeps the new root key as `source`
    /// says, which must be of the kind that is in use; nothing that is sealed has to be touched.
    /// Safe against a crash at any moment: the old root key is destroyed only after the new one was
    /// read back and opened every data key. Backups that were made before open with a copy of the
    /// old one alone.
    pub fn rotate_root(&self, source: &KeySource) -> Result<(), VaultError> {
        let directory = &self.inner.directory;
        let is_same_kind = match (root::source(directory)?, source) {
            (SourceKind::File, KeySource::File) => true,
            (SourceKind::Passphrase, KeySource::Passphrase(passphrase)) => {
                root::unwrap(directory, passphrase).is_ok()
            }
            (SourceKind::File, KeySource::Passphrase(_))
            | (SourceKind::Passphrase, KeySource::File) => false,
        };
        if !is_same_kind {
            return Err(VaultError::WrongPassphrase);
        }
        self.with_keyring_mut(|keyring| {
            let root = SecretKey::random().map_err(|_| VaultError::Random)?;
            let next = rotate::begin(directory)?;
            keyring.rewrap(&next, &root)?;
            root::write(&next, &root, source)?;
            keyring.check_rewrapped(&next, &root)?;
            rotate::commit(directory)?;
            keyring.take_root(root);
            Ok(())
        })
    }

    /// Seals a value.
    pub fn seal(
        &self,
        scope: Scope,
        aad: &Aad<'_>,
        plaintext: &[u8],
    ) -> Result<Sealed, VaultError> {
        let key = self.key_for_sealing(scope)?;
        aead::seal(&key, &aad.bytes(), plaintext).map(Sealed)
    }

    /// Opens a value.
    pub fn open(
        &self,
        scope: Scope,
        aad: &Aad<'_>,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let id = aead::key_id(&sealed.0).ok_or(VaultError::CannotOpen)?;
        let key =
            self.with_keyring(|keyring| keyring.key(scope, id).ok_or(VaultError::CannotOpen))?;
        aead::open(&key, &aad.bytes(), &sealed.0)
    }

    /// Makes a person's data key, where they have none; says whether it did.
    pub fn add_person(&self, user: UserId) -> Result<bool, VaultError> {
        self.with_keyring_mut(|keyring| keyring.add(Scope::Person(user)))
    }

    /// Runs `act` while no key file is written or destroyed. It must be short, and must not use this
    /// vault.
    pub fn holding_keys<T>(&self, act: impl FnOnce() -> T) -> Result<T, VaultError> {
        self.with_keyring(|_| Ok(act()))
    }

    /// Destroys a person's data keys. All that was sealed for them is lost, on this machine; in
    /// backups it lives as long as a copy of the keys that was made before.
    pub fn shred_person(&self, user: UserId) -> Result<(), VaultError> {
        self.with_keyring_mut(|keyring| keyring.shred(user))
    }

    /// A keyed digest (HMAC-SHA-256) for look-ups, under a key of this purpose.
    pub fn blind(&self, purpose: BlindPurpose, value: &[u8]) -> Result<[u8; 32], VaultError> {
        let key = self.with_keyring(|keyring| {
            keyring.derived(Purpose::Index, &["blind/", purpose.name()].concat())
        })?;
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose())
            .expect("HMAC takes keys of any length (RFC 2104)");
        mac.update(value);
        Ok(mac.finalize().into_bytes().into())
    }

    /// The key that signs the heads of the audit log.
    pub fn audit_signing_key(&self) -> Result<SigningKey, VaultError> {
        let seed = self.with_keyring(|keyring| keyring.derived(Purpose::Audit, "signing"))?;
        Ok(SigningKey::from_bytes(seed.expose()))
    }

    /// The key of one backup, bound to the backup's own salt. Needs the root key alone.
    pub fn backup_key(&self, salt: &[u8; 32]) -> Result<SecretKey, VaultError> {
        self.with_keyring(|keyring| Ok(root::backup_key(keyring.root(), salt)))
    }

    fn key_for_sealing(&self, scope: Scope) -> Result<Arc<aead::DataKey>, VaultError> {
        if let Some(key) = self.with_keyring(|keyring| Ok(keyring.current(scope)))? {
            return Ok(key);
        }
        self.with_keyring_mut(|keyring| keyring.renew(scope))
    }

    fn with_keyring<T>(
        &self,
        act: impl FnOnce(&Keyring) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        act(self.inner.keyring.read().as_ref().ok_or(VaultError::Sealed)?)
    }

    fn with_keyring_mut<T>(
        &self,
        act: impl FnOnce(&mut Keyring) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        act(self.inner.keyring.write().as_mut().ok_or(VaultError::Sealed)?)
    }

    #[cfg(test)]
    fn with_limit(directory: &Path, seals_max: u64) -> Self {
        let root = root::load(directory).expect("readable").expect("a key file");
        Self::with(directory, Some(Keyring::open(directory, root, seals_max).expect("opens")))
    }
}

impl Aad<'_> {
    /// Every part with its length before it, so that no two places give the same bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"strongroom/v1".to_vec();
        for part in [self.table, self.column, self.row, self.owner] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests;
