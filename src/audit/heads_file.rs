//! `heads.log`: every signed head on a line of its own, outside the database, so that a database
//! that was cut short or set back is found out.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Head;

/// The file, below the audit directory.
pub(super) const HEADS_FILE: &str = "heads.log";
/// How long a line may be in the file before it is forced to the disk. A power cut can cost the
/// newest lines; the database has those heads, and the next start adds the last of them again.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of a line; longer ones are no heads.
const LINE_BYTES_MAX: u64 = 512;

/// The file, open for appending.
pub(super) struct HeadsFile {
    file: File,
    /// Where the last whole line ends.
    length: u64,
    newest: Option<Head>,
    /// Whether there was no file before it was opened.
    is_new: bool,
    synced: Instant,
}

impl HeadsFile {
    pub(super) fn path(directory: &Path) -> PathBuf {
        directory.join(HEADS_FILE)
    }

    /// Opens the file, or makes it, and cuts off what a crash left of a last line.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let path = Self::path(directory);
        let is_new = !path.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        let (mut length, mut newest) = (0, None);
        for line in Lines::over(&path)? {
            let (end, head) = line?;
            length = end;
            newest = head.or(newest);
        }
        file.set_len(length)?;
        if is_new {
            // That it is missing later on is then no crash of ours.
            File::open(directory)?.sync_all()?;
        }
        Ok(Self { file, length, newest, is_new, synced: Instant::now() })
    }

    /// Whether there was no file before it was opened.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// The newest head in the file.
    pub(super) fn newest(&self) -> Option<&Head> {
        self.newest.as_ref()
    }

    /// Appends a head.
    pub(super) fn append(&mut self, head: &Head) -> io::Result<()> {
        // Written before, and not known to be on the disk.
        if self.newest.as_ref() == Some(head) {
            return self.sync();
        }
        let line = head.line();
        // A write that failed half-way is overwritten by the next.
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(line.as_bytes())?;
        self.length += line.len() as u64;
        self.newest = Some(head.clone());
        if self.synced.elapsed() >= SYNC_INTERVAL {
            self.sync()?;
        }
        Ok(())
    }

    /// Forces the file to the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.synced = Instant::now();
        Ok(())
    }
}

/// The whole lines of a file: where each ends, and the head in it if it is one.
pub(super) struct Lines {
    reader: BufReader<File>,
    end: u64,
}

impl Lines {
    pub(super) fn over(path: &Path) -> io::Result<Self> {
        Ok(Self { reader: BufReader::new(File::open(path)?), end: 0 })
    }
}

impl Iterator for Lines {
    type Item = io::Result<(u64, Option<Head>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        let read = io::Read::take(&mut self.reader, LINE_BYTES_MAX).read_until(b'\n', &mut line);
        match read {
            Err(error) => Some(Err(error)),
            Ok(0) => None,
            // The rest of a line that was cut off, or a piece of one that is too long.
            Ok(count) if line.last() != Some(&b'\n') && (count as u64) < LINE_BYTES_MAX => None,
            Ok(count) => {
                self.end += count as u64;
                let head = std::str::from_utf8(&line)
                    .ok()
                    .and_then(|line| Head::parse(line.trim_end_matches('\n')));
                Some(Ok((self.end, head)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::audit::tree::Tree;
    use crate::clock::Timestamp;

    #[test]
    fn a_line_that_a_crash_cut_off_is_removed_at_the_next_start() {
        let directory = tempfile::tempdir().expect("directory");
        let key = SigningKey::from_bytes(&[9; 32]);
        let mut tree = Tree::default();
        tree.push([1; 32]);
        let first = Head::sign(&tree, Timestamp::from_ms(1), &key);
        tree.push([2; 32]);
        let second = Head::sign(&tree, Timestamp::from_ms(2), &key);
        HeadsFile::open(directory.path()).expect("open").append(&first).expect("appended");
        let path = HeadsFile::path(directory.path());
        let torn = format!("{}{}", first.line(), &second.line()[..40]);
        std::fs::write(&path, torn).expect("written");
        let mut log = HeadsFile::open(directory.path()).expect("open");
        assert_eq!(log.newest(), Some(&first));
        log.append(&second).expect("appended");
        // Once more, as after a sync that failed: it is written, and not a second time.
        log.append(&second).expect("appended");
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(text, first.line() + &second.line());
    }
}
