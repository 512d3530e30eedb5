//! Where the API key comes from: a file that is its owner's alone, a pipe, the kernel's keyring, or
//! the person. Never from an argument or a variable, which others can see.

use std::fs::{File, Metadata};
use std::io::{IsTerminal, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use zeroize::Zeroizing;

use super::{clean, keyring};
use crate::access::token::{TokenKind, is_well_formed};
use crate::cli::secrets::ask_secret;
use crate::config;
use crate::secret::SecretText;

/// A key, and where it was found.
pub(super) struct Key {
    pub(super) secret: SecretText,
    /// In words, for errors: never the key.
    pub(super) origin: String,
}

/// Finds the key for a server: the file that is named, the keyring, the person's own file, or
/// whoever sits at the terminal.
pub(super) fn find(file: Option<&Path>, server: &str) -> Result<Key> {
    if let Some(path) = file {
        return from_file(path);
    }
    if let Some(secret) = keyring::find(server) {
        return checked(&secret, "the kernel's keyring".to_owned());
    }
    let own = config::settings_directory().map(|directory| directory.join(OWN_FILE));
    if let Some(path) = own.as_ref().filter(|path| path.exists()) {
        return from_file(path);
    }
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        let secret = ask_secret("API key: ")?;
        return checked(secret.expose(), "the terminal".to_owned());
    }
    bail!(no_key(own.as_ref()))
}

/// A key that is to be kept: from the file that is named, or from whoever sits at the terminal.
pub(super) fn anew(file: Option<&Path>) -> Result<Key> {
    match file {
        Some(path) => from_file(path),
        None => checked(ask_secret("API key: ")?.expose(), "the terminal".to_owned()),
    }
}

fn no_key(own: Option<&PathBuf>) -> String {
    let own = own.map_or(String::new(), |path| {
        format!(", put it into {} (mode 0600)", clean::line(&path.display().to_string()))
    });
    format!(
        "there is no API key. Make one in the web app under Account → API keys; then name its file \
         with --key-file or STRONGROOM_KEY_FILE{own}, or run `strongroom chat --keep-key` once at a \
         terminal"
    )
}

/// Reads the key in a file. A file that others can read or write is refused, as `ssh` does: who could
/// read the key has it already.
fn from_file(path: &Path) -> Result<Key> {
    let name = clean::line(&path.display().to_string());
    let cannot = || format!("the key file {name} cannot be read");
    let file = File::open(path).with_context(cannot)?;
    check_file(&file.metadata().with_context(cannot)?, &name)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES_MAX + 1));
    file.take(KEY_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).with_context(cannot)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    checked(text, format!("the file {name}"))
}

fn check_file(found: &Metadata, name: &str) -> Result<()> {
    let kind = found.file_type();
    // `<(…)` and `/dev/fd/3`: who can read a pipe is settled by who holds it.
    if kind.is_fifo() || kind.is_char_device() {
        return Ok(());
    }
    ensure!(kind.is_file(), "the key file {name} is not a file");
    let me = rustix::process::geteuid().as_raw();
    ensure!(
        found.uid() == me || found.uid() == 0,
        "the key file {name} belongs to somebody else, who can change it. Copy the key to a file of \
         your own"
    );
    ensure!(
        found.mode().trailing_zeros() >= 6,
        "the key file {name} can be used by others than its owner. Run: chmod 600 {name}. If others \
         use this machine, make a new key and revoke this one"
    );
    Ok(())
}

fn checked(text: &str, origin: String) -> Result<Key> {
    let text = text.trim();
    ensure!(!text.is_empty(), "there is no key in {origin}: it is empty");
    // Whatever else was named by mistake is not sent anywhere.
    ensure!(
        is_well_formed(TokenKind::Key, text),
        "what stands in {origin} is not a whole API key of Strongroom: these begin with `sr-`. Copy \
         it again, or make a new one under Account → API keys"
    );
    Ok(Key { secret: SecretText::new(text.to_owned()), origin })
}

/// The name of a person's own key file among their settings.
const OWN_FILE: &str = "key";
const KEY_BYTES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::access::token::make;

    fn read(content: &str, mode: u32) -> Result<Key> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
        from_file(&path)
    }

    fn refusal(content: &str, mode: u32) -> String {
        read(content, mode).map(|_| ()).expect_err("refused").to_string()
    }

    #[test]
    fn a_key_file_is_its_owners_alone() {
        let key = make(TokenKind::Key).expect("made");
        for mode in [0o600, 0o400] {
            let read = read(&format!("{}\n", key.expose()), mode).expect("read");
            assert_eq!(read.secret.expose(), key.expose());
        }
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666] {
            let told = refusal(key.expose(), mode);
            assert!(told.contains("chmod 600"), "{mode:o}: {told}");
            assert!(!told.contains(key.expose()), "the key is told");
        }
    }

    #[test]
    fn what_is_no_key_is_not_taken_for_one_nor_told() {
        let key = make(TokenKind::Key).expect("made");
        let cut = &key.expose()[..20];
        for content in ["hunter2 is my password", cut, &format!("{0}\n{0}", key.expose())] {
            let told = refusal(content, 0o600);
            assert!(told.contains("not a whole API key") && !told.contains(content), "{told}");
        }
        assert!(refusal(" \n", 0o600).contains("empty"));
        assert!(refusal(&"x".repeat(9_000), 0o600).contains("not a whole"));
    }

    #[test]
    fn a_directory_is_no_key_file_and_its_name_is_told_without_sequences() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("\x1b[31mkey");
        fs::create_dir(&path).expect("made");
        let told = from_file(&path).map(|_| ()).expect_err("refused").to_string();
        assert!(told.contains("not a file") && !told.contains('\x1b'), "{told}");
        let told = from_file(&path.join("gone")).map(|_| ()).expect_err("refused").to_string();
        assert!(told.contains("cannot be read") && !told.contains('\x1b'), "{told}");
    }

    #[test]
    fn a_key_comes_through_a_pipe() {
        let key = make(TokenKind::Key).expect("made");
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        std::io::Write::write_all(&mut writer, key.expose().as_bytes()).expect("written");
        drop(writer);
        let number = std::os::fd::AsRawFd::as_raw_fd(&reader);
        let read = from_file(Path::new(&format!("/dev/fd/{number}"))).expect("read");
        assert_eq!(read.secret.expose(), key.expose());
    }
}
