//! One process owns a data directory: an exclusive lock on a file in it, which the kernel lets go
//! of when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::clock::Timestamp;

/// Why the directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "the data directory is in use by {holder}. Stop that server first, or start with another --data-dir"
    )]
    Held {
        /// The process and since when, as it wrote it down.
        holder: String,
    },
    /// The lock file cannot be made or locked.
    #[error("the data directory cannot be locked: {0}")]
    Io(#[from] std::io::Error),
}

/// The lock; let go of when dropped.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the directory.
    pub fn acquire(directory: &Path, now: Timestamp) -> Result<Self, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join("lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only to tell a person; a lock file that cannot be read is still held.
                let _ = Read::by_ref(&mut file).take(200).read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    known => known.chars().filter(|c| !c.is_control()).collect(),
                };
                return Err(LockError::Held { holder });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "process {} since {now}", std::process::id())?;
        file.flush()?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_the_directory() {
        let directory = tempfile::tempdir().expect("directory");
        let now = Timestamp::from_ms(0);
        let first = DataLock::acquire(directory.path(), now).expect("taken");
        let error = DataLock::acquire(directory.path(), now).expect_err("held").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        DataLock::acquire(directory.path(), now).expect("free again");
    }
}
