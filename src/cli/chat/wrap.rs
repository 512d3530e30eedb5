//! Words onto lines: what has been written stays where it is. A word is written when it is whole,
//! and begins a new line where it does not fit.

use unicode_width::UnicodeWidthChar;

use super::style::{Ink, Style};

/// A line that is being written.
#[derive(Debug)]
pub(super) struct Wrap {
    ink: Ink,
    width: usize,
    column: usize,
    /// Where lines that go on begin, with what stands before them.
    margin: Vec<(Style, char)>,
    /// Blanks before the word.
    blanks: usize,
    word: Vec<(Style, char)>,
    word_width: usize,
    /// A word that is wider than a line is written as it comes, and the terminal breaks it.
    is_overlong: bool,
    has_text: bool,
}

impl Wrap {
    pub(super) fn new(width: usize, is_styled: bool) -> Self {
        Self {
            ink: Ink::new(is_styled),
            width: width.max(WIDTH_MIN),
            column: 0,
            margin: Vec::new(),
            blanks: 0,
            word: Vec::new(),
            word_width: 0,
            is_overlong: false,
            has_text: false,
        }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn is_styled(&self) -> bool {
        self.ink.is_styled()
    }

    /// Whether something stands in the line, written or not.
    pub(super) fn is_begun(&self) -> bool {
        self.column > 0 || !self.word.is_empty()
    }

    /// Writes what stands before a line, and keeps the room of it before the lines that go on;
    /// a mark that is `repeated` stands before these too.
    pub(super) fn mark(&mut self, out: &mut String, style: Style, mark: &str, repeated: bool) {
        for c in mark.chars() {
            self.raw(out, style, c);
            if self.margin.len() < self.width / 2 {
                self.margin.push((style, if repeated { c } else { ' ' }));
            }
        }
    }

    /// Takes a character of text.
    pub(super) fn text(&mut self, out: &mut String, style: Style, c: char) {
        if c == ' ' || c == '\t' {
            self.end_word(out);
            self.blanks += usize::from(self.has_text);
            return;
        }
        if self.is_overlong {
            self.raw(out, style, c);
            return;
        }
        self.word.push((style, c));
        self.word_width += c.width().unwrap_or(0);
        if self.word_width >= self.width || self.word.len() >= WORD_CHARS_MAX {
            self.end_word(out);
            self.is_overlong = true;
        }
    }

    /// Writes a character where the line stands, whatever its width.
    pub(super) fn raw(&mut self, out: &mut String, style: Style, c: char) {
        self.ink.write(out, style, c);
        self.column += c.width().unwrap_or(0);
    }

    /// Ends the line.
    pub(super) fn end(&mut self, out: &mut String) {
        self.end_word(out);
        self.ink.write(out, Style::NONE, '\n');
        self.column = 0;
        self.blanks = 0;
        self.has_text = false;
        self.margin.clear();
    }

    fn end_word(&mut self, out: &mut String) {
        self.is_overlong = false;
        if self.word.is_empty() {
            return;
        }
        let blanks = self.blanks.min(self.width);
        if self.has_text && self.column + blanks + self.word_width > self.width {
            self.ink.write(out, Style::NONE, '\n');
            self.column = 0;
            for (style, c) in self.margin.clone() {
                self.raw(out, style, c);
            }
        } else {
            for _ in 0..blanks {
                self.raw(out, Style::NONE, ' ');
            }
        }
        for (style, c) in std::mem::take(&mut self.word) {
            self.raw(out, style, c);
        }
        self.word_width = 0;
        self.blanks = 0;
        self.has_text = true;
    }
}

const WIDTH_MIN: usize = 20;
/// A word of characters without width has an end too.
const WORD_CHARS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(width: usize, text: &str) -> String {
        let mut wrap = Wrap::new(width, false);
        let mut out = String::new();
        for c in text.chars() {
            if c == '\n' {
                wrap.end(&mut out);
            } else {
                wrap.text(&mut out, Style::NONE, c);
            }
        }
        wrap.end(&mut out);
        out
    }

    #[test]
    fn words_that_do_not_fit_begin_a_line() {
        assert_eq!(written(20, "one two three four five six"), "one two three four\nfive six\n");
        assert_eq!(written(20, "a  b   \nc"), "a  b\nc\n");
        let long = "x".repeat(45);
        assert_eq!(written(20, &format!("see {long} there")), format!("see\n{long}\nthere\n"));
        // Two columns each.
        assert_eq!(written(20, "日本語日本 日本語日本語"), "日本語日本\n日本語日本語\n");
    }

    #[test]
    fn lines_that_go_on_stand_behind_the_mark() {
        let mut wrap = Wrap::new(20, false);
        let mut out = String::new();
        wrap.mark(&mut out, Style::NONE, "│ ", true);
        wrap.mark(&mut out, Style::NONE, "• ", false);
        "several words in a quoted list".chars().for_each(|c| wrap.text(&mut out, Style::NONE, c));
        wrap.end(&mut out);
        assert_eq!(out, "│ • several words in\n│   a quoted list\n");
    }
}
