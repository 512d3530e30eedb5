//! What a line of Markdown begins with: enough of it is read to tell, and no more.

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Nothing but blanks.
    Blank,
    /// Text, behind so many blanks.
    Text { indent: usize },
    /// A heading of this level.
    Heading(usize),
    /// A quotation; what follows is read as a line again.
    Quote,
    /// A point of a list, behind so many blanks, with its mark.
    Point { indent: usize, mark: String },
    /// A line across.
    Rule,
    /// A row of a table.
    Row,
    /// The begin of code that goes on to a line that ends it.
    Code(Fence),
}

/// What stands before and behind code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fence {
    mark: char,
    length: usize,
}

impl Fence {
    /// Whether a line that begins so may be the end of the code.
    pub(super) fn may_be(self, head: &str) -> bool {
        head.len() <= HEAD_BYTES_MAX && head.chars().all(|c| c == self.mark || c == ' ')
    }

    /// Whether this whole line is the end.
    pub(super) fn is(self, line: &str) -> bool {
        let marks = line.trim_matches(' ');
        marks.len() >= self.length && marks.chars().all(|c| c == self.mark)
    }
}

/// What a line is, by what has been read of it, and the part of that which is its content; none
/// where more has to be seen. `is_whole`: there is no more of the line.
pub(super) fn block(head: &str, is_whole: bool) -> Option<(Block, &str)> {
    let rest = head.trim_start_matches([' ', '\t']);
    let indent = head[..head.len() - rest.len()].chars().map(blanks).sum();
    let text = || Some((Block::Text { indent }, rest));
    let unsure = || if is_whole || head.len() > HEAD_BYTES_MAX { text() } else { None };
    let Some(first) = rest.chars().next() else {
        return if is_whole { Some((Block::Blank, "")) } else { unsure() };
    };
    let run = rest.chars().take_while(|c| *c == first).count();
    let behind = rest.strip_prefix(first).unwrap_or_default();
    match first {
        '#' if run <= 6 => match rest[run..].chars().next() {
            Some(' ') => Some((Block::Heading(run), rest[run..].trim_start())),
            Some(_) => text(),
            None => unsure(),
        },
        // A blank behind it belongs to it.
        '>' if behind.is_empty() && !is_whole => None,
        '>' => Some((Block::Quote, behind.strip_prefix(' ').unwrap_or(behind))),
        '`' | '~' if run >= 3 => {
            let is_in_text = first == '`' && rest[run..].contains('`');
            if is_in_text || head.len() > HEAD_BYTES_MAX {
                return text();
            }
            is_whole.then_some((Block::Code(Fence { mark: first, length: run }), head))
        }
        '`' | '~' if run == rest.len() => unsure(),
        '-' | '*' | '_' if rest.chars().all(|c| c == first || c == ' ') => {
            let marks = rest.chars().filter(|c| *c == first).count();
            if is_whole && marks >= 3 { Some((Block::Rule, "")) } else { unsure() }
        }
        '-' | '*' | '+' if behind.starts_with(' ') => {
            Some((Block::Point { indent, mark: "• ".to_owned() }, behind.trim_start()))
        }
        '+' if behind.is_empty() => unsure(),
        '0'..='9' => match number(rest) {
            Number::Point(length) => {
                let (mark, content) = rest.split_at(length);
                Some((Block::Point { indent, mark: mark.to_owned() }, content))
            }
            Number::Unsure => unsure(),
            Number::Text => text(),
        },
        '|' => Some((Block::Row, head)),
        _ => text(),
    }
}

/// The columns of a blank.
pub(super) fn blanks(c: char) -> usize {
    if c == '\t' { TAB } else { 1 }
}

enum Number {
    /// The mark of a point, of so many bytes with the blank behind it.
    Point(usize),
    Unsure,
    Text,
}

fn number(rest: &str) -> Number {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    match &rest.as_bytes()[digits..] {
        _ if digits > DIGITS_MAX => Number::Text,
        [] | [b'.' | b')'] => Number::Unsure,
        [b'.' | b')', b' ', ..] => Number::Point(digits + 2),
        _ => Number::Text,
    }
}

/// The longest begin of a line that is held back.
const HEAD_BYTES_MAX: usize = 200;
const DIGITS_MAX: usize = 9;
const TAB: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_known_by_its_begin() {
        let point = |indent, mark: &str| Block::Point { indent, mark: mark.to_owned() };
        let text = |indent| Block::Text { indent };
        for (head, known, content) in [
            ("H", text(0), "H"),
            ("  in", text(2), "in"),
            ("# ", Block::Heading(1), ""),
            ("###### ", Block::Heading(6), ""),
            ("####### ", text(0), "####### "),
            ("#x", text(0), "#x"),
            (">q", Block::Quote, "q"),
            ("> ", Block::Quote, ""),
            ("- x", point(0, "• "), "x"),
            ("\t* x", point(4, "• "), "x"),
            ("+ x", point(0, "• "), "x"),
            ("-x", text(0), "-x"),
            ("*e", text(0), "*e"),
            ("**b", text(0), "**b"),
            ("12. ", point(0, "12. "), ""),
            ("1) ", point(0, "1) "), ""),
            ("1.5", text(0), "1.5"),
            ("1234567890", text(0), "1234567890"),
            ("`x", text(0), "`x"),
            ("```a`", text(0), "```a`"),
            ("|", Block::Row, "|"),
        ] {
            assert_eq!(block(head, false), Some((known, content)), "{head:?}");
        }
    }

    #[test]
    fn more_is_read_where_it_is_not_clear() {
        for (head, whole) in [
            ("", Block::Blank),
            ("  ", Block::Blank),
            ("##", Block::Text { indent: 0 }),
            ("-", Block::Text { indent: 0 }),
            ("- - -", Block::Rule),
            ("***", Block::Rule),
            ("__", Block::Text { indent: 0 }),
            ("2026", Block::Text { indent: 0 }),
            ("12.", Block::Text { indent: 0 }),
            ("``", Block::Text { indent: 0 }),
            ("```rust", Block::Code(Fence { mark: '`', length: 3 })),
            (">", Block::Quote),
        ] {
            assert_eq!(block(head, false), None, "{head:?}");
            assert_eq!(block(head, true).map(|(block, _)| block), Some(whole), "{head:?}");
        }
    }

    #[test]
    fn nothing_is_held_back_for_ever() {
        for head in [" ", "-", "#", "`", "~", "_", "1", "* ", "```"] {
            let long = head.repeat(HEAD_BYTES_MAX + 1);
            assert!(block(&long, false).is_some(), "{head:?}");
        }
    }

    #[test]
    fn code_ends_at_a_fence_as_long_as_its_own() {
        let fence = Fence { mark: '`', length: 4 };
        for (line, may_be, is) in [
            ("```", true, false),
            ("````", true, true),
            ("  ````` ", true, true),
            ("", true, false),
            ("~~~~", false, false),
            ("````x", false, false),
        ] {
            assert_eq!((fence.may_be(line), fence.is(line)), (may_be, is), "{line:?}");
        }
    }
}
