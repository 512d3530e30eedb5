//! The server's certificate: the organisation's own files, or one from our own authority, whose
//! key is sealed in the vault and which renews by itself.
//!
//! What belongs together lies in one file and comes with one rename: the server's chain and its
//! key in `server.pem` (mode 0600), the authority's key and certificate sealed in
//! `authority.sealed`. `ca.pem` is a copy for clients.

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
    Aad { table: "tls", column: "authority", row: "authority", owner: "" };

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

    fn load(&self) -> Result<Arc<Certificates>> {
        Ok(Arc::new(Certificates::new(&self.current()?)?))
    }

    /// The certificate as it lies on disk, for a server that is still sealed. Where ours is lost or
    /// damaged, one that nobody knows stands in until the vault is open and a new one can be made:
    /// a server that does not come up could not be opened at all.
    pub(crate) fn load_or_stand_in(&self, clock: &Clock) -> Result<Arc<Certificates>> {
        match self.load() {
            Err(error) if self.own.is_none() => {
                tracing::warn!(cause = %error, "the server's certificate cannot be used; until the vault is open, one that no client knows stands in");
                let now = clock.now();
                let passing = tls::make_authority("Strongroom, sealed", now)?;
                let issued = tls::issue(&passing, &self.hosts, now, 1)?;
                Ok(Arc::new(Certificates::new(&issued)?))
            }
            loaded => loaded,
        }
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
        let read = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
        };
        if let Some((certificate, key)) = &self.own {
            let key_pem = SecretText::new(read(key)?);
            return Ok(Issued { certificate_pem: read(certificate)?, key_pem });
        }
        let both = SecretText::new(read(&self.directory.join("server.pem"))?);
        Ok(apart(both.expose()))
    }

    /// Whether there is none that can be used, it names other hosts, or two thirds of its time are
    /// over.
    fn is_due(&self, now: Timestamp) -> bool {
        let Ok(current) = self.current() else { return true };
        if Certificates::new(&current).is_err() {
            return true;
        }
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
        let both = [issued.certificate_pem.as_str(), issued.key_pem.expose()].concat();
        write(&self.directory.join("server.pem"), SecretText::new(both).expose().as_bytes(), 0o600)
    }

    fn authority(&self, vault: &Vault, now: Timestamp) -> Result<Issued> {
        let path = self.directory.join("authority.sealed");
        let scope = Scope::System(Purpose::Settings);
        let made = if path.exists() {
            let sealed = Sealed::from_stored(fs::read(&path)?);
            let opened = vault.open(scope, &AUTHORITY_PLACE, &sealed)?;
            apart(std::str::from_utf8(&opened)?)
        } else {
            let name = match self.organisation.as_str() {
                "" => "Strongroom local authority".to_owned(),
                organisation => format!("{organisation} (Strongroom local authority)"),
            };
            let made = match self.authority_in_two_files(vault)? {
                Some(older) => older,
                None => tls::make_authority(&name, now)?,
            };
            let both = [made.certificate_pem.as_str(), made.key_pem.expose()].concat();
            let both = SecretText::new(both);
            let sealed = vault.seal(scope, &AUTHORITY_PLACE, both.expose().as_bytes())?;
            write(&path, sealed.as_bytes(), 0o600)?;
            made
        };
        let copy = self.directory.join("ca.pem");
        if fs::read_to_string(&copy).is_ok_and(|there| there == made.certificate_pem) {
            return Ok(made);
        }
        write(&copy, made.certificate_pem.as_bytes(), 0o644)?;
        Ok(made)
    }

    /// The authority as development versions kept it, so that clients need not learn another.
    fn authority_in_two_files(&self, vault: &Vault) -> Result<Option<Issued>> {
        let (certificate, key) =
            (self.directory.join("ca.pem"), self.directory.join("ca.key.sealed"));
        if !certificate.exists() || !key.exists() {
            return Ok(None);
        }
        let place = Aad { column: "ca.key", ..AUTHORITY_PLACE };
        let sealed = Sealed::from_stored(fs::read(&key)?);
        let opened = vault.open(Scope::System(Purpose::Settings), &place, &sealed)?;
        let key_pem = SecretText::new(std::str::from_utf8(&opened)?.to_owned());
        Ok(Some(Issued { certificate_pem: fs::read_to_string(&certificate)?, key_pem }))
    }
}

/// The certificates of a PEM text, and its key, apart.
fn apart(pem: &str) -> Issued {
    Issued {
        certificate_pem: parts(pem, "CERTIFICATE"),
        key_pem: SecretText::new(parts(pem, "PRIVATE KEY")),
    }
}

/// The parts of a PEM text with this label.
fn parts(pem: &str, label: &str) -> String {
    let marks = ["BEGIN", "END"].map(|mark| format!("-----{mark} {label}-----"));
    // As long as the whole, so that a key is never copied by growing.
    let mut found = String::with_capacity(pem.len() + 1);
    let mut is_inside = false;
    for line in pem.lines() {
        is_inside |= line == marks[0];
        if is_inside {
            found.push_str(line);
            found.push('\n');
        }
        is_inside &= line != marks[1];
    }
    found
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let partial = path.with_extension("partial");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path).with_context(|| format!("{} cannot be written", path.display()))?;
    if let Some(parent) = path.parent() {
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::KeySource;

    struct Bench {
        directory: tempfile::TempDir,
        vault: Vault,
        files: CertificateFiles,
    }

    fn bench() -> Bench {
        let directory = tempfile::tempdir().expect("a directory");
        let vault = Vault::create(&directory.path().join("keys"), &KeySource::File).expect("made");
        let settings = crate::config::Config::defaults().settings().clone();
        let files = CertificateFiles::new(directory.path(), &settings);
        Bench { directory, vault, files }
    }

    #[test]
    fn no_crash_leaves_a_certificate_without_its_key() {
        let Bench { directory, vault, files } = bench();
        let clock = Clock::system();
        files.prepare(&vault, &clock).expect("made");
        let names: Vec<_> = fs::read_dir(directory.path().join("tls"))
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert!(!names.iter().any(|name| name == "server.key"), "{names:?}");
        // A crash in the middle of a write leaves a part beside, which is of no meaning.
        fs::write(directory.path().join("tls/server.partial"), "half").expect("written");
        files.load().expect("whole");
        let authority = fs::read_to_string(directory.path().join("tls/ca.pem")).expect("read");
        fs::remove_file(directory.path().join("tls/ca.pem")).expect("removed");
        files.renew(&vault, clock.now()).expect("renewed");
        let again = fs::read_to_string(directory.path().join("tls/ca.pem")).expect("read");
        assert_eq!(again, authority, "clients go on trusting the same authority");
    }

    #[test]
    fn a_damaged_certificate_is_stood_in_for_while_sealed_and_mended_once_open() {
        let Bench { directory, vault, files } = bench();
        let clock = Clock::system();
        files.prepare(&vault, &clock).expect("made");
        let path = directory.path().join("tls/server.pem");
        let whole = fs::read_to_string(&path).expect("read");
        let (chain, _) = whole.split_once("-----BEGIN PRIVATE KEY-----").expect("a key");
        for damaged in ["", "nonsense", chain] {
            fs::write(&path, damaged).expect("written");
            assert!(files.load().is_err());
            files.load_or_stand_in(&clock).expect("stands in");
            files.prepare(&vault, &clock).expect("mended");
            files.load().expect("whole");
        }
    }
}
