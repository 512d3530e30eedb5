//! Making a backup while the server goes on.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::file::{self, Header, Kind};
use super::manifest::{Content, Manifest, Part};
use super::{BackupError, DATA_ENDING, DATABASE, KEYS_ENDING, restore};
use crate::audit::complete_heads;
use crate::audit::verify::{KeptHead, Trust, verify as verify_log};
use crate::clock::Timestamp;
use crate::db::{self, Db};
use crate::ids::BackupId;
use crate::vault::{Vault, VaultError};

/// What a folder is called in which a backup is put together.
const STAGING: &str = ".backup-";

/// What a backup is made of.
pub struct Sources<'a> {
    /// The data directory.
    pub data_dir: &'a Path,
    /// Its database.
    pub db: &'a Db,
    /// Its vault, open.
    pub vault: &'a Vault,
    /// The audit log's newest head as `SIZE:ROOT`, taken before: the backup holds at least as
    /// much, and is held against it.
    pub audit_head: Option<String>,
}

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its id.
    pub id: BackupId,
    /// The data file.
    pub data: PathBuf,
    /// The key file.
    pub keys: PathBuf,
    /// Bytes of both.
    pub bytes: u64,
    /// What is wrong with the audit log in it, and was when it was made: a restore asks for a word
    /// about that.
    pub log_problems: Vec<String>,
}

/// Makes a backup into `target`, and opens it again: what this gives is whole. Blocks for as long
/// as it takes to copy the database; readers and writers go on meanwhile.
///
/// The database is copied inside the data directory, which nobody else can look into; what is
/// written to `target` is sealed.
pub fn create(
    sources: &Sources<'_>,
    target: &Path,
    now: Timestamp,
) -> Result<Created, BackupError> {
    if !sources.vault.is_open() {
        return Err(VaultError::Sealed.into());
    }
    remove_stale(sources.data_dir)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(target)
        .map_err(BackupError::io(target))?;
    let id = BackupId::new();
    let scratch = Scratch::make(sources.data_dir.join(format!("{STAGING}{id}")))?;
    let name = format!("{}-{id}", now.rfc3339().replace([':', '.'], "-"));
    let (data, keys) = (
        target.join(format!("{name}.{DATA_ENDING}")),
        target.join(format!("{name}.{KEYS_ENDING}")),
    );
    // The heads first, the database next, the keys last: the heads of a moment are in every later
    // database, and the keys of a database are in every later directory of keys.
    let files = data_files(sources, &scratch.0)?;
    let log_problems = check_copy(sources, &scratch.0)?;
    let outcome = (|| -> Result<u64, BackupError> {
        let bytes = seal(sources, id, Kind::Data, now, &files, &data)?;
        // A key that is being destroyed is a file of zeros for a moment, and would be in the backup.
        let people =
            sources.vault.holding_keys(|| listed(sources.data_dir, "keys/people", is_key))??;
        let bytes = bytes + seal(sources, id, Kind::Keys, now, &people, &keys)?;
        for path in [&data, &keys] {
            restore::verify(path, sources.vault)?;
        }
        Ok(bytes)
    })();
    if outcome.is_err() {
        // Half a backup is none.
        for path in [&data, &keys] {
            let _ = fs::remove_file(path);
        }
    }
    Ok(Created { id, data, keys, bytes: outcome?, log_problems })
}

/// Removes what a backup that was cut off left in the data directory.
pub(super) fn remove_stale(data_dir: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(data_dir).map_err(BackupError::io(data_dir))? {
        let path = entry.map_err(BackupError::io(data_dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(STAGING) {
            fs::remove_dir_all(&path).map_err(BackupError::io(&path))?;
        }
    }
    Ok(())
}

fn data_files(sources: &Sources<'_>, scratch: &Path) -> Result<Vec<(String, Part)>, BackupError> {
    let audit = scratch.join("audit");
    fs::create_dir(&audit).map_err(BackupError::io(&audit))?;
    let mut files = Vec::new();
    for name in ["audit/heads.log", "audit/public.key"] {
        let source = sources.data_dir.join(name);
        if source.exists() {
            let copy = scratch.join(name);
            fs::copy(&source, &copy).map_err(BackupError::io(&source))?;
            files.push((name.to_owned(), Part::Copy(copy)));
        }
    }
    let database = scratch.join(DATABASE);
    sources.db.copy_to(&database)?;
    if audit.join("heads.log").exists() {
        // Heads that were signed since the file was copied are in the database.
        complete_heads(&db::open_to_read(&database)?, &audit)?;
    }
    files.push((DATABASE.to_owned(), Part::Copy(database)));
    files.extend(listed(sources.data_dir, "keys/system", is_key)?);
    files.extend(listed(sources.data_dir, "tls", |name| !name.ends_with(".partial"))?);
    Ok(files)
}

/// Holds the copy against what a restore will hold it against; gives what is wrong with the log.
fn check_copy(sources: &Sources<'_>, scratch: &Path) -> Result<Vec<String>, BackupError> {
    let database = scratch.join(DATABASE);
    db::check_file(&database)?;
    let kept = sources.audit_head.as_deref().and_then(KeptHead::parse);
    let kept: Vec<KeptHead> = kept.into_iter().collect();
    let trust = Trust::Key(sources.vault.audit_signing_key()?.verifying_key());
    let copy = db::open_to_read(&database)?;
    Ok(verify_log(&copy, &scratch.join("audit"), &kept, &trust)?.problems)
}

fn seal(
    sources: &Sources<'_>,
    id: BackupId,
    kind: Kind,
    now: Timestamp,
    files: &[(String, Part)],
    path: &Path,
) -> Result<u64, BackupError> {
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map_err(|_| VaultError::Random)?;
    let wrapped_root = sources.vault.wrapped_root()?.map(hex::encode);
    let header = Header {
        id: id.to_string(),
        kind,
        made_at_ms: now.ms(),
        salt: hex::encode(salt),
        wrapped_root,
    };
    let audit_head = match kind {
        Kind::Data => sources.audit_head.clone(),
        Kind::Keys => None,
    };
    let manifest = Manifest::over(files, audit_head).map_err(BackupError::io(sources.data_dir))?;
    let content = Content::new(&manifest, files).map_err(BackupError::io(sources.data_dir))?;
    file::write(path, &header, &sources.vault.backup_key(&salt)?, content)
}

/// The files of one folder, by name, each read once. One that goes meanwhile, with the person that
/// it was for, is left out.
fn listed(
    data_dir: &Path,
    folder: &str,
    is_wanted: fn(&str) -> bool,
) -> Result<Vec<(String, Part)>, BackupError> {
    let directory = data_dir.join(folder);
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(&directory).map_err(BackupError::io(&directory))? {
        let entry = entry.map_err(BackupError::io(&directory))?;
        let is_file = entry.file_type().map_err(BackupError::io(&directory))?.is_file();
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_file && is_wanted(name)) else { continue };
        match fs::read(entry.path()) {
            Ok(bytes) => {
                let part = Part::Read(Arc::new(Zeroizing::new(bytes)));
                files.push((format!("{folder}/{name}"), part));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BackupError::io(&entry.path())(error)),
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

/// Whether a name is that of a key file, and not of one that is just being written.
fn is_key(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|ending| ending == "key")
}

/// A folder that is gone when this is dropped.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn make(path: PathBuf) -> Result<Self, BackupError> {
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(BackupError::io(&path))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing more can be done about a folder that will not go.
        let _ = fs::remove_dir_all(&self.0);
    }
}
