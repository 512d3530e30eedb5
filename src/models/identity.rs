//! Whether a file is still the one that it was, without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// What changes when a file is written, moved, replaced or restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Set by the system alone, so that a file whose other times were put back is another one too.
    changed: (i64, i64),
}

impl FileIdentity {
    /// That of a file with these properties.
    pub(crate) fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, FileTimes};

    use super::*;

    #[test]
    fn a_file_that_is_written_in_place_is_another_one_though_its_time_is_put_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.gguf");
        fs::write(&path, "one").expect("writes");
        let before = fs::metadata(&path).expect("is there");
        assert_eq!(
            FileIdentity::of(&before),
            FileIdentity::of(&fs::metadata(&path).expect("is there"))
        );
        // The system's clock for files goes in steps.
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&path, "two").expect("writes");
        let times = FileTimes::new().set_modified(before.modified().expect("a time"));
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_times(times))
            .expect("set");
        let after = fs::metadata(&path).expect("is there");
        assert_eq!(after.modified().expect("a time"), before.modified().expect("a time"));
        assert_ne!(FileIdentity::of(&after), FileIdentity::of(&before));
    }
}
