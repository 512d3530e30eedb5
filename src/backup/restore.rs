//! Verifying and restoring: everything is opened, laid out beside the target and held against
//! itself before the target is touched; then one rename puts it there.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::create::Scratch;
use super::file::{self, Header, Kind};
use super::manifest::{Extractor, Manifest};
use super::{BackupError, DATABASE};
use crate::audit::verify::{KeptHead, Trust, verify as verify_log};
use crate::clock::Timestamp;
use crate::db;
use crate::db::lock::DataLock;
use crate::ids::BackupId;
use crate::secret::{SecretKey, SecretText};
use crate::vault::{RootKey, Vault};

/// The ending, beside the target, of a directory that is being laid out, and of one that gave way.
const STAGING: &str = "restoring-";
const ASIDE: &str = "before-restore-";

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
/// with the open vault that made it. Writes nothing; gives the backup's id, what kind of file it
/// is, and the list of what is in it.
pub fn verify(path: &Path, vault: &Vault) -> Result<(String, Kind, Manifest), BackupError> {
    let (header, opened) = file::open(path)?;
    let salt = header.salt().ok_or_else(|| BackupError::NotABackup(path.to_owned()))?;
    let manifest = extract(path, header.kind, opened, &vault.backup_key(&salt)?, None)?;
    Ok((header.id, header.kind, manifest))
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
    /// What to do with an audit log in the backup that does not verify.
    pub damaged_log: DamagedLog,
}

/// What to do with an audit log that does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamagedLog {
    /// Refuse the backup.
    Refuse,
    /// Restore it as it is: what is wrong with it stays to be seen.
    Accept,
}

/// What a restore did.
#[derive(Debug)]
pub struct Restored {
    /// When the data file was made.
    pub made_at: Timestamp,
    /// Files that were restored.
    pub files: usize,
    /// Keys of people among them.
    pub people_keys: usize,
    /// Where the data that was there before lies now.
    pub moved_aside: Option<PathBuf>,
    /// What did not work once the new directory was in its place, for a person to mend.
    pub warnings: Vec<String>,
}

/// Restores a backup. `settle` is given the new directory while it still lies beside its place, so
/// that no server ever finds there what is to end with a restore. An error leaves everything as it
/// was.
pub fn restore<T>(
    request: &Restore<'_>,
    now: Timestamp,
    settle: impl FnOnce(&Path) -> Result<T, BackupError>,
) -> Result<(Restored, T), BackupError> {
    // Where a link leads is what is replaced, on its own file system.
    let resolved = fs::canonicalize(request.target);
    let request = &Restore { target: resolved.as_deref().unwrap_or(request.target), ..*request };
    let target = request.target;
    // Held until the end, so that no server starts on a directory that is being replaced.
    let _held = take_target(request, now)?;
    remove_staging(target, now)?;
    let staging_path = beside(target, &format!("{STAGING}{}", BackupId::new()))?;
    if let Some(parent) = staging_path.parent() {
        fs::create_dir_all(parent).map_err(BackupError::io(parent))?;
    }
    let staging = Scratch::make(staging_path)?;
    // Of the new directory too, from its first moment on.
    let _lock = DataLock::acquire(&staging.0, now)?;
    let (header, opened) = file::open(request.data)?;
    let root = request.unlock.root(request.data, &header)?;
    let manifest = open_into(request.data, Kind::Data, (&header, opened), &root, &staging.0)?;
    let mut people_keys = 0;
    if let Some(path) = request.keys {
        let (header, opened) = file::open(path)?;
        let keys = open_into(path, Kind::Keys, (&header, opened), &root, &staging.0)?;
        people_keys = keys.files.len();
    }
    check_laid_out(&staging.0, &manifest, &root, request.damaged_log)?;
    let settled = settle(&staging.0)?;
    let mut warnings = Vec::new();
    let moved_aside = swap(&staging, target, now, &mut warnings)?;
    let (made_at, files) =
        (Timestamp::from_ms(header.made_at_ms), manifest.files.len() + people_keys);
    Ok((Restored { made_at, files, people_keys, moved_aside, warnings }, settled))
}

/// Removes what restores that were cut off left beside the target: it can hold a root key.
pub(super) fn remove_staging(target: &Path, now: Timestamp) -> Result<(), BackupError> {
    for path in named_beside(target, STAGING)? {
        // One that is held is being restored by somebody else.
        if path.is_dir() && DataLock::acquire(&path, now).is_ok() {
            fs::remove_dir_all(&path).map_err(BackupError::io(&path))?;
        }
    }
    Ok(())
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
    damaged_log: DamagedLog,
) -> Result<(), BackupError> {
    let keys = directory.join("keys");
    fs::create_dir_all(&keys).map_err(BackupError::io(&keys))?;
    let signer = root.install(&keys)?.audit_signing_key()?.verifying_key();
    let database = directory.join(DATABASE);
    db::check_file(&database)?;
    let connection = db::open_to_read(&database)?;
    let kept: Vec<KeptHead> =
        manifest.audit_head.as_deref().and_then(KeptHead::parse).into_iter().collect();
    let trust = Trust::Key(signer);
    let found = verify_log(&connection, &directory.join("audit"), &kept, &trust)?;
    if found.ok || damaged_log == DamagedLog::Accept {
        return Ok(());
    }
    Err(BackupError::AuditLog(found.problems.join("; ")))
}

/// Puts the new directory in the place of the old one, which is moved aside. Both change places in
/// one step, so that there is a data directory at every moment. What goes wrong after that step is
/// no error: the data is replaced.
fn swap(
    staging: &Scratch,
    target: &Path,
    now: Timestamp,
    warnings: &mut Vec<String>,
) -> Result<Option<PathBuf>, BackupError> {
    if !target.exists() {
        fs::rename(&staging.0, target).map_err(BackupError::io(target))?;
        warnings.extend(file::sync_parent(target).err().map(|error| error.to_string()));
        return Ok(None);
    }
    let stamp = now.rfc3339().replace([':', '.'], "-");
    let aside = beside(target, &format!("{ASIDE}{stamp}"))?;
    // Under the name that the old data is to have: what is called `restoring-…` is thrown away by
    // the next restore, and must at no moment be the old data.
    fs::rename(&staging.0, &aside).map_err(BackupError::io(&aside))?;
    if renameat_with(CWD, &aside, CWD, target, RenameFlags::EXCHANGE).is_err() {
        // A file system that cannot do it in one step. A crash in between leaves no data directory
        // but both beside it, and a start then says so (`cut_off`).
        fs::rename(&aside, &staging.0).map_err(BackupError::io(&aside))?;
        fs::rename(target, &aside).map_err(BackupError::io(target))?;
        if let Err(error) = fs::rename(&staging.0, target) {
            // Back to where it was; what went wrong is told below.
            let _ = fs::rename(&aside, target);
            return Err(BackupError::io(target)(error));
        }
    }
    warnings.extend(file::sync_parent(target).err().map(|error| error.to_string()));
    // Models are not in a backup, so those that are there stay in use.
    let (from, to) = (aside.join("models"), target.join("models"));
    if from.exists()
        && !to.exists()
        && let Err(error) = fs::rename(&from, &to)
    {
        warnings.push(format!(
            "the models could not be taken along ({error}): move {} to {}",
            from.display(),
            to.display()
        ));
    }
    Ok(Some(aside))
}

/// What a restore that was cut off between two steps has left beside a data directory that is not
/// there: a start must not take its place for a first one.
pub fn cut_off(target: &Path) -> Option<PathBuf> {
    if target.exists() {
        return None;
    }
    let aside = named_beside(target, ASIDE).ok()?.pop()?;
    named_beside(target, STAGING).ok()?.pop().map(|_| aside)
}

/// What lies beside `path` under its name and an ending that begins so.
fn named_beside(path: &Path, ending: &str) -> Result<Vec<PathBuf>, BackupError> {
    let start = beside(path, ending)?;
    let parent = start.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Ok(entries) = fs::read_dir(parent.unwrap_or(Path::new("."))) else {
        return Ok(Vec::new());
    };
    let start = start.file_name().unwrap_or_default().as_encoded_bytes();
    let entries = entries.flatten();
    let ours = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(start));
    Ok(ours.map(|entry| entry.path()).collect())
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
