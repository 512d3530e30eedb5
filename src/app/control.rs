//! The socket on which the running server takes orders from its own command line. It lies in the
//! data directory with mode 0600: who can write to it can read the root key too.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::{App, Home};
use crate::audit::{Action, Actor, Event, Outcome};
use crate::backup::{self, Created, Sources};

/// The longest order.
const LINE_BYTES_MAX: u64 = 8_192;
/// The order to make a backup; the directory follows.
pub(crate) const BACKUP: &str = "backup ";

/// Where the socket lies.
pub(crate) fn socket_path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// Listens on the socket; what a killed server left there gives way.
pub(super) fn listen(data: &Path) -> Result<UnixListener> {
    let path = socket_path(data);
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path).context("the control socket cannot be made")?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Makes a backup, on record before it begins and when it has ended. Blocks.
pub(crate) fn make_backup(home: &Home, app: &App, target: &Path) -> Result<Created> {
    // On record first: a copy of everything that is not on record must not be.
    let event = Event::new(Action::BackupCreate, Outcome::Started, Actor::System);
    app.audit.record_blocking(event)?;
    let head = app.audit.head().map(|head| format!("{}:{}", head.size, hex::encode(head.root)));
    let sources =
        Sources { data_dir: home.data(), db: &app.db, vault: &home.vault, audit_head: head };
    let made = backup::create(&sources, target, home.clock.now());
    let event = match &made {
        Ok(made) => Event::new(Action::BackupCreate, Outcome::Done, Actor::System)
            .subject(made.id)
            .with("bytes", made.bytes),
        Err(_) => Event::new(Action::BackupCreate, Outcome::Failed, Actor::System),
    };
    app.audit.record_blocking(event)?;
    Ok(made?)
}

impl App {
    /// Takes orders, one at a time, until the server stops.
    pub(super) async fn take_orders(self) {
        let listener = match listen(self.home.data()) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(cause = %error, "no orders can be taken: `backup create` will work only while the server is stopped");
                return;
            }
        };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = self.take_order(stream).await {
                        tracing::warn!(cause = %error, "an order broke off");
                    }
                }
                Err(error) => {
                    tracing::warn!(cause = %error, "the control socket failed");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn take_order(&self, stream: UnixStream) -> Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut line = String::new();
        let mut reader = BufReader::new(reader.take(LINE_BYTES_MAX));
        let reading = reader.read_line(&mut line);
        tokio::time::timeout(std::time::Duration::from_secs(5), reading).await??;
        let answer = match line.trim_end_matches('\n').strip_prefix(BACKUP) {
            Some(target) => match self.back_up(PathBuf::from(target)).await {
                Ok(made) => format!("ok\n{}\n{}\n", made.data.display(), made.keys.display()),
                Err(error) => format!("the backup failed: {error:#}\n"),
            },
            // Whatever it was, it may have been a passphrase.
            None => "the server is open already\n".to_owned(),
        };
        zeroize::Zeroize::zeroize(&mut line);
        writer.write_all(answer.as_bytes()).await?;
        Ok(())
    }

    async fn back_up(&self, target: PathBuf) -> Result<Created> {
        if !target.is_absolute() {
            bail!("the directory must be named from the root");
        }
        let app = self.clone();
        tokio::task::spawn_blocking(move || make_backup(&app.home, &app, &target)).await?
    }
}
