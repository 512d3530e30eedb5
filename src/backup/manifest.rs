//! What is inside a sealed file: the manifest, then the files that it names, one after the other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes of a manifest: enough for half a million people.
const MANIFEST_BYTES_MAX: u32 = 128 << 20;

/// The list of files in a sealed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of the program that made the backup.
    pub version: String,
    /// The newest signed head of the audit log in the backup, as `SIZE:ROOT`.
    pub audit_head: Option<String>,
    /// The files.
    pub files: Vec<Entry>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its place below the data directory.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// Where the bytes of a file come from: nothing of it changes between the hash and the seal.
pub(super) enum Part {
    /// A copy that nobody else writes to.
    Copy(PathBuf),
    /// A small file, read once.
    Read(Arc<Zeroizing<Vec<u8>>>),
}

impl Part {
    fn open(&self) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::Copy(path) => Box::new(File::open(path)?),
            Self::Read(bytes) => Box::new(io::Cursor::new(Bytes(Arc::clone(bytes)))),
        })
    }
}

struct Bytes(Arc<Zeroizing<Vec<u8>>>);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Manifest {
    /// Lists `files`, each given by its place in the backup and its bytes.
    pub(super) fn over(files: &[(String, Part)], audit_head: Option<String>) -> io::Result<Self> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let files = files
            .iter()
            .map(|(path, part)| {
                let mut hasher = Sha256::new();
                let bytes = io::copy(&mut part.open()?, &mut HashWriter(&mut hasher))?;
                let sha256 = hex::encode(hasher.finalize());
                Ok(Entry { path: path.clone(), bytes, sha256 })
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { version, audit_head, files })
    }

    /// The manifest as it stands in front of the files.
    pub(super) fn front(&self) -> io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let length = u32::try_from(json.len()).map_err(io::Error::other)?.to_be_bytes();
        Ok([&length[..], &json].concat())
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Manifest and files as one stream of bytes; opens one file at a time, and gives just as many
/// bytes of each as the manifest says.
pub(super) struct Content<'a> {
    current: Box<dyn Read>,
    rest: std::vec::IntoIter<(&'a Part, u64)>,
}

impl<'a> Content<'a> {
    pub(super) fn new(manifest: &Manifest, files: &'a [(String, Part)]) -> io::Result<Self> {
        let current = Box::new(io::Cursor::new(manifest.front()?));
        let lengths = manifest.files.iter().map(|entry| entry.bytes);
        let rest: Vec<_> = files.iter().map(|(_, part)| part).zip(lengths).collect();
        Ok(Self { current, rest: rest.into_iter() })
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.current.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some((part, bytes)) = self.rest.next() else { return Ok(0) };
            self.current = Box::new(part.open()?.take(bytes));
        }
    }
}

/// Takes manifest and files apart again, holding each file against its hash; writes them below a
/// directory, or nowhere.
pub(super) struct Extractor<'a> {
    directory: Option<&'a Path>,
    is_allowed: fn(&str) -> bool,
    front: Vec<u8>,
    manifest: Option<Manifest>,
    next: usize,
    current: Option<Current>,
}

struct Current {
    file: Option<File>,
    hasher: Sha256,
    remaining: u64,
}

impl<'a> Extractor<'a> {
    /// `is_allowed` says which places a file of this kind may name.
    pub(super) fn new(directory: Option<&'a Path>, is_allowed: fn(&str) -> bool) -> Self {
        let (front, manifest, current) = (Vec::new(), None, None);
        Self { directory, is_allowed, front, manifest, next: 0, current }
    }

    /// The manifest, once everything that it names has come.
    pub(super) fn finish(self) -> Option<Manifest> {
        let manifest = self.manifest?;
        (self.current.is_none() && self.next == manifest.files.len()).then_some(manifest)
    }

    /// Takes bytes of the manifest; returns how many.
    fn take_front(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let wanted = match self.front.first_chunk::<4>() {
            None => 4,
            Some(length) => {
                let length = u32::from_be_bytes(*length);
                if length > MANIFEST_BYTES_MAX {
                    return Err(strange());
                }
                4 + length as usize
            }
        };
        let count = bytes.len().min(wanted - self.front.len());
        self.front.extend_from_slice(&bytes[..count]);
        if self.front.len() == wanted && wanted > 4 {
            let manifest: Manifest =
                serde_json::from_slice(&self.front[4..]).map_err(|_| strange())?;
            if !manifest.files.iter().all(|entry| is_plain(&entry.path)) {
                return Err(strange());
            }
            if !manifest.files.iter().all(|entry| (self.is_allowed)(&entry.path)) {
                return Err(strange());
            }
            self.manifest = Some(manifest);
            self.begin()?;
        }
        Ok(count)
    }

    /// Begins the next file; files without a byte are done at once.
    fn begin(&mut self) -> io::Result<()> {
        while let Some(entry) = self.manifest.as_ref().and_then(|m| m.files.get(self.next)) {
            let file = match self.directory {
                Some(directory) => Some(create_below(directory, &entry.path)?),
                None => None,
            };
            let current = Current { file, hasher: Sha256::new(), remaining: entry.bytes };
            if entry.bytes > 0 {
                self.current = Some(current);
                return Ok(());
            }
            self.end(current)?;
        }
        Ok(())
    }

    fn end(&mut self, current: Current) -> io::Result<()> {
        let entry = self.manifest.as_ref().and_then(|manifest| manifest.files.get(self.next));
        let sum = hex::encode(current.hasher.finalize());
        if entry.is_none_or(|entry| entry.sha256 != sum) {
            return Err(strange());
        }
        if let Some(file) = current.file {
            file.sync_all()?;
        }
        self.next += 1;
        Ok(())
    }

    fn take_file(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(mut current) = self.current.take() else { return Err(strange()) };
        let count = bytes.len().min(usize::try_from(current.remaining).unwrap_or(usize::MAX));
        let part = &bytes[..count];
        current.hasher.update(part);
        if let Some(file) = &mut current.file {
            file.write_all(part)?;
        }
        current.remaining -= count as u64;
        if current.remaining > 0 {
            self.current = Some(current);
        } else {
            self.end(current)?;
            self.begin()?;
        }
        Ok(count)
    }
}

impl Write for Extractor<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if self.manifest.is_none() { self.take_front(bytes) } else { self.take_file(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn strange() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the content of the backup is not as it should be")
}

/// Whether a path is relative and made of plain names alone.
fn is_plain(path: &str) -> bool {
    let is_normal = |part: Component<'_>| matches!(part, Component::Normal(_));
    !path.is_empty() && !path.contains('\0') && Path::new(path).components().all(is_normal)
}

fn create_below(directory: &Path, path: &str) -> io::Result<File> {
    let path = directory.join(path);
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["", "/etc/passwd", "../x", "a/../../b", ".", "./a", "a\0b"] {
            assert!(!is_plain(path), "{path}");
        }
        assert!(is_plain("keys/people/usr_1.1.key"));
    }
}
