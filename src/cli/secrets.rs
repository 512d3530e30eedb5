//! Secrets on their way in and out: from files, pipes and the console, in buffers that are wiped.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use zeroize::Zeroizing;

use super::options::warn;
use crate::app::{Home, ask_new_passphrase};
use crate::config::Settings;
use crate::secret::SecretText;

/// Bytes of a secret in a file or a pipe.
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// Reads a secret from a file, without the line's end. Warns where others can read the file.
pub(super) fn secret_from_file(path: &Path) -> Result<SecretText> {
    let cannot = || format!("{} cannot be read", path.display());
    let file = File::open(path).with_context(cannot)?;
    let found = file.metadata().with_context(cannot)?;
    if found.is_file() && found.mode() & 0o077 != 0 {
        warn(&format!(
            "{0} can be read by others than its owner. Run: chmod 600 {0}",
            path.display()
        ));
    }
    let bytes = read_bounded(file, |_| false).with_context(cannot)?;
    secret(&bytes).with_context(|| format!("{} is not a text", path.display()))
}

/// Asks for a secret at the console, or reads a line where there is none.
pub(super) fn ask_secret(prompt: &str) -> Result<SecretText> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(SecretText::new(rpassword::prompt_password(prompt)?));
    }
    // Past the standard library's buffer, which nobody wipes and which takes more than a line.
    let pipe = File::from(stdin.as_fd().try_clone_to_owned()?);
    secret(&read_bounded(pipe, |byte| byte == b'\n')?)
}

/// Asks for a new secret: twice at the console, once in a pipe.
pub(super) fn ask_new_secret() -> Result<SecretText> {
    if std::io::stdin().is_terminal() { ask_new_passphrase() } else { ask_secret("") }
}

/// The secret in a file, or what is asked for without one.
pub(super) fn secret_or(
    file: Option<&PathBuf>,
    ask: impl FnOnce() -> Result<SecretText>,
) -> Result<SecretText> {
    file.map_or_else(ask, |path| secret_from_file(path))
}

/// Opens the data directory for a command that works on what is there: makes none, and asks for
/// the passphrase where the vault is sealed. Gives the passphrase back where one was needed.
pub(super) fn open_home(
    settings: &Settings,
    passphrase_file: Option<&PathBuf>,
) -> Result<(Home, Option<SecretText>)> {
    let home = Home::open_existing(settings)?;
    if home.vault.is_open() {
        ensure!(
            passphrase_file.is_none(),
            "the root key lies in a file, in the clear: no passphrase opens it"
        );
        return Ok((home, None));
    }
    let passphrase = secret_or(passphrase_file, || ask_secret("Passphrase: "))?;
    home.vault.unseal(&passphrase)?;
    Ok((home, Some(passphrase)))
}

/// Makes a new file of mode 0600.
pub(super) fn create_private(path: &Path) -> Result<File> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} cannot be made", path.display()))
}

/// Makes a secret and writes it to a new file of mode 0600. The file comes first: where there can be none,
/// no secret is made that nobody would ever read.
pub(super) fn write_made<T>(
    path: &Path,
    make: impl FnOnce() -> Result<(T, SecretText)>,
) -> Result<T> {
    let mut file = create_private(path)?;
    let written = || {
        let (made, secret) = make()?;
        file.write_all(secret.expose().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        Ok(made)
    };
    written().inspect_err(|_| {
        // It is ours, and holds nothing that anybody could use.
        let _ = std::fs::remove_file(path);
    })
}

/// Reads to the end, or to a byte that ends it, into one buffer that never moves.
fn read_bounded(mut from: impl Read, ends: impl Fn(u8) -> bool) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX));
    let mut byte = Zeroizing::new([0]);
    while from.read(byte.as_mut_slice())? > 0 && !ends(byte[0]) {
        ensure!(bytes.len() < SECRET_BYTES_MAX, "a secret has at most {SECRET_BYTES_MAX} bytes");
        bytes.push(byte[0]);
    }
    Ok(bytes)
}

/// A text without its line's end.
fn secret(bytes: &[u8]) -> Result<SecretText> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(SecretText::new(text.trim_end_matches(['\n', '\r']).to_owned())),
        Err(_) => bail!("a secret is a text in UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_what_stands_before_the_end_of_its_line() {
        for (bytes, text) in
            [(&b"words\n"[..], "words"), (b"words\r\n", "words"), (b"a\nb", "a\nb")]
        {
            let read = read_bounded(bytes, |_| false).expect("read");
            assert_eq!(secret(&read).expect("a text").expose(), text);
        }
        let line = read_bounded(&b"first\nsecond"[..], |byte| byte == b'\n').expect("read");
        assert_eq!(secret(&line).expect("a text").expose(), "first");
        assert!(read_bounded(&vec![b'x'; SECRET_BYTES_MAX + 1][..], |_| false).is_err());
        assert!(secret(&[0xff, 0xfe]).is_err());
    }

    #[test]
    fn what_is_written_is_its_owners_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        let words = || Ok(((), SecretText::new("words".into())));
        write_made(&path, words).expect("written");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let made = write_made::<()>(&path, || unreachable!("never over another"));
        assert!(made.is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "words\n");
        let path = directory.path().join("none");
        assert!(write_made::<()>(&path, || bail!("it cannot be made")).is_err());
        assert!(!path.exists());
    }
}
