//! Key files: written whole or not at all, readable by their owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::VaultError;

/// Makes a directory of mode 0700, with those above it.
pub(super) fn make_directory(path: &Path) -> Result<(), VaultError> {
    Ok(DirBuilder::new().recursive(true).mode(0o700).create(path)?)
}

/// Writes a file of mode 0600: first beside it, then renamed over it, then the directory synced.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    let partial = path.with_extension("partial");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    if let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Renames a file over another, and then overwrites what the other held.
pub(super) fn replace(from: &Path, to: &Path) -> Result<(), VaultError> {
    let old = OpenOptions::new().write(true).open(to).ok();
    fs::rename(from, to)?;
    if let Some(parent) = to.parent() {
        File::open(parent)?.sync_all()?;
    }
    if let Some(mut old) = old {
        let length = old.metadata()?.len().min(65_536);
        old.write_all(&vec![0; usize::try_from(length).unwrap_or(0)])?;
        old.sync_all()?;
    }
    Ok(())
}

/// Reads a file that only its owner may read.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, VaultError> {
    if fs::metadata(path)?.mode() & 0o077 != 0 {
        return Err(VaultError::InsecureMode(path.to_owned()));
    }
    Ok(fs::read(path)?)
}

/// Overwrites a file with zeros, then removes it. On flash and copy-on-write file systems old
/// blocks may live on below; full-disk encryption covers that.
pub(super) fn destroy(path: &Path) -> Result<(), VaultError> {
    let length = fs::metadata(path)?.len();
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(&vec![0; usize::try_from(length.min(65_536)).unwrap_or(0)])?;
    file.sync_all()?;
    fs::remove_file(path)?;
    if let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}
