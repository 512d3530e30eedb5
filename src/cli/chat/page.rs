//! Where an answer is written: set as Markdown on a terminal, as plain text elsewhere.

use std::io::{self, Write};

use super::clean;
use super::markdown::Markdown;
use super::style::Style;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The text as it is, but for what a terminal would obey. Without what the model thinks first.
    Plain,
    /// On lines of so many columns, with styles or without.
    Set { width: usize, is_styled: bool },
}

/// One answer.
pub(super) struct Page<W> {
    out: W,
    look: Look,
    part: Part,
}

#[derive(Debug)]
enum Part {
    None,
    Thought(Markdown),
    Text(Markdown),
    /// Whether its line has ended.
    Plain {
        is_ended: bool,
    },
}

impl<W: Write> Page<W> {
    pub(super) fn new(out: W, look: Look) -> Self {
        Self { out, look, part: Part::None }
    }

    /// Writes a piece of what the model thinks first.
    pub(super) fn thought(&mut self, piece: &str) -> io::Result<()> {
        let Look::Set { width, is_styled } = self.look else { return Ok(()) };
        if !matches!(self.part, Part::Thought(_)) {
            self.end()?;
            let mut thought = Markdown::unmarked(width, is_styled, Style::FAINT);
            let title = thought.push("Thinking:\n");
            self.out.write_all(title.as_bytes())?;
            self.part = Part::Thought(thought);
        }
        self.push(piece)
    }

    /// Writes a piece of the answer.
    pub(super) fn text(&mut self, piece: &str) -> io::Result<()> {
        let is_after_thought = matches!(self.part, Part::Thought(_));
        if is_after_thought || matches!(self.part, Part::None) {
            self.end()?;
            if is_after_thought {
                self.out.write_all(b"\n")?;
            }
            self.part = match self.look {
                Look::Plain => Part::Plain { is_ended: true },
                Look::Set { width, is_styled } => Part::Text(Markdown::new(width, is_styled)),
            };
        }
        self.push(piece)
    }

    /// Ends the answer, or what there is of it, with the end of its line.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let rest = match std::mem::replace(&mut self.part, Part::None) {
            Part::Thought(mut markdown) | Part::Text(mut markdown) => markdown.finish(),
            Part::Plain { is_ended: false } => "\n".to_owned(),
            Part::Plain { is_ended: true } | Part::None => String::new(),
        };
        self.out.write_all(rest.as_bytes())?;
        self.out.flush()
    }

    fn push(&mut self, piece: &str) -> io::Result<()> {
        let ready = match &mut self.part {
            Part::Thought(markdown) | Part::Text(markdown) => markdown.push(piece),
            Part::Plain { is_ended } => {
                let text = clean::text(piece);
                *is_ended = if text.is_empty() { *is_ended } else { text.ends_with('\n') };
                text
            }
            Part::None => return Ok(()),
        };
        self.out.write_all(ready.as_bytes())?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(look: Look, thought: &[&str], text: &[&str]) -> String {
        let mut out = Vec::new();
        let mut page = Page::new(&mut out, look);
        for piece in thought {
            page.thought(piece).expect("written");
        }
        for piece in text {
            page.text(piece).expect("written");
        }
        page.end().expect("written");
        page.end().expect("a second end is none");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn elsewhere_the_text_is_as_it_is() {
        let plain = |text: &[&str]| written(Look::Plain, &["hm"], text);
        assert_eq!(plain(&["# A **b**", " c\n", "d"]), "# A **b** c\nd\n");
        assert_eq!(plain(&["ends\n", ""]), "ends\n");
        assert_eq!(plain(&[]), "");
        assert_eq!(plain(&["\x1b[31m", "\x1b", "]0;t\x07"]), "␛[31m␛]0;t␇\n");
    }

    #[test]
    fn on_a_terminal_thoughts_stand_apart() {
        let set = |is_styled| Look::Set { width: 40, is_styled };
        assert_eq!(written(set(false), &["h", "m"], &["So."]), "Thinking:\nhm\n\nSo.\n");
        assert_eq!(
            written(set(true), &["hm *"], &["**So.**"]),
            "\x1b[0;2mThinking:\x1b[0m\n\x1b[0;2mhm *\x1b[0m\n\n\x1b[0;1mSo.\x1b[0m\n"
        );
    }
}
