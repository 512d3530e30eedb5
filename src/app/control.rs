//! The socket on which the server takes a passphrase while it is sealed, and orders from its own
//! command line once it is open. It lies in the data directory with mode 0600: who can write to it
//! can read the root key too. One line is asked, one is answered.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use zeroize::Zeroizing;

use super::orders::Order;
use crate::secret::SecretText;

/// The longest line.
const LINE_BYTES_MAX: usize = 8_192;
/// How long a line may take.
const LINE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the socket rests after it failed.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// What stands before a passphrase.
pub(super) const UNSEAL: &str = "unseal ";
/// What stands before an order, which is JSON.
pub(super) const ORDER: &str = "order ";
/// What stands before an answer, which is JSON too, and before a reason why not.
const DONE: &str = "ok ";
const REFUSED: &str = "no ";

/// Where the socket lies.
pub(super) fn socket_path(data: &Path) -> PathBuf {
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

/// Reads one line, which may hold a passphrase, into a buffer that never moves and is wiped; none
/// where somebody only looked whether a server listens.
pub(super) async fn read_line(stream: &mut UnixStream) -> Result<Option<Zeroizing<String>>> {
    let mut bytes = Zeroizing::new([0; LINE_BYTES_MAX]);
    let mut length = 0;
    let reading = async {
        while !bytes[..length].contains(&b'\n') {
            let count = stream.read(&mut bytes[length..]).await?;
            if count == 0 {
                break;
            }
            length += count;
        }
        Ok::<_, std::io::Error>(())
    };
    tokio::time::timeout(LINE_TIMEOUT, reading).await??;
    let Some(end) = bytes[..length].iter().position(|byte| *byte == b'\n') else {
        ensure!(length == 0, "the line has no end");
        return Ok(None);
    };
    Ok(Some(Zeroizing::new(std::str::from_utf8(&bytes[..end])?.to_owned())))
}

/// Answers that it is done.
pub(super) async fn accept(stream: &mut UnixStream, answer: &Value) -> Result<()> {
    Ok(stream.write_all(format!("{DONE}{answer}\n").as_bytes()).await?)
}

/// Answers that it is not, and why.
pub(super) async fn refuse(stream: &mut UnixStream, reason: &str) -> Result<()> {
    let reason: String = reason.chars().filter(|c| !c.is_control()).collect();
    Ok(stream.write_all(format!("{REFUSED}{reason}\n").as_bytes()).await?)
}

/// Hands a passphrase to the server that waits for it.
pub(crate) fn send_passphrase(data: &Path, passphrase: &SecretText) -> Result<()> {
    let path = socket_path(data);
    let stream = BlockingStream::connect(&path).with_context(|| {
        format!("no sealed server waits at {}; is it running, and is it sealed?", path.display())
    })?;
    ensure!(!passphrase.expose().contains('\n'), "a passphrase is one line");
    let line = Zeroizing::new([UNSEAL, passphrase.expose(), "\n"].concat());
    ask(stream, &line).map(drop)
}

/// Whether a server runs on a data directory, sealed or open.
pub(crate) fn is_served(data: &Path) -> bool {
    BlockingStream::connect(socket_path(data)).is_ok()
}

/// Has the server that runs on a data directory carry out an order; none where no server runs.
pub(crate) fn send_order(data: &Path, order: &Order) -> Result<Option<Value>> {
    let Ok(stream) = BlockingStream::connect(socket_path(data)) else { return Ok(None) };
    let line = format!("{ORDER}{}\n", serde_json::to_string(order)?);
    ensure!(line.len() <= LINE_BYTES_MAX, "the names are too long");
    ask(stream, &line).map(Some)
}

fn ask(mut stream: BlockingStream, line: &str) -> Result<Value> {
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if let Some(answer) = answer.strip_prefix(DONE) {
        return Ok(serde_json::from_str(answer)?);
    }
    match answer.strip_prefix(REFUSED) {
        Some(reason) => bail!("{}", reason.trim_end()),
        None => bail!("the server went away without an answer; look for its reason in its log"),
    }
}
