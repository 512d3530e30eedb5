//! Where the bytes of a model lie. Files are read with positioned reads into memory of our own, not
//! mapped: a file that somebody cuts short meanwhile is an error, where a mapping would end the
//! process with SIGBUS.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use super::GgufError;
use super::limits::{HEADER_BYTES_FIRST, HEADER_BYTES_MAX};
use super::parse::{self, Header};

/// One file of a model.
#[derive(Debug)]
pub(super) enum Source {
    /// On disk.
    Disk(Arc<Disk>),
    /// In memory, or inside the program.
    Memory(Cow<'static, [u8]>),
}

/// An opened file, and what it was like then.
#[derive(Debug)]
pub(super) struct Disk {
    file: fs::File,
    stamp: Stamp,
}

/// What changes when somebody writes to a file. Not the time of its other changes: a file that is
/// renamed or removed meanwhile still reads as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &fs::File) -> io::Result<Self> {
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { bytes: found.len(), modified: (found.mtime(), found.mtime_nsec()) })
    }
}

impl Disk {
    /// Opens the regular file at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, GgufError> {
        Self::try_open(path).map_err(GgufError::Open)
    }

    fn try_open(path: &Path) -> io::Result<Self> {
        // Before it is opened: opening a pipe waits for somebody to write to it.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = fs::File::open(path)?;
        let stamp = Stamp::of(&file)?;
        if stamp.bytes == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty"));
        }
        Ok(Self { file, stamp })
    }

    /// The size of the file in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.stamp.bytes
    }

    /// Fills `into` with the bytes from `offset` on.
    pub(super) fn read_at(&self, into: &mut [u8], offset: u64) -> Result<(), GgufError> {
        self.file.read_exact_at(into, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => GgufError::Changed,
            _ => GgufError::Read(error),
        })
    }

    /// Whether nobody wrote to the file since it was opened, as far as its size and time tell.
    pub(super) fn is_unchanged(&self) -> bool {
        Stamp::of(&self.file).is_ok_and(|now| now == self.stamp)
    }

    /// Reads and checks the header, as much of the file as it takes and no more.
    fn header(&self) -> Result<(Vec<u8>, Header), GgufError> {
        let mut bytes = Vec::new();
        let mut wanted = HEADER_BYTES_FIRST.min(self.bytes());
        loop {
            let have = bytes.len();
            bytes.resize(wanted as usize, 0); // at most HEADER_BYTES_MAX
            self.read_at(&mut bytes[have..], have as u64)?;
            match parse::header(&bytes) {
                Ok(header) => {
                    bytes.truncate(header.end);
                    bytes.shrink_to_fit();
                    return Ok((bytes, header));
                }
                Err(GgufError::Truncated { place, missing }) if wanted < self.bytes() => {
                    wanted = self.more(wanted, place, missing)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// How much of the file to read next, where `have` bytes lack so many for the header.
    fn more(&self, have: u64, place: String, missing: u64) -> Result<u64, GgufError> {
        let needed = have.saturating_add(missing);
        if needed > self.bytes() {
            return Err(GgufError::Truncated { place, missing: needed - self.bytes() });
        }
        if needed > HEADER_BYTES_MAX {
            let place = "the size of the header".to_owned();
            return Err(GgufError::TooLarge { place, found: needed, limit: HEADER_BYTES_MAX });
        }
        Ok(needed.max(have.saturating_mul(2)).min(self.bytes()).min(HEADER_BYTES_MAX))
    }
}

impl Source {
    /// The size in bytes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Disk(disk) => disk.bytes(),
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// Whether nobody wrote to it since it was opened.
    pub(super) fn is_unchanged(&self) -> bool {
        match self {
            Self::Disk(disk) => disk.is_unchanged(),
            Self::Memory(_) => true,
        }
    }

    /// The header, read and checked.
    pub(super) fn header(&self) -> Result<(Cow<'static, [u8]>, Header), GgufError> {
        match self {
            Self::Disk(disk) => disk.header().map(|(bytes, header)| (Cow::Owned(bytes), header)),
            Self::Memory(bytes) => {
                let header = parse::header(bytes)?;
                let bytes = match bytes {
                    Cow::Borrowed(bytes) => Cow::Borrowed(*bytes),
                    Cow::Owned(bytes) => Cow::Owned(bytes[..header.end].to_vec()),
                };
                Ok((bytes, header))
            }
        }
    }

    /// Fills `into` with the bytes from `offset` on.
    pub(super) fn read_at(&self, into: &mut [u8], offset: usize) -> Result<(), GgufError> {
        match self {
            Self::Disk(disk) => disk.read_at(into, offset as u64),
            Self::Memory(bytes) => {
                let end = offset.checked_add(into.len());
                let found = end.and_then(|end| bytes.get(offset..end));
                into.copy_from_slice(found.ok_or(GgufError::Changed)?);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Writer;
    use super::*;

    fn written(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model");
        fs::write(&path, bytes).expect("write");
        (folder, path)
    }

    #[test]
    fn folders_devices_and_empty_files_are_refused() {
        let (folder, path) = written(b"");
        assert!(Disk::open(folder.path()).is_err());
        assert!(Disk::open(&path).expect_err("empty").to_string().contains("empty"));
        assert!(Disk::open(&folder.path().join("missing")).is_err());
        assert!(Disk::open(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn a_file_that_was_cut_short_or_written_to_is_noticed() {
        let (_folder, path) = written(&[1; 10_000]);
        let disk = Disk::open(&path).expect("opens");
        let mut into = [0; 100];
        disk.read_at(&mut into, 9_900).expect("reads");
        assert!(disk.is_unchanged());
        fs::File::options().write(true).open(&path).and_then(|f| f.set_len(9_950)).expect("cut");
        assert!(matches!(disk.read_at(&mut into, 9_900), Err(GgufError::Changed)));
        assert!(!disk.is_unchanged());
    }

    #[test]
    fn a_file_that_is_renamed_or_removed_reads_on() {
        let (folder, path) = written(&[1; 10]);
        let disk = Disk::open(&path).expect("opens");
        fs::rename(&path, folder.path().join("other")).expect("moves");
        fs::remove_file(folder.path().join("other")).expect("removes");
        disk.read_at(&mut [0; 10], 0).expect("reads");
        assert!(disk.is_unchanged());
    }

    #[test]
    fn a_header_longer_than_the_first_reading_is_read_whole() {
        let tokens: Vec<String> =
            (0..100_000).map(|at| format!("a token with number {at}")).collect();
        let writer = Writer::new().strings("tokens", &tokens).tensor_f32("t", &[1], &[1.0]);
        let file = writer.finish();
        assert!(file.len() as u64 > 2 * HEADER_BYTES_FIRST);
        let (_folder, path) = written(&file);
        let source = Source::Disk(Arc::new(Disk::open(&path).expect("opens")));
        let (bytes, header) = source.header().expect("sound");
        assert_eq!(&bytes[..], &file[..header.end]);
        // Cut anywhere, it says how much is missing, at least.
        for length in [HEADER_BYTES_FIRST - 1, HEADER_BYTES_FIRST, HEADER_BYTES_FIRST + 1] {
            let (_folder, path) = written(&file[..length as usize]);
            let source = Source::Disk(Arc::new(Disk::open(&path).expect("opens")));
            assert!(matches!(source.header(), Err(GgufError::Truncated { .. })));
        }
    }

    #[test]
    fn a_header_without_end_is_refused_before_it_is_read() {
        // A sparse file that announces a list of 128 MB, and another one, and a third.
        let list =
            |count: u64| [10_u32.to_le_bytes().to_vec(), count.to_le_bytes().to_vec()].concat();
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend(3_u64.to_le_bytes());
        let (_folder, path) = written(&[]);
        let file = fs::File::options().write(true).open(&path).expect("opens");
        let mut at = 0;
        for key in 0..3_u8 {
            bytes.extend(1_u64.to_le_bytes());
            bytes.push(b'a' + key);
            bytes.extend(9_u32.to_le_bytes());
            bytes.extend(list(16 << 20));
            file.write_all_at(&bytes, at).expect("writes");
            at += bytes.len() as u64 + (128 << 20);
            bytes.clear();
        }
        file.set_len(1 << 40).expect("grows");
        let source = Source::Disk(Arc::new(Disk::open(&path).expect("opens")));
        let error = source.header().expect_err("refused").to_string();
        assert!(error.contains("the size of the header"), "{error}");
    }
}
