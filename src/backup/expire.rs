//! Key files that are older than a rule allows: which they are, and their deletion. Which are meant is told by
//! what a file holds, not by its name or its date on disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::file::{self, Kind};
use super::{BackupError, KEYS_ENDING, verify};
use crate::clock::Timestamp;
use crate::vault::Vault;

/// The key files of a directory that this installation made before `limit` under this vault's root key. The
/// newest of its own is none of them, however old: without one, what people wrote could not be restored. One
/// that was made later than `now`, by a clock that was ahead, is neither. `is_ours` says by the id of a backup
/// whether this installation made it: another one may have the same root key, as one that was restored from a
/// backup has, and the newest of the one is no good to the other. What others made, what was made under an
/// earlier root key, and what cannot be read are left to a person.
pub fn old_key_files(
    directory: &Path,
    vault: &Vault,
    is_ours: impl Fn(&str) -> bool,
    (limit, now): (Timestamp, Timestamp),
) -> Result<Vec<PathBuf>, BackupError> {
    let entries = fs::read_dir(directory).map_err(BackupError::io(directory))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(BackupError::io(directory))?;
        let path = entry.path();
        // Opening anything else, such as a pipe, could wait for ever.
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_file || path.extension().is_none_or(|ending| ending != KEYS_ENDING) {
            continue;
        }
        if let Ok((header, _)) = file::open(&path)
            && header.made_at_ms <= now.ms()
            && is_ours(&header.id)
        {
            found.push((header.made_at_ms, path));
        }
    }
    found.sort();
    // The header is bound to what is sealed: where that opens, the id and the date are right.
    let opens = |path: &Path| verify(path, vault).is_ok_and(|(_, kind, _)| kind == Kind::Keys);
    // From the newest on: the first that opens stays.
    let mut ours = found.into_iter().rev().filter(|(_, path)| opens(path));
    let _newest = ours.next();
    Ok(ours.filter(|(made_at_ms, _)| *made_at_ms < limit.ms()).map(|(_, path)| path).collect())
}

/// Deletes key files. Gives how many are gone, and the first thing that kept it from deleting one; it goes on
/// with the others.
pub fn delete_key_files(paths: &[PathBuf]) -> (usize, Result<(), BackupError>) {
    let (mut count, mut outcome) = (0, Ok(()));
    for path in paths {
        match fs::remove_file(path) {
            Ok(()) => count += 1,
            // Somebody was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => outcome = outcome.and(Err(BackupError::io(path)(error))),
        }
    }
    (count, outcome)
}
