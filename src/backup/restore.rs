//! Verifying and restoring: everything is opened, laid out beside the target and held against
//! itself before the target is touched; then one rename puts it there.

use std::fs;
use std::path::{Path, PathBuf};

use super::create::Scratch;
use super::file::{self, Header, Kind};
use super::manifest::{Extractor, Manifest};
use super::{BackupError, DATABASE};
use crate::audit::verify::{KeptHead, verify as verify_log};
use crate::clock::Timestamp;
use crate::db;
use crate::db::lock::DataLock;
use crate::ids::BackupId;
use crate::secret::{SecretKey, SecretText};
use crate::vault::{RootKey, Vault};

/// What opens a backup.
#[derive(Clone, Copy, Debug)]
pub enum Unlock<'a> {
    /// The file with the root key (`root.key`).
    KeyFile(&'a Path),
    /// The passphrase of the root key as it was when the backup was made.
    Passphrase(&'a SecretText),
    /// A file with the root key under a passphrase (`root.sealed`), and that passphrase.
    WrappedFile(&'a Path, &'a SecretText),
}

impl Unlock<'_> {
    fn root(self, path: &Path, header: &Header) -> Result<RootKey, BackupError> {
        match self {
            Self::KeyFile(file) => Ok(RootKey::read(file, None)?),
            Self::WrappedFile(file, passphrase) => Ok(RootKey::read(file, Some(passphrase))?),
            Self::Passphrase(passphrase) => {
                let strange = || BackupError::NotABackup(path.to_owned());
                let text = header
                    .wrapped_root
                    .as_ref()
                    .ok_or_else(|| BackupError::NeedsKeyFile(path.to_owned()))?;
                let text = hex::decode(text).map_err(|_| strange())?;
                Ok(RootKey::unwrap(text, path, passphrase)?)
            }
        }
    }
}

/// Opens a whole file of a backup and holds every byte of it against its seal and its manifest,
/// with the open vault that made it. Writes nothing.
pub fn verify(path: &Path, vault: &Vault) -> Result<(Kind, Manifest), BackupError> {
    let (header, opened) = file::open(path)?;
    let salt = header.salt().ok_or_else(|| BackupError::NotABackup(path.to_owned()))?;
    let manifest = extract(path, header.kind, opened, &vault.backup_key(&salt)?, None)?;
    Ok((header.kind, manifest))
}

/// A restore, as it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Restore<'a> {
    /// The data file.
    pub data: &'a Path,
    /// The key file: the newest there is. Without one, everything that people wrote stays closed.
    pub keys: Option<&'a Path>,
    /// What opens them.
    pub unlock: Unlock<'a>,
    /// The data directory to make.
    pub target: &'a Path,
    /// Whether a target that holds data is to be moved aside.
    pub is_replacing: bool,
}

/// What a restore did.
#[derive(Clone, Debug)]
pub struct Restored {
    /// When the data file was made.
    pub made_at: Timestamp,
    /// Files that were restored.
    pub files: usize,
    /// Keys of people among them.
    pub people_keys: usize,
    /// Where the data that was there before lies now.
    pub moved_aside: Option<PathBuf>,
}

/// Restores a backup. Any error before the last step leaves everything as it was.
pub fn restore(request: &Restore<'_>, now: Timestamp) -> Result<Restored, BackupError> {
    let target = request.target;
    // Held until the end, so that no server starts on a directory that is being replaced.
    let _lock = take_target(request, now)?;
    let staging_path = beside(target, &format!("restoring-{}", BackupId::new()))?;
    if let Some(parent) = staging_path.parent() {
        fs::create_dir_all(parent).map_err(BackupError::io(parent))?;
    }
    let staging = Scratch::make(staging_path)?;
    let (header, opened) = file::open(request.data)?;
    let root = request.unlock.root(request.data, &header)?;
    let manifest = open_into(request.data, Kind::Data, (&header, opened), &root, &staging.0)?;
    let mut people_keys = 0;
    if let Some(path) = request.keys {
        let (header, opened) = file::open(path)?;
        let keys = open_into(path, Kind::Keys, (&header, opened), &root, &staging.0)?;
        people_keys = keys.files.len();
    }
    check_laid_out(&staging.0, &manifest, &root)?;
    let moved_aside = swap(&staging, target, now)?;
    let (made_at, files) =
        (Timestamp::from_ms(header.made_at_ms), manifest.files.len() + people_keys);
    Ok(Restored { made_at, files, people_keys, moved_aside })
}

/// Refuses a target that holds data, unless it is to be replaced and no server has it.
fn take_target(request: &Restore<'_>, now: Timestamp) -> Result<Option<DataLock>, BackupError> {
    let target = request.target;
    if !target.exists() {
        return Ok(None);
    }
    let mut entries = fs::read_dir(target).map_err(BackupError::io(target))?;
    let is_empty = entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lock"));
    if !is_empty && !request.is_replacing {
        return Err(BackupError::NotEmpty(target.to_owned()));
    }
    Ok(Some(DataLock::acquire(target, now)?))
}

fn open_into(
    path: &Path,
    expected: Kind,
    (header, opened): (&Header, file::Opened),
    root: &RootKey,
    directory: &Path,
) -> Result<Manifest, BackupError> {
    if header.kind != expected {
        let path = path.to_owned();
        return Err(BackupError::OtherKind { path, found: header.kind, expected });
    }
    let salt = header.salt().ok_or_else(|| BackupError::NotABackup(path.to_owned()))?;
    extract(path, expected, opened, &root.backup_key(&salt), Some(directory))
}

fn extract(
    path: &Path,
    kind: Kind,
    opened: file::Opened,
    key: &SecretKey,
    directory: Option<&Path>,
) -> Result<Manifest, BackupError> {
    let is_allowed: fn(&str) -> bool = match kind {
        Kind::Data => |path| {
            path == DATABASE
                || ["audit/", "keys/system/", "tls/"].iter().any(|folder| path.starts_with(folder))
        },
        Kind::Keys => |path| path.starts_with("keys/people/"),
    };
    let mut extractor = Extractor::new(directory, is_allowed);
    opened.read(path, key, &mut extractor)?;
    extractor.finish().ok_or_else(|| BackupError::CannotOpen(path.to_owned()))
}

/// Holds what was laid out against itself: keys against the root key, the database's structure,
/// the audit log against its heads.
fn check_laid_out(
    directory: &Path,
    manifest: &Manifest,
    root: &RootKey,
) -> Result<(), BackupError> {
    let keys = directory.join("keys");
    fs::create_dir_all(&keys).map_err(BackupError::io(&keys))?;
    let vault = root.install(&keys)?;
    drop(vault);
    let database = directory.join(DATABASE);
    db::check_file(&database)?;
    let connection = db::open_to_read(&database)?;
    let kept: Vec<KeptHead> =
        manifest.audit_head.as_deref().and_then(KeptHead::parse).into_iter().collect();
    let found = verify_log(&connection, &directory.join("audit"), &kept)?;
    // A log without an event has neither head nor key.
    if found.ok || found.size == 0 && kept.is_empty() {
        return Ok(());
    }
    Err(BackupError::AuditLog(found.problems.join("; ")))
}

/// Puts the new directory in the place of the old one, which is moved aside first.
fn swap(staging: &Scratch, target: &Path, now: Timestamp) -> Result<Option<PathBuf>, BackupError> {
    let mut aside = None;
    if target.exists() {
        let stamp = now.rfc3339().replace([':', '.'], "-");
        let path = beside(target, &format!("before-restore-{stamp}"))?;
        fs::rename(target, &path).map_err(BackupError::io(target))?;
        aside = Some(path);
    }
    if let Err(error) = fs::rename(&staging.0, target) {
        if let Some(path) = &aside {
            // Back to where it was; what went wrong is told below.
            let _ = fs::rename(path, target);
        }
        return Err(BackupError::io(target)(error));
    }
    file::sync_parent(target)?;
    // Models are not in a backup, so those that are there stay in use.
    if let Some(path) = &aside {
        let (from, to) = (path.join("models"), target.join("models"));
        if from.exists() && !to.exists() {
            fs::rename(&from, &to).map_err(BackupError::io(&from))?;
        }
    }
    Ok(aside)
}

/// A name beside `path`, on the same file system, so that a rename is one step.
fn beside(path: &Path, ending: &str) -> Result<PathBuf, BackupError> {
    let name = path.file_name().ok_or_else(|| {
        let error = std::io::Error::other("give a directory by its name");
        BackupError::Io { path: path.to_owned(), error }
    })?;
    let mut name = name.to_owned();
    name.push(format!(".{ending}"));
    Ok(path.with_file_name(name))
}
