//! Where a person types: a line that can be edited, or, at a terminal that cannot be told anything,
//! the line as the terminal gives it.

use std::io::{self, BufRead, Write};

use rustyline::Editor;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::answer::unless_stopped;
use crate::cli::options::out;
use crate::config;

/// The keyboard.
pub(super) struct Keyboard<'a> {
    runtime: &'a Runtime,
    editor: Editor<(), MemHistory>,
    is_bare: bool,
    /// What reads the next line of a bare terminal: a read that was begun goes on after Ctrl-C.
    reading: Option<JoinHandle<io::Result<Option<String>>>>,
}

impl<'a> Keyboard<'a> {
    pub(super) fn new(runtime: &'a Runtime, editor: Editor<(), MemHistory>) -> Self {
        Self { runtime, editor, is_bare: config::is_bare_terminal(), reading: None }
    }

    /// Offers a text to the arrow keys.
    pub(super) fn offer(&mut self, text: &str) -> Result<(), ReadlineError> {
        self.editor.add_history_entry(text).map(|_| ())
    }

    /// The next line.
    pub(super) fn line(&mut self, prompt: &str) -> Result<String, ReadlineError> {
        if !self.is_bare {
            return self.editor.readline(prompt);
        }
        // The editor would read on: Ctrl-C no longer ends the process once an answer has waited for it.
        let begun = self.reading.take();
        let mut reading = begun.unwrap_or_else(|| self.runtime.spawn_blocking(read_line));
        let asked = async {
            write!(out(), "{prompt}")?;
            out().flush()?;
            (&mut reading).await.map_err(io::Error::other)?
        };
        if let Some(line) = self.runtime.block_on(unless_stopped(asked)) {
            return line?.ok_or(ReadlineError::Eof);
        }
        self.reading = Some(reading);
        Err(ReadlineError::Interrupted)
    }
}

/// A line of standard input, without its end; none after the last.
fn read_line() -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if io::stdin().lock().read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8_lossy(&bytes);
    Ok(Some(line.trim_end_matches(['\n', '\r']).to_owned()))
}
