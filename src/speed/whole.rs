//! A file that appears whole or not at all, and never in the place of another.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Has a new file written: beside its place first, under which it then appears. After an error nothing
/// of it is left; where there is a file of that name, that one stays as it is.
pub fn write_new(path: &Path, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let is_taken = || fs::symlink_metadata(path).is_ok();
    if is_taken() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let number = getrandom::u64().map_err(io::Error::other)?;
    let partial = path.with_added_extension(format!("{number:016x}.partial"));
    let outcome = (|| {
        write(&File::create_new(&partial)?)?;
        match renameat_with(CWD, &partial, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(error) if is_taken() => Err(error.into()),
            // A file system that cannot do both in one step.
            Err(_) => fs::rename(&partial, path),
        }
    })();
    if outcome.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&partial);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("made.gguf");
        let failed = write_new(&path, |mut file| {
            file.write_all(b"half of it")?;
            assert!(!path.exists(), "nobody takes it for the whole");
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.expect_err("full").kind(), io::ErrorKind::StorageFull);
        assert_eq!(names(folder.path()), Vec::<String>::new());
        write_new(&path, |mut file| file.write_all(b"all of it")).expect("written");
        assert_eq!(names(folder.path()), ["made.gguf"]);
        assert_eq!(fs::read(&path).expect("it is there"), b"all of it");
    }

    #[test]
    fn no_other_file_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("made.gguf");
        let taken = write_new(&path, |mut file| {
            // Somebody else is faster.
            fs::write(&path, "theirs")?;
            file.write_all(b"ours")
        });
        assert_eq!(taken.expect_err("taken").kind(), io::ErrorKind::AlreadyExists);
        let again = write_new(&path, |_| panic!("it is not begun"));
        assert_eq!(again.expect_err("taken").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(folder.path()), ["made.gguf"]);
        assert_eq!(fs::read(&path).expect("it is there"), b"theirs");
        let nowhere = folder.path().join("no folder/made.gguf");
        assert!(write_new(&nowhere, |_| Ok(())).is_err());
    }
}
