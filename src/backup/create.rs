//! Making a backup while the server goes on.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::file::{self, Header, Kind};
use super::manifest::{Content, Manifest};
use super::{BackupError, DATA_ENDING, DATABASE, KEYS_ENDING};
use crate::clock::Timestamp;
use crate::db::Db;
use crate::ids::BackupId;
use crate::vault::{Vault, VaultError};

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
}

/// Makes a backup into `target`. Blocks for as long as it takes to copy the database; readers and
/// writers go on meanwhile.
pub fn create(
    sources: &Sources<'_>,
    target: &Path,
    now: Timestamp,
) -> Result<Created, BackupError> {
    if !sources.vault.is_open() {
        return Err(VaultError::Sealed.into());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(target)
        .map_err(BackupError::io(target))?;
    let id = BackupId::new();
    let scratch = Scratch::make(target.join(format!(".{id}")))?;
    let name = format!("{}-{id}", now.rfc3339().replace([':', '.'], "-"));
    let (data, keys) = (
        target.join(format!("{name}.{DATA_ENDING}")),
        target.join(format!("{name}.{KEYS_ENDING}")),
    );
    // The heads first, the database next, the keys last: the heads of a moment are in every later
    // database, and the keys of a database are in every later directory of keys.
    let files = data_files(sources, &scratch.0)?;
    let bytes = seal(sources, id, Kind::Data, now, &files, &data)?;
    let people = listed(sources.data_dir, "keys/people", is_key)?;
    let outcome = seal(sources, id, Kind::Keys, now, &people, &keys);
    if outcome.is_err() {
        // Half a backup is none.
        let _ = fs::remove_file(&data);
    }
    Ok(Created { id, data, keys, bytes: bytes + outcome? })
}

fn data_files(
    sources: &Sources<'_>,
    scratch: &Path,
) -> Result<Vec<(String, PathBuf)>, BackupError> {
    let mut files = Vec::new();
    for name in ["audit/heads.log", "audit/public.key"] {
        let source = sources.data_dir.join(name);
        if source.exists() {
            let copy = scratch.join(name.replace('/', "-"));
            fs::copy(&source, &copy).map_err(BackupError::io(&source))?;
            files.push((name.to_owned(), copy));
        }
    }
    let database = scratch.join(DATABASE);
    sources.db.copy_to(&database)?;
    files.push((DATABASE.to_owned(), database));
    files.extend(listed(sources.data_dir, "keys/system", is_key)?);
    files.extend(listed(sources.data_dir, "tls", |_| true)?);
    Ok(files)
}

fn seal(
    sources: &Sources<'_>,
    id: BackupId,
    kind: Kind,
    now: Timestamp,
    files: &[(String, PathBuf)],
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

/// The files of one folder, by name.
fn listed(
    data_dir: &Path,
    folder: &str,
    is_wanted: fn(&str) -> bool,
) -> Result<Vec<(String, PathBuf)>, BackupError> {
    let directory = data_dir.join(folder);
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(&directory).map_err(BackupError::io(&directory))? {
        let entry = entry.map_err(BackupError::io(&directory))?;
        let is_file = entry.file_type().map_err(BackupError::io(&directory))?.is_file();
        if let Some(name) = entry.file_name().to_str()
            && is_file
            && is_wanted(name)
        {
            files.push((format!("{folder}/{name}"), entry.path()));
        }
    }
    files.sort();
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
