//! The server's certificate: the organisation's own files, or one from our own authority, whose
//! key is sealed in the vault and which renews by itself.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clock::{Clock, Timestamp};
use crate::config::Settings;
use crate::secret::SecretText;
use crate::vault::{Aad, Purpose, Scope, Sealed, Vault};
use crate::web::tls::{self, Certificates, Issued};

const AUTHORITY_PLACE: Aad<'static> =
    Aad { table: "tls", column: "ca.key", row: "authority", owner: "" };

/// The files below `<data>/tls`.
#[derive(Clone)]
pub(crate) struct CertificateFiles {
    directory: PathBuf,
    own: Option<(PathBuf, PathBuf)>,
    hosts: Vec<String>,
    days: u16,
    organisation: String,
}

impl CertificateFiles {
    /// Where this configuration keeps its certificates.
    pub(crate) fn new(data: &Path, settings: &Settings) -> Self {
        let own = (!settings.tls.certificate_file.as_os_str().is_empty())
            .then(|| (settings.tls.certificate_file.clone(), settings.tls.key_file.clone()));
        Self {
            directory: data.join("tls"),
            own,
            hosts: settings.server.hosts.clone(),
            days: settings.tls.certificate_days,
            organisation: settings.server.organisation.clone(),
        }
    }

    /// Where our own authority's certificate lies, which clients are to trust; none where the
    /// organisation brings its own certificate.
    pub(crate) fn authority_path(&self) -> Option<PathBuf> {
        self.own.is_none().then(|| self.directory.join("ca.pem"))
    }

    /// The certificate as it lies on disk, for a server that is still sealed.
    pub(crate) fn load(&self) -> Result<Arc<Certificates>> {
        Ok(Arc::new(Certificates::new(&self.current()?)?))
    }

    /// The certificate, made or renewed first where that is due. Needs the vault open.
    pub(crate) fn prepare(&self, vault: &Vault, clock: &Clock) -> Result<Arc<Certificates>> {
        if self.own.is_none() && self.is_due(clock.now()) {
            self.renew(vault, clock.now()).context("the server's certificate could not be made")?;
        }
        self.load()
    }

    /// Renews where that is due, and lets open servers use the new one from now on.
    pub(crate) fn refresh(&self, vault: &Vault, clock: &Clock, used: &Certificates) -> Result<()> {
        if self.own.is_some() || self.is_due(clock.now()) {
            if self.own.is_none() {
                self.renew(vault, clock.now())?;
            }
            used.replace(&self.current()?)?;
        }
        Ok(())
    }

    fn current(&self) -> Result<Issued> {
        let (certificate, key) = match &self.own {
            Some((certificate, key)) => (certificate.clone(), key.clone()),
            None => (self.directory.join("server.pem"), self.directory.join("server.key")),
        };
        let read = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
        };
        Ok(Issued { certificate_pem: read(&certificate)?, key_pem: SecretText::new(read(&key)?) })
    }

    /// Whether there is none, it names other hosts, or two thirds of its time are over.
    fn is_due(&self, now: Timestamp) -> bool {
        let Ok(current) = self.current() else { return true };
        let Ok(facts) = tls::facts(&current.certificate_pem) else { return true };
        let life = facts.not_after.since(facts.not_before);
        let renew_at = facts.not_after.minus(life / 3);
        facts.hosts != self.hosts
            || now >= renew_at
            || now < facts.not_before.minus(Duration::from_mins(1))
    }

    fn renew(&self, vault: &Vault, now: Timestamp) -> Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let authority = self.authority(vault, now)?;
        let issued = tls::issue(&authority, &self.hosts, now, self.days)?;
        // The key first: a certificate without its key would not start.
        write(&self.directory.join("server.key"), issued.key_pem.expose().as_bytes(), 0o600)?;
        write(&self.directory.join("server.pem"), issued.certificate_pem.as_bytes(), 0o644)
    }

    fn authority(&self, vault: &Vault, now: Timestamp) -> Result<Issued> {
        let (certificate, key) =
            (self.directory.join("ca.pem"), self.directory.join("ca.key.sealed"));
        let scope = Scope::System(Purpose::Settings);
        if certificate.exists() && key.exists() {
            let sealed = Sealed::from_stored(fs::read(&key)?);
            let opened = vault.open(scope, &AUTHORITY_PLACE, &sealed)?;
            let key_pem = SecretText::new(String::from_utf8(opened.to_vec())?);
            return Ok(Issued { certificate_pem: fs::read_to_string(&certificate)?, key_pem });
        }
        let name = match self.organisation.as_str() {
            "" => "Strongroom local authority".to_owned(),
            organisation => format!("{organisation} (Strongroom local authority)"),
        };
        let made = tls::make_authority(&name, now)?;
        let sealed = vault.seal(scope, &AUTHORITY_PLACE, made.key_pem.expose().as_bytes())?;
        write(&key, sealed.as_bytes(), 0o600)?;
        write(&certificate, made.certificate_pem.as_bytes(), 0o644)?;
        Ok(made)
    }
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let partial = path.with_extension("partial");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path).with_context(|| format!("{} cannot be written", path.display()))
}
