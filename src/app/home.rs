//! The data directory: made, locked, its vault loaded.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::backup;
use crate::clock::Clock;
use crate::config::{KeySourceKind, Settings};
use crate::db::lock::DataLock;
use crate::secret::SecretText;
use crate::vault::{KeySource, SourceKind, Vault};

/// An open data directory. It stays this process's own as long as a clone of it lives.
#[derive(Clone)]
pub(crate) struct Home {
    data: PathBuf,
    _lock: Arc<DataLock>,
    pub(crate) vault: Vault,
    pub(crate) clock: Clock,
}

impl Home {
    /// Opens the directory of the configuration; makes it, and its root key, at the first start.
    pub(crate) fn open_or_create(settings: &Settings) -> Result<Self> {
        Self::open_with(settings, ask_new_passphrase)
    }

    /// Opens the directory of the configuration, which must hold a vault.
    pub(crate) fn open_existing(settings: &Settings) -> Result<Self> {
        let data = &settings.server.data_dir;
        if !Vault::exists(&data.join("keys")) {
            bail!(
                "{} holds no data of a server: name the right directory with --data-dir",
                data.display()
            );
        }
        Self::open_or_create(settings)
    }

    /// The same, with another way to come by the passphrase of a new vault.
    pub(crate) fn open_with(
        settings: &Settings,
        new_passphrase: impl FnOnce() -> Result<SecretText>,
    ) -> Result<Self> {
        let data = settings.server.data_dir.clone();
        if let Some(aside) = backup::cut_off(&data) {
            bail!(
                "{0} is not there, but {1} is: a restore was cut off. Run it again, or put the old data back: mv {1} {0}",
                data.display(),
                aside.display()
            );
        }
        make_private(&data)?;
        let clock = Clock::system();
        let lock = DataLock::acquire(&data, clock.now())?;
        let keys = data.join("keys");
        let vault = if Vault::exists(&keys) {
            Vault::load(&keys)?
        } else if data.join("strongroom.db").exists() {
            bail!(
                "{} holds a database but no root key. Put the keys back, or restore a backup: without the root key nothing in it can be read",
                data.display()
            );
        } else {
            let source = match settings.vault.key_source {
                KeySourceKind::File => KeySource::File,
                KeySourceKind::Passphrase => KeySource::Passphrase(new_passphrase()?),
            };
            Vault::create(&keys, &source)?
        };
        Ok(Self { data, _lock: Arc::new(lock), vault, clock })
    }

    /// The same home by another clock.
    #[cfg(test)]
    pub(crate) fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// The database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.data.join("strongroom.db")
    }

    /// Where the audit log's files lie.
    pub(crate) fn audit_directory(&self) -> PathBuf {
        self.data.join("audit")
    }

    /// The directory and how its root key is kept, for people.
    pub(crate) fn describe(&self) -> String {
        let how = match self.vault.source() {
            Ok(SourceKind::File) => "key: file — run `strongroom key move` for a passphrase",
            Ok(SourceKind::Passphrase) => "key: passphrase",
            Err(_) => "key: unknown",
        };
        format!("{}   ({how})", self.data.display())
    }

    /// Refuses a vault whose root key lies in the clear where a passphrase is asked for: the
    /// setting counts when a vault is made, and must not be thought to be in force.
    pub(crate) fn require_passphrase(&self) -> Result<()> {
        if self.vault.source()? == SourceKind::File {
            bail!(
                "the root key of {} lies in a file, in the clear, though a passphrase is asked for. Run `strongroom key move` first",
                self.data.display()
            );
        }
        Ok(())
    }
}

/// Makes the directory with mode 0700; refuses one that others can look into.
fn make_private(data: &Path) -> Result<()> {
    let cannot = || format!("the data directory {} cannot be used", data.display());
    match fs::metadata(data) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(data).with_context(cannot)
        }
        Err(error) => Err(error).with_context(cannot),
        Ok(found) if !found.is_dir() => bail!("{} is not a directory", data.display()),
        Ok(found) if found.mode() & 0o077 != 0 => bail!(
            "{} can be opened by others (mode {:o}). Run: chmod 700 {}",
            data.display(),
            found.mode() & 0o777,
            data.display()
        ),
        Ok(_) => Ok(()),
    }
}

/// Asks twice at the console.
pub(crate) fn ask_new_passphrase() -> Result<SecretText> {
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt).map(SecretText::new).context(
            "a passphrase is needed, and there is no console to ask at; give --passphrase-file",
        )
    };
    let (first, second) = (ask("New passphrase: ")?, ask("Once more: ")?);
    if first.expose() != second.expose() {
        bail!("the two are not the same; nothing was changed");
    }
    Ok(first)
}
