//! From a configuration to a running server: the data directory is taken, the vault opened, the
//! parts are built, and what is in force goes on record.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

use super::certificates::CertificateFiles;
use super::sealed::{self, Opened, Way};
use super::{App, Home, StopSignals, exchange_runtime, facts, shell};
use crate::audit::{Action, Actor, AuditLog, Event, Outcome};
use crate::backup;
use crate::config::{Config, KeySourceKind, Settings};
use crate::secret::SecretText;
use crate::web::serve::Serving;
use crate::web::tls::server_config;

/// How long connections may take to end while the server is sealed, in seconds.
const SEALED_SHUTDOWN_S: u64 = 1;

/// Makes the server's certificate where there is none yet, so that a server that starts sealed has
/// the one that its clients trust.
pub(crate) fn prepare_certificate(home: &Home, settings: &Settings) -> Result<()> {
    if settings.server.plain_http {
        return Ok(());
    }
    let files = CertificateFiles::new(home.data(), settings);
    files.prepare(&home.vault, &home.clock).map(drop)
}

/// Serves with this configuration until told to stop. A passphrase that is given opens the vault
/// at once; without one, a sealed vault waits for it.
pub(crate) fn run(
    config: &Config,
    passphrase: Option<SecretText>,
    out: &mut impl Write,
) -> Result<()> {
    let settings = config.settings();
    crate::engine::set_threads(settings.engine.threads.into())?;
    crate::engine::set_instructions(facts::instructions(settings))
        .context("engine.instructions")?;
    crate::engine::check_device(facts::device(settings)?).context("engine.device")?;
    let home = Home::open_with(settings, || match &passphrase {
        Some(passphrase) => Ok(passphrase.clone()),
        None => super::ask_new_passphrase(),
    })?;
    if settings.vault.key_source == KeySourceKind::Passphrase {
        home.require_passphrase()?;
    }
    backup::remove_stale(home.data(), home.clock.now())?;
    let mut opened = None;
    if let Some(passphrase) = &passphrase {
        home.vault.unseal(passphrase).context("the passphrase that was given is not accepted")?;
        opened = Some(Opened { way: Way::File, failed: 0 });
    }
    let runtime = exchange_runtime()?;
    let mut stop = StopSignals::listen(runtime.handle())?;
    let (listener, address) = bind(&settings.server.listen)?;
    let files = CertificateFiles::new(home.data(), settings);
    let is_tls = !settings.server.plain_http;
    writeln!(out, "Strongroom {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  data      {}", home.describe())?;
    if !home.vault.is_open() {
        opened = wait_sealed(&home, settings, &files, (&listener, address), &mut stop, out)?;
        if opened.is_none() {
            return Ok(());
        }
    }
    let certificates = if is_tls { Some(files.prepare(&home.vault, &home.clock)?) } else { None };
    let app = App::build(&home, config, runtime.handle().clone())?;
    record_start(&app.audit, config, opened.as_ref())?;
    app.library.load_in_background()?;
    announce(&app, &runtime, &files, address, is_tls, out)?;
    let outcome = actix_web::rt::System::new().block_on(app.serve(listener, certificates, stop));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    outcome
}

/// Serves "sealed" until somebody opens the vault; none where the server was told to stop instead.
fn wait_sealed(
    home: &Home,
    settings: &Settings,
    files: &CertificateFiles,
    (listener, address): (&TcpListener, SocketAddr),
    stop: &mut StopSignals,
    out: &mut impl Write,
) -> Result<Option<Opened>> {
    let is_tls = !settings.server.plain_http;
    let certificates = if is_tls { Some(files.load_or_stand_in(&home.clock)?) } else { None };
    let unseal = format!("strongroom unseal --data-dir {}", home.data().display());
    writeln!(out, "  sealed    open it with: {unseal}")?;
    writeln!(out, "  listening {}://{address}", scheme(is_tls))?;
    out.flush()?;
    let listener = listener.try_clone()?;
    let tls = certificates.map(server_config).transpose()?;
    let serving = Serving::new(&settings.server, SEALED_SHUTDOWN_S).with_tls(tls);
    let waiting = sealed::wait_until_open(home, listener, serving, shell(settings), stop);
    actix_web::rt::System::new().block_on(waiting)
}

/// Puts on record that the server runs, with which configuration, and how its vault was opened.
fn record_start(audit: &AuditLog, config: &Config, opened: Option<&Opened>) -> Result<()> {
    let event = |action, outcome| Event::new(action, outcome, Actor::System);
    let started = event(Action::ServerStart, Outcome::Done);
    audit.record_blocking(started.with("version", env!("CARGO_PKG_VERSION")))?;
    let loaded = event(Action::ConfigLoad, Outcome::Done);
    audit.record_blocking(loaded.with("sha256", digest(config)))?;
    let Some(Opened { way, failed }) = opened else { return Ok(()) };
    if *failed > 0 {
        let denied = event(Action::VaultUnseal, Outcome::Denied);
        audit.record_blocking(denied.with("attempts", *failed))?;
    }
    let done = event(Action::VaultUnseal, Outcome::Done).with("way", way.name());
    audit.record_blocking(done)?;
    Ok(())
}

/// The SHA-256 of every setting in force, as `strongroom config` lists them: `key = value`, one a
/// line.
fn digest(config: &Config) -> String {
    let mut sha = Sha256::new();
    for (key, value, _) in config.rows() {
        sha.update(format!("{key} = {value}\n"));
    }
    hex::encode(sha.finalize())
}

const fn scheme(is_tls: bool) -> &'static str {
    if is_tls { "https" } else { "http" }
}

/// Says where the server listens, and how to begin where nobody has yet.
fn announce(
    app: &App,
    runtime: &Runtime,
    files: &CertificateFiles,
    address: SocketAddr,
    is_tls: bool,
    out: &mut impl Write,
) -> Result<()> {
    let base = format!("{}://{address}", scheme(is_tls));
    match files.authority_path().filter(|_| is_tls) {
        Some(path) => writeln!(
            out,
            "  listening {base}   certificate from our own authority: {}",
            path.display()
        )?,
        None => writeln!(out, "  listening {base}")?,
    }
    writeln!(out, "  stop      Ctrl+C")?;
    if !runtime.block_on(app.accounts.is_set_up())? {
        let secret = runtime.block_on(app.accounts.make_setup_secret())?;
        let minutes = app.settings.accounts.setup_link_minutes;
        writeln!(out, "\n  First start. Open this once, within {minutes} minutes:")?;
        writeln!(out, "  {base}/setup#{}", secret.expose())?;
    }
    Ok(out.flush()?)
}

pub(super) fn bind(listen: &str) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen)
        .with_context(|| format!("{listen} cannot be listened on; is another server using it?"))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
