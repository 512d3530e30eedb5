//! One sealed file: a line that names the format, a header in the clear, and a stream of sealed
//! chunks to which both are bound.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::BackupError;
use crate::secret::SecretKey;
use crate::vault::stream;

const MAGIC: &[u8] = b"strongroom-backup-v1\n";
/// Bytes of a header; a wrapped root key takes less than one kilobyte.
const HEADER_BYTES_MAX: u32 = 64 * 1024;

/// What a file of a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Database, audit heads, keys of the system.
    Data,
    /// Wrapped keys of people.
    Keys,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Data => "backup",
            Self::Keys => "key",
        })
    }
}

/// What stands in the clear at the front of a file; every byte of it is bound to the sealed part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) made_at_ms: i64,
    /// Salt of the file's own key.
    pub(super) salt: String,
    /// The root key under its passphrase, where it is kept so: the passphrase then opens the file
    /// on a new machine.
    pub(super) wrapped_root: Option<String>,
}

impl Header {
    pub(super) fn salt(&self) -> Option<[u8; 32]> {
        let mut salt = [0; 32];
        hex::decode_to_slice(&self.salt, &mut salt).ok()?;
        Some(salt)
    }

    fn bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let json = serde_json::to_vec(self)?;
        let length = (json.len() as u32).to_be_bytes();
        Ok([MAGIC, &length, &json].concat())
    }
}

/// Writes a file whole or not at all: beside its place first, then renamed, then the directory
/// synced.
pub(super) fn write(
    path: &Path,
    header: &Header,
    key: &SecretKey,
    content: impl Read,
) -> Result<u64, BackupError> {
    let io = || BackupError::io(path);
    let partial = path.with_added_extension("partial");
    let outcome = (|| {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)
            .map_err(io())?;
        let front = header.bytes().map_err(|error| io()(error.into()))?;
        let mut out = BufWriter::with_capacity(256 * 1024, file);
        out.write_all(&front).map_err(io())?;
        stream::seal(key, &front, content, &mut out).map_err(BackupError::stream(path))?;
        let file = out.into_inner().map_err(|error| io()(error.into_error()))?;
        file.sync_all().map_err(io())?;
        let length = file.metadata().map_err(io())?.len();
        std::fs::rename(&partial, path).map_err(io())?;
        sync_parent(path)?;
        Ok(length)
    })();
    if outcome.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&partial);
    }
    outcome
}

/// Makes a rename in the directory of `path` last.
pub(super) fn sync_parent(path: &Path) -> Result<(), BackupError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(BackupError::io(parent))
}

/// A file that was opened, behind its header.
pub(super) struct Opened {
    front: Vec<u8>,
    rest: BufReader<File>,
}

/// Reads the header of a file.
pub(super) fn open(path: &Path) -> Result<(Header, Opened), BackupError> {
    let strange = || BackupError::NotABackup(path.to_owned());
    let file = File::open(path).map_err(BackupError::io(path))?;
    let mut rest = BufReader::with_capacity(256 * 1024, file);
    let mut front = vec![0; MAGIC.len() + 4];
    rest.read_exact(&mut front).map_err(|_| strange())?;
    let (magic, length) = front.split_at(MAGIC.len());
    let length = u32::from_be_bytes(length.try_into().map_err(|_| strange())?);
    if magic != MAGIC || length > HEADER_BYTES_MAX {
        return Err(strange());
    }
    let mut json = vec![0; length as usize];
    rest.read_exact(&mut json).map_err(|_| strange())?;
    let header: Header = serde_json::from_slice(&json).map_err(|_| strange())?;
    front.extend_from_slice(&json);
    Ok((header, Opened { front, rest }))
}

impl Opened {
    /// Opens the sealed part into `out`. What was written before an error is not to be trusted.
    pub(super) fn read(
        self,
        path: &Path,
        key: &SecretKey,
        out: impl Write,
    ) -> Result<(), BackupError> {
        stream::open(key, &self.front, self.rest, out).map_err(BackupError::stream(path))
    }
}
