//! The root key: made, kept in a file or under a passphrase, and what is derived from it.

use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::aead::{self, DataKey};
use super::{KeySource, VaultError, files};
use crate::clock::{Clock, Timestamp};
use crate::secret::{SecretKey, SecretText};

/// How the root key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// In a file of mode 0600: whoever has the disk has the key.
    File,
    /// Under a passphrase: the server starts sealed.
    Passphrase,
}

const PASSPHRASE_CHARS_MIN: usize = 15;
/// What fits one line of a terminal and of the control socket, whatever the script.
const PASSPHRASE_BYTES_MAX: usize = 1_024;
/// Argon2id (RFC 9106) at 256 MiB: a passphrase is typed seldom.
const STRETCH_MIB: u32 = 256;
const STRETCH_PASSES: u32 = 3;
pub(super) const CLEAR_FILE: &str = "root.key";
pub(super) const WRAPPED_FILE: &str = "root.sealed";
/// A wrapped key that was not read back yet; of no meaning to a start.
const CHECKING_FILE: &str = "root.checking";
const FILE_HEAD: &str = "strongroom root key v1";

/// A root key under a passphrase, as it lies on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    format: String,
    made_at_ms: i64,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    sealed: String,
}

fn clear_path(directory: &Path) -> PathBuf {
    directory.join(CLEAR_FILE)
}

fn wrapped_path(directory: &Path) -> PathBuf {
    directory.join(WRAPPED_FILE)
}

/// How the root key of `directory` is kept.
pub(super) fn source(directory: &Path) -> Result<SourceKind, VaultError> {
    // The passphrase wins: where both are there, a move to it was cut off before its last step.
    if wrapped_path(directory).exists() {
        return Ok(SourceKind::Passphrase);
    }
    if clear_path(directory).exists() {
        return Ok(SourceKind::File);
    }
    Err(VaultError::NoRoot(directory.to_owned()))
}

/// Makes a root key for a vault that has none; `write` puts it there.
pub(super) fn generate(directory: &Path, source_: &KeySource) -> Result<SecretKey, VaultError> {
    if source(directory).is_ok() {
        return Err(VaultError::Exists(directory.to_owned()));
    }
    if let KeySource::Passphrase(passphrase) = source_ {
        check_passphrase(passphrase)?;
    }
    SecretKey::random().map_err(|_| VaultError::Random)
}

/// Refuses a passphrase that is too short, or that could not be typed and handed over again: it is
/// one line, of a bounded length.
pub(super) fn check_passphrase(passphrase: &SecretText) -> Result<(), VaultError> {
    let text = passphrase.expose();
    if text.chars().count() < PASSPHRASE_CHARS_MIN {
        return Err(VaultError::ShortPassphrase(PASSPHRASE_CHARS_MIN));
    }
    if text.len() > PASSPHRASE_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(VaultError::UnfitPassphrase(PASSPHRASE_BYTES_MAX));
    }
    Ok(())
}

/// Writes a new root key into `directory`, as `source_` says, and reads it back as a start would.
pub(super) fn write(
    directory: &Path,
    root: &SecretKey,
    source_: &KeySource,
) -> Result<(), VaultError> {
    let made_at = Clock::system().now();
    match source_ {
        KeySource::File => {
            let hex = Zeroizing::new(hex::encode(root.expose()));
            let text = Zeroizing::new(format!("{FILE_HEAD}\n{}\n{}\n", made_at.ms(), *hex));
            files::write(&clear_path(directory), text.as_bytes())?;
            let (written, _) = read_clear(directory)?;
            same(&written, root, clear_path(directory))
        }
        KeySource::Passphrase(passphrase) => {
            let path = wrapped_path(directory);
            files::write(&path, &wrap(root, passphrase, made_at)?)?;
            same(&unwrap_bytes(&files::read(&path)?, &path, passphrase)?, root, path)
        }
    }
}

/// Holds a key that was read back against the one that was written.
fn same(written: &SecretKey, root: &SecretKey, path: PathBuf) -> Result<(), VaultError> {
    if written == root { Ok(()) } else { Err(VaultError::Damaged(path)) }
}

/// Reads the root key where it lies in the clear; none where a passphrase is needed.
pub(super) fn load(directory: &Path) -> Result<Option<SecretKey>, VaultError> {
    match source(directory)? {
        SourceKind::Passphrase => Ok(None),
        SourceKind::File => read_clear(directory).map(|(root, _)| Some(root)),
    }
}

fn read_clear(directory: &Path) -> Result<(SecretKey, Timestamp), VaultError> {
    let path = clear_path(directory);
    let bytes = Zeroizing::new(files::read(&path)?);
    parse_clear(&bytes, path)
}

fn parse_clear(bytes: &[u8], path: PathBuf) -> Result<(SecretKey, Timestamp), VaultError> {
    let parse = || {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        if lines.next()? != FILE_HEAD {
            return None;
        }
        let made_at = Timestamp::from_ms(lines.next()?.parse().ok()?);
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(lines.next()?, key.as_mut_slice()).ok()?;
        Some((SecretKey::new(*key), made_at))
    };
    parse().ok_or(VaultError::Damaged(path))
}

/// When the root key was made.
pub(super) fn made_at(directory: &Path) -> Result<Timestamp, VaultError> {
    match source(directory)? {
        SourceKind::File => read_clear(directory).map(|(_, made_at)| made_at),
        SourceKind::Passphrase => {
            read_wrapped(directory).map(|wrapped| Timestamp::from_ms(wrapped.made_at_ms))
        }
    }
}

fn read_wrapped(directory: &Path) -> Result<Wrapped, VaultError> {
    let path = wrapped_path(directory);
    let bytes = files::read(&path)?;
    serde_json::from_slice(&bytes).map_err(|_| VaultError::Damaged(path))
}

/// The wrapped root key as it lies on disk; none where it lies in the clear.
pub(super) fn wrapped(directory: &Path) -> Result<Option<Vec<u8>>, VaultError> {
    match source(directory)? {
        SourceKind::Passphrase => files::read(&wrapped_path(directory)).map(Some),
        SourceKind::File => Ok(None),
    }
}

/// Opens the root key with its passphrase.
pub(super) fn unwrap(directory: &Path, passphrase: &SecretText) -> Result<SecretKey, VaultError> {
    if source(directory)? != SourceKind::Passphrase {
        return Err(VaultError::NoPassphrase);
    }
    let path = wrapped_path(directory);
    unwrap_bytes(&files::read(&path)?, &path, passphrase)
}

/// Opens a root key that lies under a passphrase; `path` is for messages.
fn unwrap_bytes(
    bytes: &[u8],
    path: &Path,
    passphrase: &SecretText,
) -> Result<SecretKey, VaultError> {
    let damaged = || VaultError::Damaged(path.to_owned());
    let wrapped: Wrapped = serde_json::from_slice(bytes).map_err(|_| damaged())?;
    let salt = hex::decode(&wrapped.salt).map_err(|_| damaged())?;
    let sealed = hex::decode(&wrapped.sealed).map_err(|_| damaged())?;
    // Bounds before work: the file may have been changed by somebody else.
    if wrapped.memory_kib > 4 << 20 || wrapped.passes > 64 || wrapped.lanes > 16 {
        return Err(damaged());
    }
    let params = Params::new(wrapped.memory_kib, wrapped.passes, wrapped.lanes, Some(32))
        .map_err(|_| damaged())?;
    let key = stretch(passphrase, &salt, params)?;
    let id = aead::key_id(&sealed).ok_or(VaultError::WrongPassphrase)?;
    let opened = aead::open(&DataKey::new(id, key, 0), &wrapped.aad(), &sealed)
        .map_err(|_| VaultError::WrongPassphrase)?;
    let bytes: [u8; 32] = opened.as_slice().try_into().map_err(|_| damaged())?;
    Ok(SecretKey::new(bytes))
}

/// Keeps `root` under a passphrase, and destroys what held it before. The new file is written
/// beside, read back and unwrapped first: what cannot be opened replaces nothing.
pub(super) fn rewrap(
    directory: &Path,
    root: &SecretKey,
    passphrase: &SecretText,
) -> Result<(), VaultError> {
    let checking = directory.join(CHECKING_FILE);
    files::write(&checking, &wrap(root, passphrase, made_at(directory)?)?)?;
    let read_back = unwrap_bytes(&files::read(&checking)?, &checking, passphrase);
    if let Err(error) = read_back.and_then(|written| same(&written, root, checking.clone())) {
        // The key is where it was; what was written is of no use to anybody.
        let _ = std::fs::remove_file(&checking);
        return Err(error);
    }
    files::replace(&checking, &wrapped_path(directory))?;
    finish_move(directory, root)
}

/// Destroys the root key in the clear that a move to a passphrase which was cut off has left, once
/// the passphrase has given the same key. Another key than that is not ours to destroy.
pub(super) fn finish_move(directory: &Path, root: &SecretKey) -> Result<(), VaultError> {
    let clear = clear_path(directory);
    if !clear.exists() {
        return Ok(());
    }
    let (left, _) = read_clear(directory)?;
    same(&left, root, clear.clone())?;
    files::destroy(&clear)
}

/// A root key outside a vault: what a backup is opened with on a new machine.
pub struct RootKey {
    key: SecretKey,
    name: &'static str,
    text: Zeroizing<Vec<u8>>,
}

impl RootKey {
    /// Reads a key file, or a wrapped one with its passphrase.
    pub fn read(path: &Path, passphrase: Option<&SecretText>) -> Result<Self, VaultError> {
        let text = Zeroizing::new(files::read(path)?);
        if let Some(passphrase) = passphrase {
            Self::unwrap(text.to_vec(), path, passphrase)
        } else {
            let (key, _) = parse_clear(&text, path.to_owned())?;
            Ok(Self { key, name: CLEAR_FILE, text })
        }
    }

    /// Opens a wrapped root key that lies in another file; `path` is for messages.
    pub fn unwrap(text: Vec<u8>, path: &Path, passphrase: &SecretText) -> Result<Self, VaultError> {
        let key = unwrap_bytes(&text, path, passphrase)?;
        Ok(Self { key, name: WRAPPED_FILE, text: Zeroizing::new(text) })
    }

    /// The key of one backup.
    pub fn backup_key(&self, salt: &[u8; 32]) -> SecretKey {
        backup_key(&self.key, salt)
    }

    /// Puts the root key into a directory of keys that has none, as it was kept before, and opens
    /// every key there with it.
    pub fn install(&self, directory: &Path) -> Result<super::Vault, VaultError> {
        if source(directory).is_ok() {
            return Err(VaultError::Exists(directory.to_owned()));
        }
        files::write(&directory.join(self.name), &self.text)?;
        super::Vault::open_with(directory, self.key.clone())
    }
}

impl std::fmt::Debug for RootKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RootKey(…)")
    }
}

/// The root key under a passphrase, as it is to lie on disk.
fn wrap(
    root: &SecretKey,
    passphrase: &SecretText,
    made_at: Timestamp,
) -> Result<Vec<u8>, VaultError> {
    check_passphrase(passphrase)?;
    let mut salt = [0; 32];
    let mut id = [0; aead::KEY_ID_BYTES];
    getrandom::fill(&mut salt).map_err(|_| VaultError::Random)?;
    getrandom::fill(&mut id).map_err(|_| VaultError::Random)?;
    let params = Params::new(STRETCH_MIB * 1024, STRETCH_PASSES, 1, Some(32))
        .map_err(|error| VaultError::Stretch(error.to_string()))?;
    let mut wrapped = Wrapped {
        format: FILE_HEAD.to_owned(),
        made_at_ms: made_at.ms(),
        memory_kib: params.m_cost(),
        passes: params.t_cost(),
        lanes: params.p_cost(),
        salt: hex::encode(salt),
        sealed: String::new(),
    };
    let key = stretch(passphrase, &salt, params)?;
    let sealed = aead::seal(&DataKey::new(id, key, 0), &wrapped.aad(), root.expose())?;
    wrapped.sealed = hex::encode(sealed);
    serde_json::to_vec_pretty(&wrapped).map_err(|error| VaultError::Stretch(error.to_string()))
}

impl Wrapped {
    fn aad(&self) -> Vec<u8> {
        let parts = [self.memory_kib, self.passes, self.lanes];
        let mut bytes = format!("{FILE_HEAD}/{}/{}", self.made_at_ms, self.salt).into_bytes();
        bytes.extend(parts.iter().flat_map(|part| part.to_be_bytes()));
        bytes
    }
}

fn stretch(passphrase: &SecretText, salt: &[u8], params: Params) -> Result<SecretKey, VaultError> {
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose().as_bytes(), salt, key.as_mut_slice())
        .map_err(|error| VaultError::Stretch(error.to_string()))?;
    Ok(SecretKey::new(*key))
}

/// HKDF-SHA-256 (RFC 5869) of a key, by label.
pub(super) fn derive(key: &SecretKey, salt: Option<&[u8]>, label: &str) -> SecretKey {
    let mut out = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(salt, key.expose())
        .expand(["strongroom/v1/", label].concat().as_bytes(), out.as_mut_slice())
        .expect("32 bytes are within HKDF's bound of 255 blocks");
    SecretKey::new(*out)
}

/// The key of one backup.
pub(super) fn backup_key(root: &SecretKey, salt: &[u8; 32]) -> SecretKey {
    derive(root, Some(salt), "backup")
}
