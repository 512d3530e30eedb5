//! `strongroom chat`: a chat in the terminal, over the same API that programs use. Knows the server
//! as a client does: its address, its certificate, a key.

mod answer;
mod block;
pub(super) mod clean;
mod client;
mod commands;
mod conversation;
mod events;
mod history;
mod inline;
mod key;
mod keyboard;
mod keyring;
mod markdown;
mod page;
mod place;
mod session;
mod style;
mod trouble;
mod wrap;

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::runtime::Runtime;

use client::Client;
use conversation::Conversation;
use history::History;
use key::Key;
use page::{Look, Page};
use place::{Place, Trust};
use session::Session;
use trouble::Trouble;

use super::Ended;
use super::options::{Common, out, warn};
use crate::config;

/// Chat in the terminal, with a server that is running here or elsewhere.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  strongroom chat\n  strongroom chat \"How do I make an API key?\"\n  cat report.txt | strongroom chat \"Summarise this\" > summary.md\n  strongroom chat --server https://ai.example.org --ca ca.pem --key-file key\n  strongroom chat --key-file <(secret-tool lookup service strongroom)\n\nThe key is looked for in --key-file, the kernel's keyring, and ~/.config/strongroom/key. The server is the one that the configuration describes, or --server.\n\nExit codes: 0 answered, 1 failed, 2 wrong usage, 130 interrupted."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Chat {
    /// What to ask; without it, a chat begins. What is piped in stands behind it.
    #[arg(value_name = "MESSAGE")]
    message: Vec<String>,
    /// The model; without it, the server's own choice.
    #[arg(long, short, value_name = "NAME", env = "STRONGROOM_MODEL")]
    model: Option<String>,
    /// Instructions to the model.
    #[arg(long, short, value_name = "TEXT")]
    system: Option<String>,
    /// The server's address, such as https://ai.example.org.
    #[arg(long, value_name = "URL", env = "STRONGROOM_URL", value_parser = Place::parse)]
    server: Option<Place>,
    /// The certificate of the authority that vouches for the server (PEM), and no other.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_CA_FILE")]
    ca: Option<PathBuf>,
    /// A file of mode 0600, or a file descriptor, with the API key.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_KEY_FILE")]
    key_file: Option<PathBuf>,
    /// Keep the key in the kernel's keyring, until this machine restarts (Linux).
    #[arg(long, conflicts_with = "forget_key")]
    keep_key: bool,
    /// Forget the key that is kept for this server, and end.
    #[arg(long)]
    forget_key: bool,
    /// Write answers as they are, without setting their Markdown.
    #[arg(long)]
    plain: bool,
    /// Do not keep what is typed for the next time.
    #[arg(long)]
    no_history: bool,
}

/// What is to be done.
enum Work {
    /// One question, and its answer.
    Once(String),
    /// A chat at a terminal.
    Talk,
    /// Nothing but what the flags say.
    Nothing,
}

impl Chat {
    pub(super) fn run(mut self, common: &Common) -> Result<Ended> {
        let config = common.config(Vec::new())?;
        let is_of_settings = self.server.is_none();
        let place = match self.server.take() {
            Some(place) => place,
            None => Place::of_settings(config.settings())?,
        };
        if self.forget_key {
            return forget(&place);
        }
        let Some(work) = self.work()? else {
            warn("nothing was asked: give a message, pipe one in, or run it at a terminal");
            return Ok(Ended::Misused);
        };
        let tls = Trust::new(&config, self.ca.take(), is_of_settings);
        let tls = if place.is_tls { Some(tls.config()?) } else { None };
        let key = self.key(&place)?;
        let client = Client::new(place, tls, key);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        if self.keep_key {
            keep(&client, &runtime)?;
        }
        let chat = Conversation::new(self.model.take(), self.system.take());
        let ended = match work {
            Work::Nothing => Ok(Ended::Done),
            Work::Once(question) => self.once(&client, &runtime, chat, question),
            Work::Talk => {
                let file = config::state_directory().map(|state| state.join("chat_history"));
                let history = History::new(file.filter(|_| !self.no_history));
                let (client, runtime, is_plain) = (&client, &runtime, self.plain);
                Session { client, runtime, chat, history, look, is_plain }.talk()
            }
        };
        // A name that is still being looked up keeps nobody who has left.
        runtime.shutdown_background();
        ended
    }

    fn key(&self, place: &Place) -> Result<Key> {
        if self.keep_key {
            return key::anew(self.key_file.as_deref());
        }
        key::find(self.key_file.as_deref(), &place.url())
    }

    /// What is to be done; none where nothing was asked.
    fn work(&self) -> Result<Option<Work>> {
        let stdin = io::stdin();
        let words = self.message.join(" ");
        if stdin.is_terminal() && !words.is_empty() {
            return Ok(Some(Work::Once(words)));
        }
        if stdin.is_terminal() && io::stdout().is_terminal() {
            return Ok(Some(Work::Talk));
        }
        if self.keep_key && words.is_empty() {
            return Ok(Some(Work::Nothing));
        }
        if stdin.is_terminal() {
            warn("type what to ask, and end it with Ctrl-D");
        }
        let piped = piped(stdin.lock())?;
        let question = [words.trim(), piped.trim_end()].into_iter().filter(|part| !part.is_empty());
        let question = question.collect::<Vec<_>>().join("\n\n");
        Ok((!question.is_empty()).then_some(Work::Once(question)))
    }

    fn once(
        &self,
        client: &Client,
        runtime: &Runtime,
        mut chat: Conversation,
        question: String,
    ) -> Result<Ended> {
        let Ok(ask) = chat.ask(question) else { bail!("that is more than can be asked at once") };
        let mut page = Page::new(out(), look(self.plain));
        match runtime.block_on(answer::answer(client, &ask, &mut page)) {
            Ok(answered) if answered.is_stopped => Ok(Ended::Interrupted),
            Ok(_) => Ok(Ended::Done),
            // Who reads the answer has seen enough of it: `… | head`.
            Err(Trouble::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(Ended::Done)
            }
            Err(trouble) => Err(trouble.into()),
        }
    }
}

/// How answers look on standard output.
fn look(is_plain: bool) -> Look {
    let stdout = io::stdout();
    if is_plain || !stdout.is_terminal() {
        return Look::Plain;
    }
    let columns = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| size.ws_col);
    let columns = if columns == 0 { COLUMNS_UNKNOWN } else { usize::from(columns) };
    Look::Set {
        // The last column stays free: some terminals go on to the next line when it is full.
        width: columns.saturating_sub(1).min(COLUMNS_MAX),
        is_styled: config::may_style(),
    }
}

/// All of what is piped in.
fn piped(stdin: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    stdin.take(INPUT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() <= INPUT_BYTES_MAX,
        "more than {} MiB are piped in, which is more than can be asked at once",
        INPUT_BYTES_MAX >> 20
    );
    String::from_utf8(bytes).ok().context("what is piped in is not a text in UTF-8")
}

/// Keeps a key that the server knows.
fn keep(client: &Client, runtime: &Runtime) -> Result<()> {
    runtime.block_on(client.models())?;
    if let Err(reason) = keyring::keep(&client.url(), client.key()) {
        bail!(reason);
    }
    warn("the key is in the kernel's keyring, until this machine restarts or --forget-key");
    Ok(())
}

fn forget(place: &Place) -> Result<Ended> {
    match keyring::forget(&place.url()) {
        Ok(true) => writeln!(out(), "The key for {} is forgotten.", place.url())?,
        Ok(false) => writeln!(out(), "No key was kept for {}.", place.url())?,
        Err(reason) => bail!(reason),
    }
    Ok(Ended::Done)
}

/// Bytes of a question.
const INPUT_BYTES_MAX: usize = 16 << 20;
/// Lines that are longer than this are hard to read.
const COLUMNS_MAX: usize = 100;
const COLUMNS_UNKNOWN: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_piped_in_is_text_and_has_an_end() {
        assert_eq!(piped(&b"report\n"[..]).expect("read"), "report\n");
        assert!(piped(&b"\xff\xfe"[..]).is_err());
        assert!(piped(io::repeat(b'x')).is_err());
        assert!(piped(io::repeat(b'x').take(INPUT_BYTES_MAX as u64)).is_ok());
    }
}
