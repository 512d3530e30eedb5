//! The passphrase at the terminal that the server was started from, while the sealed server goes on
//! answering: nothing here blocks, and the terminal is left as it was found.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use zeroize::Zeroizing;

use super::sealed::Attempts;
use crate::secret::SecretText;

/// The longest line that a terminal gives (canonical mode).
const LINE_BYTES_MAX: usize = 4_096;

/// How often the terminal is looked at. The server is idle meanwhile, and a person waits for a key
/// that takes a second to stretch.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Asks until a passphrase opens the vault. Where nobody sits at a terminal, or they close it
/// (Ctrl+D), this waits for ever: there is the control socket.
pub(super) async fn ask(attempts: &Attempts) {
    let Some(console) = Console::open() else { return std::future::pending().await };
    loop {
        console.tell("Passphrase: ");
        let Some(passphrase) = console.line().await else { return std::future::pending().await };
        if passphrase.expose().is_empty() {
            continue;
        }
        match attempts.open(passphrase).await {
            Ok(()) => return,
            Err(error) => console.tell(&format!("{error}\n")),
        }
    }
}

/// A terminal that does not show what is typed, as long as this lives.
struct Console {
    terminal: File,
    before: Termios,
}

impl Console {
    /// The terminal of this process; none where standard input is none, or another job has it: a
    /// server in the background must not be stopped by its own question.
    fn open() -> Option<Self> {
        if !io::stdin().is_terminal() {
            return None;
        }
        // A description of its own, so that not to block is nobody else's affair.
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
        let terminal = File::options()
            .read(true)
            .write(true)
            .custom_flags(flags as i32)
            .open("/dev/tty")
            .ok()
            .filter(is_in_front)?;
        let before = tcgetattr(&terminal).ok()?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&terminal, OptionalActions::Flush, &hidden).ok()?;
        Some(Self { terminal, before })
    }

    fn tell(&self, text: &str) {
        // A terminal that takes no words can still give some.
        let _ = (&self.terminal).write_all(text.as_bytes());
    }

    /// The next line; none at its end.
    async fn line(&self) -> Option<SecretText> {
        let mut bytes = Zeroizing::new([0; LINE_BYTES_MAX]);
        loop {
            // What is typed while another job is in front is for that job.
            if is_in_front(&self.terminal) {
                match (&self.terminal).read(bytes.as_mut_slice()) {
                    Ok(count @ 1..) => {
                        let text = std::str::from_utf8(&bytes[..count]).unwrap_or_default();
                        let text = text.trim_end_matches(['\n', '\r']);
                        return Some(SecretText::new(text.to_owned()));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(0) | Err(_) => return None,
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if is_in_front(&self.terminal) {
            // Nothing can be done about a terminal that has gone.
            let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
        }
    }
}

fn is_in_front(terminal: &File) -> bool {
    tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp())
}
