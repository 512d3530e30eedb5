//! A file for a while. It loses its name before anything is written: however the program ends, nothing is
//! left behind.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file without a name.
#[derive(Debug)]
pub struct Nameless {
    file: File,
    directory: PathBuf,
    is_memory: bool,
}

/// What a directory offers.
#[derive(Clone, Copy, Debug)]
struct Place {
    free_bytes: u64,
    /// Whether what lies there takes memory, and not a disk.
    is_memory: bool,
}

impl Nameless {
    /// Makes one that is to hold so many bytes, in `directory`. Where none is named it lies in the first
    /// usual place on a disk that has room: where the system keeps temporary files, where it keeps those
    /// for longer, or in the directory at hand; where none is on a disk, in the first.
    pub fn new(bytes: u64, directory: Option<&Path>) -> io::Result<Self> {
        let directories = match directory {
            Some(directory) => vec![directory.to_owned()],
            None => vec![std::env::temp_dir(), "/var/tmp".into(), ".".into()],
        };
        Self::in_one_of(directories, bytes, Place::of)
    }

    fn in_one_of(
        directories: Vec<PathBuf>,
        bytes: u64,
        place_of: impl Fn(&Path) -> io::Result<Place>,
    ) -> io::Result<Self> {
        let mut first = None;
        // Disks before memory; the order stays otherwise.
        for wants_memory in [false, true] {
            for directory in &directories {
                let made = place_of(directory).and_then(|place| match place {
                    Place { is_memory, .. } if is_memory != wants_memory => Ok(None),
                    Place { free_bytes, .. } if free_bytes < bytes => {
                        Err(no_room(directory, free_bytes, bytes))
                    }
                    Place { is_memory, .. } => Self::make(directory, is_memory).map(Some),
                });
                match made {
                    Ok(Some(made)) => return Ok(made),
                    Ok(None) => {}
                    Err(error) => first = first.or(Some(error)),
                }
            }
        }
        Err(first.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    fn make(directory: &Path, is_memory: bool) -> io::Result<Self> {
        let number = getrandom::u64().map_err(io::Error::other)?;
        let path = directory.join(format!("strongroom-{number:016x}"));
        let file =
            File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        fs::remove_file(&path)?;
        Ok(Self { file, directory: directory.to_owned(), is_memory })
    }

    /// To write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether it takes memory as long as it is there.
    pub fn is_memory(&self) -> bool {
        self.is_memory
    }

    /// Where this process opens it again, as long as this value lives.
    pub fn path(&self) -> PathBuf {
        format!("/dev/fd/{}", self.file.as_raw_fd()).into()
    }
}

impl Place {
    fn of(directory: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(directory)?;
        let free_bytes = found.f_bavail.saturating_mul(found.f_frsize);
        Ok(Self { free_bytes, is_memory: is_memory(directory)? })
    }
}

/// Whether the file system of a directory keeps everything in memory.
#[cfg(target_os = "linux")]
fn is_memory(directory: &Path) -> io::Result<bool> {
    /// `TMPFS_MAGIC` and `RAMFS_MAGIC` of linux/magic.h.
    const KINDS: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    let kind = rustix::fs::statfs(directory)?.f_type as u64;
    Ok(KINDS.contains(&(kind & 0xffff_ffff)))
}

#[cfg(not(target_os = "linux"))]
fn is_memory(_: &Path) -> io::Result<bool> {
    Ok(false)
}

fn no_room(directory: &Path, free_bytes: u64, bytes: u64) -> io::Error {
    let (free, needed) = (free_bytes >> 20, bytes.div_ceil(1 << 20));
    let text = format!(
        "{} has {free} MiB free, and {needed} are needed: name another directory with --dir",
        directory.display()
    );
    io::Error::new(io::ErrorKind::StorageFull, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn it_is_read_from_its_beginning_and_stands_in_no_folder() {
        let mut written = Nameless::new(10, None).expect("a file");
        written.file.write_all(b"some bytes").expect("writes");
        assert_eq!(fs::read(written.path()).expect("reads"), b"some bytes");
        let target = fs::read_link(written.path()).expect("a link");
        assert!(!target.exists(), "{}", target.display());
    }

    #[test]
    fn it_lies_on_a_disk_that_has_room_and_in_memory_where_there_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = ["memory", "full", "disk"].map(|name| folder.path().join(name));
        for name in &names {
            fs::create_dir(name).expect("made");
        }
        let place_of = |directory: &Path| {
            let (is_memory, is_full) = (directory.ends_with("memory"), directory.ends_with("full"));
            Ok(Place { free_bytes: if is_full { 9 } else { 1_000 }, is_memory })
        };
        let made = |names: &[PathBuf], bytes| Nameless::in_one_of(names.to_vec(), bytes, place_of);
        let on_disk = made(&names, 10).expect("made");
        assert!(on_disk.directory().ends_with("disk") && !on_disk.is_memory());
        let in_memory = made(&names[..2], 10).expect("made");
        assert!(in_memory.directory().ends_with("memory") && in_memory.is_memory());
        let refused = made(&names, 1_001).expect_err("no room");
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert!(refused.to_string().contains("--dir"), "{refused}");
        let missing = Nameless::new(10, Some(&folder.path().join("missing")));
        assert_eq!(missing.expect_err("nowhere").kind(), io::ErrorKind::NotFound);
        assert!(Nameless::new(u64::MAX, Some(folder.path())).is_err(), "no disk has that");
    }
}
