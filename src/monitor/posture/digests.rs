//! Digests of model files, which are large: a file that nobody touched is read once.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::models::FileIdentity;

/// Files that are remembered; with more, the list is begun anew.
const FILES_MAX: usize = 1_024;

/// Digests that were made in this process.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    known: Mutex<HashMap<Vec<FileIdentity>, String>>,
}

impl Digests {
    /// The SHA-256 of a model's file, or of all its parts one after the other, in hexadecimal
    /// digits. Blocks for as long as it takes to read them, where it is not known.
    pub(super) fn of(&self, parts: &[PathBuf]) -> io::Result<String> {
        let mut files = parts.iter().map(fs::File::open).collect::<io::Result<Vec<_>>>()?;
        let before = identities(&files)?;
        if let Some(known) = self.known.lock().get(&before) {
            return Ok(known.clone());
        }
        let (mut sha, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
        for file in &mut files {
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    count => sha.update(&buffer[..count]),
                }
            }
        }
        let digest = hex::encode(sha.finalize());
        // One that was written meanwhile is not remembered.
        if identities(&files)? == before {
            let mut known = self.known.lock();
            if known.len() >= FILES_MAX {
                known.clear();
            }
            known.insert(before, digest.clone());
        }
        Ok(digest)
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.known.lock().len()
    }
}

fn identities(files: &[fs::File]) -> io::Result<Vec<FileIdentity>> {
    files.iter().map(|file| file.metadata().map(|found| FileIdentity::of(&found))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_was_touched_or_replaced_and_not_otherwise() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("model.gguf");
        let digests = Digests::default();
        let of = |path: &PathBuf| digests.of(std::slice::from_ref(path));
        fs::write(&path, "one").expect("written");
        let first = of(&path).expect("read");
        assert_eq!(first, hex::encode(Sha256::digest("one")));
        assert_eq!((of(&path).expect("known"), digests.count()), (first.clone(), 1));
        // As long as before, and with the same time of writing.
        let times = fs::File::open(&path).expect("open").metadata().expect("times");
        let other = directory.path().join("other");
        fs::write(&other, "two").expect("written");
        let file = fs::File::options().write(true).open(&other).expect("open");
        file.set_modified(times.modified().expect("a time")).expect("set");
        fs::rename(&other, &path).expect("replaced");
        assert_ne!(of(&path).expect("read"), first);
        assert_eq!(digests.count(), 2);
        // Of parts it is that of all bytes.
        let both = digests.of(&[path.clone(), path]).expect("read");
        assert_eq!(both, hex::encode(Sha256::digest("twotwo")));
    }
}
