//! Markdown as it comes, for a terminal. What has been written is never written again, so nothing
//! jumps: a mark is held back until it is clear what it is, a word until it is whole.
//!
//! Goes character by character, so that it is no matter in which pieces a text arrives.

use super::block::{Block, Fence, blanks, block};
use super::clean;
use super::inline::Inline;
use super::style::Style;
use super::wrap::Wrap;

/// A text that is being written.
#[derive(Debug)]
pub(super) struct Markdown {
    wrap: Wrap,
    line: Line,
    /// The fence of the code in which the lines stand.
    code: Option<Fence>,
    is_quoted: bool,
    /// Read as Markdown, or as text of one style.
    base: Option<Style>,
}

/// The line that is being read.
#[derive(Debug)]
enum Line {
    /// It is not yet clear what it is.
    Head(String),
    Text(Inline),
    /// Text without marks.
    Plain(Style),
    /// As it stands, without its marks and without new lines.
    AsItIs(Style),
}

impl Markdown {
    /// Markdown on lines of so many columns; without sequences for the terminal where it is not
    /// `is_styled`, and then with its marks inside lines, which nothing else would show.
    pub(super) fn new(width: usize, is_styled: bool) -> Self {
        Self {
            wrap: Wrap::new(width, is_styled),
            line: Line::Head(String::new()),
            code: None,
            is_quoted: false,
            base: None,
        }
    }

    /// Text without marks, in one style.
    pub(super) fn unmarked(width: usize, is_styled: bool, style: Style) -> Self {
        Self { base: Some(style), ..Self::new(width, is_styled) }
    }

    /// Takes a piece of the text; gives what can be written of it.
    pub(super) fn push(&mut self, piece: &str) -> String {
        let mut out = String::new();
        for c in piece.chars().filter_map(clean::shown) {
            if c == '\n' { self.end_line(&mut out) } else { self.take(&mut out, c) }
        }
        out
    }

    /// Ends the text, with the end of its last line.
    pub(super) fn finish(&mut self) -> String {
        let mut out = String::new();
        let is_empty = matches!(&self.line, Line::Head(head) if head.is_empty());
        if !is_empty || self.wrap.is_begun() {
            self.end_line(&mut out);
        }
        out
    }

    fn take(&mut self, out: &mut String, c: char) {
        match &mut self.line {
            Line::Head(head) => {
                head.push(c);
                self.look(out, false);
            }
            Line::Text(inline) => write_text(&mut self.wrap, inline, out, c),
            Line::Plain(style) => self.wrap.text(out, *style, c),
            Line::AsItIs(style) => write_raw(&mut self.wrap, out, *style, c),
        }
    }

    fn end_line(&mut self, out: &mut String) {
        self.look(out, true);
        if let Line::Text(inline) = &mut self.line {
            let wrap = &mut self.wrap;
            inline.end(&mut |style, c| wrap.text(out, style, c));
        }
        self.wrap.end(out);
        self.line = Line::Head(String::new());
        self.is_quoted = false;
    }

    /// Looks at the begin of a line: what is it?
    fn look(&mut self, out: &mut String, is_whole: bool) {
        let Line::Head(head) = &mut self.line else { return };
        let mut head = std::mem::take(head);
        if let Some(style) = self.base {
            self.line = Line::Plain(style);
            head.chars().for_each(|c| self.wrap.text(out, style, c));
            return;
        }
        if let Some(fence) = self.code {
            if is_whole && fence.is(&head) {
                self.code = None;
                self.as_it_is(out, Style::FAINT, &head);
            } else if is_whole || !fence.may_be(&head) {
                self.as_it_is(out, Style::CODE, &head);
            } else {
                self.line = Line::Head(head);
            }
            return;
        }
        while let Some((block, rest)) = block(&head, is_whole) {
            if block != Block::Quote {
                self.begin(out, &block, rest);
                return;
            }
            self.is_quoted = true;
            self.wrap.mark(out, Style::FAINT, "│ ", true);
            head = String::from(rest);
        }
        self.line = Line::Head(head);
    }

    fn begin(&mut self, out: &mut String, block: &Block, rest: &str) {
        let mut base = Style::NONE;
        let indent = |indent: usize| " ".repeat(indent);
        match block {
            Block::Blank | Block::Quote => {}
            Block::Text { indent: columns } => {
                self.wrap.mark(out, Style::NONE, &indent(*columns), false);
            }
            Block::Heading(level) => {
                base.is_heading = true;
                if !self.wrap.is_styled() {
                    self.wrap.mark(out, base, &format!("{} ", "#".repeat(*level)), false);
                }
            }
            Block::Point { indent: columns, mark } => {
                self.wrap.mark(out, Style::NONE, &indent(*columns), false);
                self.wrap.mark(out, Style::FAINT, mark, false);
            }
            Block::Rule => {
                let columns = self.wrap.width().min(RULE_COLUMNS);
                (0..columns).for_each(|_| self.wrap.raw(out, Style::FAINT, '─'));
            }
            Block::Row => return self.as_it_is(out, Style::NONE, rest),
            Block::Code(fence) => {
                // Where each line has the mark of a quotation, none of them would end the code.
                self.code = (!self.is_quoted).then_some(*fence);
                return self.as_it_is(out, Style::FAINT, rest);
            }
        }
        let mut inline = Inline::new(base);
        rest.chars().for_each(|c| write_text(&mut self.wrap, &mut inline, out, c));
        self.line = Line::Text(inline);
    }

    fn as_it_is(&mut self, out: &mut String, style: Style, text: &str) {
        text.chars().for_each(|c| write_raw(&mut self.wrap, out, style, c));
        self.line = Line::AsItIs(style);
    }
}

fn write_text(wrap: &mut Wrap, inline: &mut Inline, out: &mut String, c: char) {
    if wrap.is_styled() {
        inline.take(c, &mut |style, c| wrap.text(out, style, c));
    } else {
        wrap.text(out, Style::NONE, c);
    }
}

fn write_raw(wrap: &mut Wrap, out: &mut String, style: Style, c: char) {
    if c == '\t' {
        (0..blanks(c)).for_each(|_| wrap.raw(out, style, ' '));
    } else {
        wrap.raw(out, style, c);
    }
}

const RULE_COLUMNS: usize = 40;

#[cfg(test)]
mod tests {
    use super::super::style::unstyled;
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str, is_styled: bool) -> String {
        let mut markdown = Markdown::new(40, is_styled);
        let out = markdown.push(text);
        out + &markdown.finish()
    }

    #[test]
    fn blocks_are_set_and_keep_their_words() {
        for (text, plain) in [
            ("# Title\n\nText", "Title\n\nText\n"),
            ("- one\n- two\n  - in two\n", "• one\n• two\n  • in two\n"),
            ("1. first\n2. second", "1. first\n2. second\n"),
            ("> said\n>> twice", "│ said\n│ │ twice\n"),
            ("---", &*("─".repeat(40) + "\n")),
            (
                "```rust\nlet x = *y;\n\n  # no\n```\n*end*",
                "```rust\nlet x = *y;\n\n  # no\n```\nend\n",
            ),
            ("| a | *b* |\n|---|---|", "| a | *b* |\n|---|---|\n"),
            ("a **b** `c`", "a b c\n"),
            ("", ""),
            ("\n\n", "\n\n"),
        ] {
            assert_eq!(unstyled(&written(text, true)), plain, "{text:?}");
        }
    }

    #[test]
    fn long_lines_go_on_below_their_own_begin() {
        let text = "- a point whose words take more room than there is in one line";
        let set = "• a point whose words take more room\n  than there is in one line\n";
        assert_eq!(unstyled(&written(text, true)), set);
        let code = format!("```\n{}\n```", "word ".repeat(20).trim_end());
        assert_eq!(unstyled(&written(&code, true)), code.clone() + "\n", "code is not wrapped");
    }

    #[test]
    fn without_styles_the_marks_stay() {
        let text = "## Title\n- **bold** and `code`\n";
        assert_eq!(written(text, false), "## Title\n• **bold** and `code`\n");
    }

    #[test]
    fn a_style_ends_with_its_line() {
        let out = written("**never closed\nnext", true);
        assert_eq!(out, "\x1b[0;1mnever closed\x1b[0m\nnext\n");
    }

    #[test]
    fn what_is_clear_is_written_at_once() {
        let mut markdown = Markdown::new(40, true);
        assert_eq!(markdown.push("Some wor"), "Some");
        assert_eq!(markdown.push("ds, **str"), " words,");
        assert_eq!(markdown.push("ong**\n"), " \x1b[0;1mstrong\x1b[0m\n");
    }

    /// Texts in which the marks are frequent.
    fn texts() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("**".to_owned()),
            Just("*".to_owned()),
            Just("_".to_owned()),
            Just("`".to_owned()),
            Just("```".to_owned()),
            Just("~~".to_owned()),
            Just("\n".to_owned()),
            Just("\n- ".to_owned()),
            Just("\n> ".to_owned()),
            Just("\n# ".to_owned()),
            Just("\n12. ".to_owned()),
            Just("\n|".to_owned()),
            Just("\\".to_owned()),
            Just(" ".to_owned()),
            Just("\x1b[31m".to_owned()),
            Just("\u{9b}2J".to_owned()),
            "[a-zé日]{1,30}",
            any::<String>(),
        ];
        prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn it_is_no_matter_in_which_pieces_a_text_comes(
            text in texts(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            is_styled: bool,
        ) {
            let chars: Vec<char> = text.chars().collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(chars.len() + 1)).collect();
            cuts.sort_unstable();
            let mut markdown = Markdown::new(30, is_styled);
            let mut pieces = String::new();
            let mut begin = 0;
            for end in cuts.into_iter().chain([chars.len()]) {
                let piece: String = chars[begin..end].iter().collect();
                pieces += &markdown.push(&piece);
                begin = end;
            }
            pieces += &markdown.finish();
            let mut whole = Markdown::new(30, is_styled);
            let whole = whole.push(&text) + &whole.finish();
            prop_assert_eq!(pieces, whole);
        }

        #[test]
        fn no_sequence_of_the_text_survives(text in texts(), is_styled: bool) {
            let out = written(&text, is_styled);
            let plain = if is_styled { unstyled(&out) } else { out };
            prop_assert!(!plain.contains(|c: char| c.is_control() && c != '\n'), "{plain:?}");
        }

        #[test]
        fn no_letter_is_lost_or_moved(text in texts(), is_styled: bool) {
            let letters = |text: &str| -> String {
                text.chars().filter(|c| c.is_alphanumeric()).collect()
            };
            let out = written(&text, is_styled);
            let plain = if is_styled { unstyled(&out) } else { out };
            prop_assert_eq!(letters(&plain), letters(&text));
        }
    }
}
