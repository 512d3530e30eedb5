//! A file for a while. It loses its name before anything is written: however the program ends, nothing is
//! left behind.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// A file without a name.
#[derive(Debug)]
pub struct Nameless {
    file: File,
}

impl Nameless {
    /// Makes one where the system keeps temporary files.
    pub fn new() -> io::Result<Self> {
        let number = getrandom::u64().map_err(io::Error::other)?;
        let path = std::env::temp_dir().join(format!("strongroom-{number:016x}"));
        let file =
            File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        fs::remove_file(&path)?;
        Ok(Self { file })
    }

    /// To write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where this process opens it again, as long as this value lives.
    pub fn path(&self) -> PathBuf {
        format!("/dev/fd/{}", self.file.as_raw_fd()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn it_is_read_from_its_beginning_and_stands_in_no_folder() {
        let mut written = Nameless::new().expect("a file");
        written.file.write_all(b"some bytes").expect("writes");
        assert_eq!(fs::read(written.path()).expect("reads"), b"some bytes");
        let target = fs::read_link(written.path()).expect("a link");
        assert!(!target.exists(), "{}", target.display());
    }
}
