//! The events of a streamed answer, out of the bytes in which they come. Bounded: a server cannot
//! make this command keep more than one line.

use std::collections::VecDeque;

use serde::Deserialize;

use super::clean;
use super::trouble::ErrorFields;

/// What an answer consists of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text of the answer.
    Text(String),
    /// What the model thinks first.
    Thought(String),
    /// What the guard did, in words.
    Notice(String),
    /// The server is there, and there is nothing yet.
    Waiting,
    /// The answer has ended, for this reason.
    Ended(String),
    /// There is nothing after this.
    Over,
    /// The answer has failed on the way.
    Failed(Failure),
}

/// An error as it comes in a stream.
#[derive(Debug)]
pub(super) struct Failure(pub(super) ErrorFields);

impl PartialEq for Failure {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Failure {}

/// Why a stream cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A line that does not end.
    Line,
    /// An event that is not one of a chat.
    Event,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    strongroom_notices: Vec<Notice>,
    #[serde(default)]
    error: Option<ErrorFields>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
}

#[derive(Deserialize)]
struct Notice {
    category: String,
    action: String,
    #[serde(default)]
    direction: String,
    #[serde(default)]
    count: u32,
}

/// Reads events.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    ready: VecDeque<Piece>,
}

impl Events {
    /// Takes bytes as they come.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), Unreadable> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > LINE_BYTES_MAX {
                return Err(Unreadable::Line);
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.read(line.trim_ascii())?;
            }
        }
        Ok(())
    }

    /// The next piece that is whole.
    pub(super) fn next(&mut self) -> Option<Piece> {
        self.ready.pop_front()
    }

    fn read(&mut self, line: &[u8]) -> Result<(), Unreadable> {
        if line.first() == Some(&b':') {
            self.ready.push_back(Piece::Waiting);
        }
        let Some(data) = line.strip_prefix(b"data:") else { return Ok(()) };
        let data = data.trim_ascii_start();
        if data == b"[DONE]" {
            self.ready.push_back(Piece::Over);
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_slice(data).map_err(|_| Unreadable::Event)?;
        self.ready.extend(chunk.strongroom_notices.iter().map(|one| Piece::Notice(one.words())));
        if let Some(error) = chunk.error {
            self.ready.push_back(Piece::Failed(Failure(error)));
            return Ok(());
        }
        for Choice { delta, finish_reason } in chunk.choices {
            let is_said = |text: &String| !text.is_empty();
            self.ready.extend(delta.reasoning_content.filter(is_said).map(Piece::Thought));
            self.ready.extend(delta.content.filter(is_said).map(Piece::Text));
            self.ready.extend(finish_reason.map(Piece::Ended));
        }
        Ok(())
    }
}

impl Notice {
    fn words(&self) -> String {
        let category = clean::line(&self.category);
        let (what, where_to) = match &*self.direction {
            "input" => ("what you wrote", "before the model saw it"),
            _ => ("the answer", "before you saw it"),
        };
        let times = if self.count > 1 { format!(" ({} times)", self.count) } else { String::new() };
        match &*self.action {
            "redact" => format!("The guard replaced {category}{times} in {what}, {where_to}."),
            "flag" => format!("The guard noted {category}{times} in {what}."),
            "stop" => format!("The guard stopped the answer: {category}."),
            other => {
                format!("The guard found {category}{times} in {what}: {}.", clean::line(other))
            }
        }
    }
}

const LINE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str = concat!(
        ": waiting\n\n",
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],",
        "\"strongroom_notices\":[{\"category\":\"email\",\"action\":\"redact\",",
        "\"direction\":\"input\",\"count\":2}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\r\n\r\n",
        "data:{\"choices\":[{\"delta\":{\"content\":\"Grüße\"}}],\"usage\":null}\n\n",
        "event: other\nid: 7\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n",
        "data: [DONE]\n\n",
    );

    fn read(pieces: &[&[u8]]) -> Vec<Piece> {
        let mut events = Events::default();
        let mut found = Vec::new();
        for piece in pieces {
            events.take(piece).expect("readable");
            found.extend(std::iter::from_fn(|| events.next()));
        }
        found
    }

    #[test]
    fn a_stream_is_read_whole() {
        let text = |text: &str| text.to_owned();
        assert_eq!(
            read(&[STREAM.as_bytes()]),
            [
                Piece::Waiting,
                Piece::Notice(text(
                    "The guard replaced email (2 times) in what you wrote, before the model saw it."
                )),
                Piece::Thought(text("hm")),
                Piece::Text(text("Grüße")),
                Piece::Ended(text("stop")),
                Piece::Over,
            ]
        );
    }

    #[test]
    fn an_error_on_the_way_is_told() {
        let found = read(&[b"data: {\"error\":{\"message\":\"gone\",\"code\":\"busy\"}}\n\n"]);
        assert!(matches!(&found[..], [Piece::Failed(_)]));
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_bounded() {
        assert_eq!(Events::default().take(b"data: nonsense\n"), Err(Unreadable::Event));
        assert_eq!(Events::default().take(b"data: {\"choices\": 1}\n"), Err(Unreadable::Event));
        let mut events = Events::default();
        let endless = (0..2_000).find_map(|_| events.take(&[b'x'; 1_000]).err());
        assert_eq!(endless, Some(Unreadable::Line));
        assert!(events.line.len() <= LINE_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn it_is_no_matter_how_the_bytes_are_cut(cut in 0..STREAM.len(), other in 0..STREAM.len()) {
            let bytes = STREAM.as_bytes();
            let (first, last) = (cut.min(other), cut.max(other));
            let pieces = [&bytes[..first], &bytes[first..last], &bytes[last..]];
            prop_assert_eq!(read(&pieces), read(&[bytes]));
        }
    }
}
