//! Maps a model file into memory, read-only.
//!
//! The kernel backs the bytes with the file itself, so a process that truncates the file while it
//! is mapped turns a later read into SIGBUS. Nothing a program does can rule that out; what is
//! done here: only regular files are mapped, the size is compared before and after mapping and
//! again before each tensor is read (`is_whole`), and the mapping is dropped as soon as the
//! weights are loaded. Model files lie in the data directory, which only the server's own account
//! may write. A writer that keeps the size and changes bytes is answered by the checks of whoever
//! reads them: every offset is checked against the length that was mapped, which never changes.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// A file in memory, read-only.
#[derive(Debug)]
pub(crate) struct Map {
    file: File,
    bytes: Mmap,
}

impl Map {
    /// Maps the regular file at `path`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let before = file.metadata()?;
        if !before.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if before.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty"));
        }
        let bytes = map(&file)?;
        let map = Self { file, bytes };
        if map.bytes.len() as u64 != before.len() || !map.is_whole() {
            return Err(io::Error::other("the file changed its size while it was being opened"));
        }
        Ok(map)
    }

    /// The bytes of the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the file still has every byte that was mapped.
    pub(crate) fn is_whole(&self) -> bool {
        self.file.metadata().is_ok_and(|now| now.len() >= self.bytes.len() as u64)
    }
}

#[expect(unsafe_code, reason = "mapping a file is unsafe in memmap2: others may change the file")]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and private to this module; it is only ever read as bytes, for
    // which every bit pattern is valid, and nothing decides about memory by reading a byte twice.
    // A truncation by somebody else is the documented risk above.
    unsafe { Mmap::map(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_reads_as_the_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model");
        std::fs::write(&path, b"twelve bytes").expect("write");
        let map = Map::open(&path).expect("map");
        assert_eq!(map.bytes(), b"twelve bytes");
        assert!(map.is_whole());
    }

    #[test]
    fn a_file_that_shrank_is_noticed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model");
        std::fs::write(&path, vec![1; 10_000]).expect("write");
        let map = Map::open(&path).expect("map");
        File::options().write(true).open(&path).and_then(|file| file.set_len(10)).expect("cut");
        assert!(!map.is_whole());
    }

    #[test]
    fn folders_and_empty_files_are_refused() {
        let folder = tempfile::tempdir().expect("folder");
        assert!(Map::open(folder.path()).is_err());
        let path = folder.path().join("empty");
        std::fs::write(&path, b"").expect("write");
        assert!(Map::open(&path).is_err());
        assert!(Map::open(&folder.path().join("missing")).is_err());
    }
}
