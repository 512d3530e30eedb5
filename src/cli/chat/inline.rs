//! Marks inside a line of Markdown: strong, emphasised, struck, code. A mark is held back until the
//! character behind it is seen, since that tells what it is.

use super::style::Style;

/// A line, as far as it has been read.
#[derive(Debug)]
pub(super) struct Inline {
    base: Style,
    /// The mark that began it.
    strong: Option<char>,
    emphasis: Option<char>,
    is_struck: bool,
    /// The number of marks that began it.
    code: Option<usize>,
    held: Held,
    before: char,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    /// So many of one mark.
    Marks(char, usize),
    Backslash,
}

impl Inline {
    /// A line whose text looks like this where nothing else is said.
    pub(super) fn new(base: Style) -> Self {
        Self {
            base,
            strong: None,
            emphasis: None,
            is_struck: false,
            code: None,
            held: Held::Nothing,
            before: ' ',
        }
    }

    /// Takes a character; gives on what is to be shown.
    pub(super) fn take(&mut self, c: char, show: &mut impl FnMut(Style, char)) {
        match self.held {
            Held::Marks(mark, count) if mark == c && count < MARKS_MAX => {
                self.held = Held::Marks(mark, count + 1);
                return;
            }
            Held::Backslash => {
                self.held = Held::Nothing;
                if c.is_ascii_punctuation() {
                    self.show(c, show);
                    return;
                }
                self.show('\\', show);
            }
            Held::Marks(..) | Held::Nothing => self.settle(c, show),
        }
        match c {
            '`' => self.held = Held::Marks(c, 1),
            '*' | '_' | '~' if self.code.is_none() => self.held = Held::Marks(c, 1),
            '\\' if self.code.is_none() => self.held = Held::Backslash,
            c => self.show(c, show),
        }
    }

    /// Ends the line.
    pub(super) fn end(&mut self, show: &mut impl FnMut(Style, char)) {
        if self.held == Held::Backslash {
            self.show('\\', show);
        }
        self.settle(' ', show);
    }

    fn show(&mut self, c: char, show: &mut impl FnMut(Style, char)) {
        let style = Style {
            is_bold: self.base.is_bold || self.strong.is_some(),
            is_italic: self.base.is_italic || self.emphasis.is_some(),
            is_struck: self.base.is_struck || self.is_struck,
            is_code: self.base.is_code || self.code.is_some(),
            ..self.base
        };
        show(style, c);
        self.before = c;
    }

    /// Finds out what the marks are that were held back before this character.
    fn settle(&mut self, after: char, show: &mut impl FnMut(Style, char)) {
        let Held::Marks(mark, count) = self.held else { return };
        self.held = Held::Nothing;
        let is_mark = match mark {
            '`' => self.settle_code(count),
            '~' => count == 2 && self.settle_struck(after),
            _ => self.settle_emphasis(mark, count, after),
        };
        if is_mark {
            self.before = mark;
        } else {
            (0..count).for_each(|_| self.show(mark, show));
        }
    }

    fn settle_code(&mut self, count: usize) -> bool {
        let is_mark = self.code.is_none_or(|begun| begun == count);
        if is_mark {
            self.code = if self.code.is_some() { None } else { Some(count) };
        }
        is_mark
    }

    fn settle_struck(&mut self, after: char) -> bool {
        let is_mark = if self.is_struck { self.may_close(after) } else { self.may_open(after) };
        self.is_struck ^= is_mark;
        is_mark
    }

    fn settle_emphasis(&mut self, mark: char, count: usize, after: char) -> bool {
        // `snake_case` and `2*3*4` are no emphasis.
        let is_within = self.before.is_alphanumeric() && after.is_alphanumeric();
        let is_apart = !is_within || (mark == '*' && count > 1);
        let (opens, closes) = (is_apart && self.may_open(after), is_apart && self.may_close(after));
        let parts: &[bool] = match count {
            1 => &[false],
            2 => &[true],
            3 if self.emphasis.is_some() => &[false, true],
            3 => &[true, false],
            _ => return false,
        };
        let fits = |slot: Option<char>| match slot {
            Some(begun) => begun == mark && closes,
            None => opens,
        };
        let slot = |inline: &Self, is_strong| {
            if is_strong { inline.strong } else { inline.emphasis }
        };
        if !parts.iter().all(|is_strong| fits(slot(self, *is_strong))) {
            return false;
        }
        for is_strong in parts {
            let slot = if *is_strong { &mut self.strong } else { &mut self.emphasis };
            *slot = if slot.is_some() { None } else { Some(mark) };
        }
        true
    }

    // The rules of CommonMark for what can stand at the begin and the end of emphasis.
    fn may_open(&self, after: char) -> bool {
        !after.is_whitespace() && (!is_punctuation(after) || !self.before.is_alphanumeric())
    }

    fn may_close(&self, after: char) -> bool {
        !self.before.is_whitespace() && (!is_punctuation(self.before) || !after.is_alphanumeric())
    }
}

fn is_punctuation(c: char) -> bool {
    !c.is_alphanumeric() && !c.is_whitespace()
}

/// More marks than this are no mark.
const MARKS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown, with `<b>` and the like for the styles.
    fn seen(text: &str) -> String {
        let mut inline = Inline::new(Style::NONE);
        let mut shown: Vec<(Style, char)> = Vec::new();
        let mut show = |style, c| shown.push((style, c));
        text.chars().for_each(|c| inline.take(c, &mut show));
        inline.end(&mut show);
        let mut marked = String::new();
        let mut now = Style::NONE;
        for (style, c) in shown.into_iter().chain([(Style::NONE, ' ')]) {
            for (was, is, name) in [
                (now.is_bold, style.is_bold, 'b'),
                (now.is_italic, style.is_italic, 'i'),
                (now.is_struck, style.is_struck, 's'),
                (now.is_code, style.is_code, 'c'),
            ] {
                if was != is {
                    marked.push_str(if is { "<" } else { "</" });
                    marked.extend([name, '>']);
                }
            }
            marked.push(c);
            now = style;
        }
        marked.trim_end().to_owned()
    }

    #[test]
    fn marks_become_styles() {
        for (text, marked) in [
            ("plain", "plain"),
            ("**bold** text", "<b>bold</b> text"),
            ("__bold__", "<b>bold</b>"),
            ("an *emphasised* word", "an <i>emphasised</i> word"),
            ("_so_, too", "<i>so</i>, too"),
            ("***both***", "<b><i>both</b></i>"),
            ("**bold *and* more**", "<b>bold <i>and</i> more</b>"),
            ("~~gone~~", "<s>gone</s>"),
            ("`code *x*`", "<c>code *x*</c>"),
            ("``a ` b``", "<c>a ` b</c>"),
            ("(**bold**)", "(<b>bold</b>)"),
            ("**x**yz", "<b>x</b>yz"),
        ] {
            assert_eq!(seen(text), marked, "{text}");
        }
    }

    #[test]
    fn what_is_no_mark_is_text() {
        for text in ["snake_case_name", "2*3*4", "2 * 3 * 4", "a ~ b ~~~ c", "a * b", "****"] {
            assert_eq!(seen(text), text);
        }
        assert_eq!(seen(r"\*not\* \`this\`"), "*not* `this`");
        assert_eq!(seen(r"C:\dir\"), r"C:\dir\");
    }
}
