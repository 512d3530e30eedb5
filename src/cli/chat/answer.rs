//! One question and its answer: asked, written as it comes, stopped by Ctrl-C.

use std::future::pending;
use std::io::{self, IsTerminal, Write};
use std::pin::pin;

use super::client::Client;
use super::conversation::Ask;
use super::events::Piece;
use super::page::Page;
use super::trouble::Trouble;

/// What came of a question.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    /// The answer, or what there is of it.
    pub(super) text: String,
    /// Whether the person has stopped it.
    pub(super) is_stopped: bool,
}

/// Asks, and writes the answer as it comes.
pub(super) async fn answer<W: Write>(
    client: &Client,
    ask: &Ask,
    page: &mut Page<W>,
) -> Result<Answered, Trouble> {
    let mut asides = Vec::new();
    let result = follow(client, ask, page, &mut asides).await;
    // The line of an answer that broke off ends before anything else is said.
    page.end()?;
    for aside in &asides {
        say_aside(aside);
    }
    result
}

async fn follow<W: Write>(
    client: &Client,
    ask: &Ask,
    page: &mut Page<W>,
    asides: &mut Vec<String>,
) -> Result<Answered, Trouble> {
    let mut answered = Answered::default();
    let mut stopped = pin!(interrupt());
    let mut answering = tokio::select! {
        biased;
        () = &mut stopped => return Ok(Answered { is_stopped: true, ..answered }),
        opened = client.ask(ask) => opened?,
    };
    // Whether something stands in the line, or it has been said why nothing does.
    let mut is_told = false;
    loop {
        let piece = tokio::select! {
            biased;
            () = &mut stopped => {
                answered.is_stopped = true;
                return Ok(answered);
            }
            piece = answering.next() => piece?,
        };
        match piece {
            None | Some(Piece::Over) => break,
            Some(Piece::Text(text)) => {
                if answered.text.len() + text.len() > ANSWER_BYTES_MAX {
                    return Err(Trouble::TooLong(ANSWER_BYTES_MAX));
                }
                page.text(&text)?;
                is_told = true;
                answered.text.push_str(&text);
            }
            Some(Piece::Thought(text)) => {
                page.thought(&text)?;
                is_told = true;
            }
            Some(Piece::Notice(words)) if asides.len() < ASIDES_MAX => asides.push(words),
            Some(Piece::Notice(_)) => {}
            Some(Piece::Waiting) => {
                if !is_told && io::stderr().is_terminal() {
                    say_aside("Waiting for a place in the line, or for the model.");
                    is_told = true;
                }
            }
            Some(Piece::Ended(reason)) => asides.extend(ending(&reason)),
            Some(Piece::Failed(failure)) => {
                return Err(failure.trouble(client, ask.model.as_deref()));
            }
        }
    }
    if answered.text.is_empty() {
        asides.push("The model had nothing to say.".to_owned());
    }
    Ok(answered)
}

fn ending(reason: &str) -> Option<String> {
    match reason {
        "length" => Some("The answer has reached its bound of tokens; ask it to go on.".to_owned()),
        "content_filter" => Some("The guard has ended the answer.".to_owned()),
        _ => None,
    }
}

/// Says something beside the answer.
pub(super) fn say_aside(text: &str) {
    // Nothing can be said where standard error is closed.
    let _ = writeln!(io::stderr(), "({text})");
}

/// Does something that may take long; none where the person stops it with Ctrl-C. Once that has been waited for,
/// nothing else of the process obeys it.
pub(super) async fn unless_stopped<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = interrupt() => None,
        done = work => Some(done),
    }
}

/// Waits for Ctrl-C; for ever where it cannot be told of.
async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        pending::<()>().await;
    }
}

const ANSWER_BYTES_MAX: usize = 16 << 20;
const ASIDES_MAX: usize = 20;
