//! Replacing the root key: every data key is wrapped anew, beside the old ones; one rename of a
//! folder makes the step, and what is left is moving files, which a later start takes up where a
//! crash left it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{VaultError, files};

/// The folders with data keys.
const FOLDERS: [&str; 2] = ["system", "people"];

/// Where the new files are written.
fn next(directory: &Path) -> PathBuf {
    directory.join("next")
}

/// Their name from the step on.
fn ready(directory: &Path) -> PathBuf {
    directory.join("ready")
}

/// Makes an empty place for the new files.
pub(super) fn begin(directory: &Path) -> Result<PathBuf, VaultError> {
    let next = next(directory);
    if next.exists() {
        fs::remove_dir_all(&next)?;
    }
    for folder in FOLDERS {
        files::make_directory(&next.join(folder))?;
    }
    Ok(next)
}

/// The step: from here on the new files are the true ones.
pub(super) fn commit(directory: &Path) -> Result<(), VaultError> {
    let next = next(directory);
    for path in FOLDERS.map(|folder| next.join(folder)).iter().chain([&next]) {
        File::open(path)?.sync_all()?;
    }
    fs::rename(&next, ready(directory))?;
    File::open(directory)?.sync_all()?;
    finish(directory)
}

/// Takes up a rotation that was cut off: finishes it after the step, forgets it before.
pub(super) fn recover(directory: &Path) -> Result<(), VaultError> {
    let next = next(directory);
    if next.exists() {
        fs::remove_dir_all(&next)?;
    }
    finish(directory)
}

/// Moves the new files over the old ones; without effect where there are none.
fn finish(directory: &Path) -> Result<(), VaultError> {
    let ready = ready(directory);
    if !ready.exists() {
        return Ok(());
    }
    for folder in FOLDERS {
        let to = directory.join(folder);
        if !ready.join(folder).exists() {
            continue;
        }
        for entry in fs::read_dir(ready.join(folder))? {
            let entry = entry?;
            fs::rename(entry.path(), to.join(entry.file_name()))?;
        }
        File::open(&to)?.sync_all()?;
    }
    // The root key last, and at no moment is there none.
    for name in [super::root::CLEAR_FILE, super::root::WRAPPED_FILE] {
        if ready.join(name).exists() {
            files::replace(&ready.join(name), &directory.join(name))?;
        }
    }
    File::open(directory)?.sync_all()?;
    fs::remove_dir_all(&ready)?;
    Ok(())
}
