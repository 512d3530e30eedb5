//! How text looks on a terminal, and the few sequences that say so: the only ones that this command
//! writes.

/// How a piece of text looks.
#[expect(clippy::struct_excessive_bools, reason = "each is seen beside each other one")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) is_bold: bool,
    pub(super) is_italic: bool,
    pub(super) is_struck: bool,
    /// Of lesser weight: marks, and what the model thinks.
    pub(super) is_faint: bool,
    /// In the colour of code.
    pub(super) is_code: bool,
    /// In the colour of headings.
    pub(super) is_heading: bool,
}

impl Style {
    /// Text of lesser weight.
    pub(super) const FAINT: Self = Self { is_faint: true, ..Self::NONE };
    /// Code.
    pub(super) const CODE: Self = Self { is_code: true, ..Self::NONE };
    /// Text as it is.
    pub(super) const NONE: Self = Self {
        is_bold: false,
        is_italic: false,
        is_struck: false,
        is_faint: false,
        is_code: false,
        is_heading: false,
    };

    /// Says to the terminal that it goes on in this style.
    pub(super) fn begin(self, out: &mut String) {
        out.push_str("\x1b[0");
        let parts = [
            (self.is_bold || self.is_heading, ";1"),
            (self.is_faint, ";2"),
            (self.is_italic, ";3"),
            (self.is_struck, ";9"),
            (self.is_code || self.is_heading, ";36"),
        ];
        for (_, code) in parts.iter().filter(|(is_so, _)| *is_so) {
            out.push_str(code);
        }
        out.push('m');
    }
}

/// Text that is written in styles, one sequence at each change; none at all where the terminal is not
/// to be told.
#[derive(Debug)]
pub(super) struct Ink {
    is_styled: bool,
    now: Style,
}

impl Ink {
    pub(super) fn new(is_styled: bool) -> Self {
        Self { is_styled, now: Style::NONE }
    }

    /// Whether styles are seen.
    pub(super) fn is_styled(&self) -> bool {
        self.is_styled
    }

    /// Writes a character.
    pub(super) fn write(&mut self, out: &mut String, style: Style, c: char) {
        let style = match c {
            // A style would run on over the end of a line, to the edge of the terminal.
            '\n' => Style::NONE,
            // A blank looks the same in most styles.
            ' ' if !self.now.is_struck => self.now,
            _ => style,
        };
        if self.is_styled && style != self.now {
            style.begin(out);
            self.now = style;
        }
        out.push(c);
    }
}

/// A text without the sequences of [`Style`], for tests.
#[cfg(test)]
pub(super) fn unstyled(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[0") {
        plain.push_str(before);
        let end = after.find('m').expect("each sequence ends");
        assert!(after[..end].bytes().all(|b| b == b';' || b.is_ascii_digit()), "{after:?}");
        rest = &after[end + 1..];
    }
    plain + rest
}
