//! What a person has typed, for the arrow keys: a file of mode 0600 among what is kept for them. It
//! holds their words in clear, so it can be switched off, and nothing but this command reads it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::clean;

/// The lines of a person.
#[derive(Debug)]
pub(super) struct History {
    /// None: nothing is kept.
    path: Option<PathBuf>,
}

impl History {
    /// What is kept in this file; without one, nothing is.
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    /// What has been kept, the oldest first; of a long file the end. Takes the file back from others, should it have been
    /// opened to them.
    pub(super) fn load(&self) -> io::Result<Vec<String>> {
        let Some(path) = &self.path else { return Ok(Vec::new()) };
        let mut file = match open(path, File::options().read(true).write(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result?,
        };
        let length = file.metadata()?.len();
        let skipped = length.saturating_sub(FILE_BYTES_MAX);
        file.seek(SeekFrom::Start(skipped))?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        // Where something is left out, what comes first is the end of a line.
        let lines = text.lines().skip(usize::from(skipped > 0));
        let lines = lines.map(|line| clean::text(&unfold(line))).filter(|line| !line.is_empty());
        let lines: Vec<String> = lines.collect();
        let kept = lines[lines.len().saturating_sub(LINES_MAX)..].to_vec();
        if skipped > 0 {
            self.write_anew(&kept[kept.len() / 2..])?;
        }
        Ok(kept)
    }

    /// Keeps a line. One that begins with a blank is not kept, as in a shell, nor a very long one.
    pub(super) fn add(&self, line: &str) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if line.starts_with(' ') || line.trim().is_empty() || line.len() > LINE_BYTES_MAX {
            return Ok(());
        }
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let mut file = open(path, File::options().append(true).create(true))?;
        // Who looks at the file with `cat` has a terminal too.
        file.write_all(format!("{}\n", fold(&clean::text(line))).as_bytes())
    }

    fn write_anew(&self, lines: &[String]) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut file = open(path, File::options().write(true).truncate(true))?;
        for line in lines {
            writeln!(file, "{}", fold(line))?;
        }
        Ok(())
    }
}

/// Opens the file, never what a link leads to, and sees to its mode.
fn open(path: &Path, options: &mut fs::OpenOptions) -> io::Result<File> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = options.mode(0o600).custom_flags(no_follow).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if found.mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// One line for a text of several.
fn fold(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "")
}

fn unfold(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => text.push('\n'),
                Some(other) => text.push(other),
                None => {}
            },
            c => text.push(c),
        }
    }
    text
}

/// Lines that are offered.
pub(super) const LINES_MAX: usize = 1_000;
const LINE_BYTES_MAX: usize = 16 << 10;
const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a directory"))
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("state/strongroom/chat_history")
        }

        fn history(&self) -> History {
            History::new(Some(self.path()))
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn lines_are_kept_for_their_owner_alone() {
        let place = Place::new();
        let history = place.history();
        assert_eq!(history.load().expect("read"), Vec::<String>::new());
        for line in ["one", "two\nlines \\n", "/model guide", " not this", "", "one"] {
            history.add(line).expect("kept");
        }
        let kept = ["one", "two\nlines \\n", "/model guide", "one"];
        assert_eq!(history.load().expect("read"), kept);
        assert_eq!(mode(&place.path()), 0o600);
        assert_eq!(mode(place.path().parent().expect("a directory")), 0o700);
    }

    #[test]
    fn a_file_that_was_opened_to_others_is_closed_again() {
        let place = Place::new();
        place.history().add("one").expect("kept");
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o644)).expect("set");
        place.history().load().expect("read");
        assert_eq!(mode(&place.path()), 0o600);
    }

    #[test]
    fn a_link_is_not_followed() {
        let place = Place::new();
        place.history().add("one").expect("kept");
        let target = place.0.path().join("target");
        fs::rename(place.path(), &target).expect("moved");
        std::os::unix::fs::symlink(&target, place.path()).expect("linked");
        assert!(place.history().add("two").is_err() && place.history().load().is_err());
        assert_eq!(fs::read_to_string(target).expect("read"), "one\n");
    }

    #[test]
    fn it_can_be_off_and_it_has_an_end() {
        let off = History::new(None);
        off.add("one").expect("nothing to do");
        assert!(off.load().expect("nothing to do").is_empty());
        let place = Place::new();
        for _ in 0..150 {
            place.history().add(&"x".repeat(LINE_BYTES_MAX)).expect("kept");
        }
        place.history().add(&"y".repeat(LINE_BYTES_MAX + 1)).expect("left out");
        place.history().add("the last").expect("kept");
        let lines = place.history().load().expect("read");
        assert_eq!(lines.last().map(String::as_str), Some("the last"));
        assert_eq!(place.history().load().expect("read").last(), lines.last());
        let length = fs::metadata(place.path()).expect("there").len();
        assert!(length < FILE_BYTES_MAX, "{length}");
    }

    #[test]
    fn a_line_of_the_file_cannot_steer_the_terminal() {
        let place = Place::new();
        place.history().add("one").expect("kept");
        fs::write(place.path(), b"a\x1b[2Jb\n\xff\n").expect("written");
        let lines = place.history().load().expect("read");
        assert!(lines.iter().all(|line| !line.contains('\x1b')), "{lines:?}");
        place.history().add("pasted \x1b]0;t\x07 \u{9b}2J").expect("kept");
        let bytes = fs::read(place.path()).expect("read");
        assert!(bytes.ends_with("pasted ␛]0;t␇ \u{fffd}2J\n".as_bytes()), "{bytes:?}");
    }
}
