//! Characters that hide text or turn it around.

use super::Detector;
use crate::guard::finding::{Category as C, Finding};
use crate::guard::unicode::{is_bidi, is_emoji, is_invisible, is_mark, is_tag, takes_joiner};
use crate::guard::view::View;

/// More marks than this on one letter is not a script any more.
const MARKS_MAX: usize = 4;

/// Invisible characters, tags, bidi controls, stacked marks.
pub(super) struct Unicode;

impl Detector for Unicode {
    fn name(&self) -> &'static str {
        "unicode"
    }

    fn categories(&self) -> &'static [C] {
        &[C::UnicodeInvisible, C::UnicodeTags, C::UnicodeBidi, C::UnicodeZalgo]
    }

    fn find(&self, view: &View<'_>, found: &mut Vec<Finding>) {
        let raw = view.raw();
        if raw.is_ascii() {
            return;
        }
        let (mut before, mut marks, mut is_flag) = (None, 0, false);
        let mut chars = raw.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let after = chars.peek().map(|(_, c)| *c);
            let end = at + c.len_utf8();
            if is_mark(c) && !is_invisible(c) {
                marks += 1;
                if marks > MARKS_MAX {
                    add(found, C::UnicodeZalgo, at..end);
                }
                continue;
            }
            marks = 0;
            is_flag = c == '\u{1f3f4}' || (is_flag && is_tag(c));
            if is_tag(c) {
                if !is_flag {
                    add(found, C::UnicodeTags, at..end);
                }
            } else if is_bidi(c) {
                add(found, C::UnicodeBidi, at..end);
            } else if is_invisible(c) && !belongs(c, before, after, at) {
                add(found, C::UnicodeInvisible, at..end);
            }
            before = Some(c);
        }
    }
}

/// Whether an invisible character has work to do where it stands.
fn belongs(c: char, before: Option<char>, after: Option<char>, at: usize) -> bool {
    match c {
        '\u{200c}' | '\u{200d}' => {
            before.is_some_and(takes_joiner) && (c == '\u{200c}' || after.is_some_and(takes_joiner))
        }
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => {
            before.is_some_and(|b| is_emoji(b) || ('\u{3000}'..='\u{3ffff}').contains(&b))
        }
        // A soft hyphen is typography, a byte order mark begins a file, direction marks belong to
        // text that mixes directions, the rest of the list to the script that they are made for.
        '\u{ad}' | '\u{61c}' | '\u{200e}' | '\u{200f}' => true,
        '\u{feff}' => at == 0,
        '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' => before.is_some_and(takes_joiner),
        _ => false,
    }
}

/// Adds a finding, or makes the last one longer where it ends here.
fn add(found: &mut Vec<Finding>, category: C, span: std::ops::Range<usize>) {
    if let Some(last) = found.last_mut()
        && last.category == category
        && last.span.end == span.start
    {
        last.span.end = span.end;
        return;
    }
    found.push(Finding { detector: "unicode", category, score: 1.0, span });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: &[(C, &str)]) {
        let mut found = Vec::new();
        Unicode.find(&View::new(text), &mut found);
        let got: Vec<_> = found.iter().map(|f| (f.category, &text[f.span.clone()])).collect();
        assert_eq!(got, wanted, "{text:?}");
    }

    #[test]
    fn hidden_characters_are_found() {
        check("a\u{200b}b", &[(C::UnicodeInvisible, "\u{200b}")]);
        check("a\u{200d}b", &[(C::UnicodeInvisible, "\u{200d}")]);
        check("x\u{e0068}\u{e0069}y", &[(C::UnicodeTags, "\u{e0068}\u{e0069}")]);
        check("a\u{202e}b\u{202c}", &[(C::UnicodeBidi, "\u{202e}"), (C::UnicodeBidi, "\u{202c}")]);
        check(&format!("e{}", "\u{301}".repeat(6)), &[(C::UnicodeZalgo, "\u{301}\u{301}")]);
    }

    #[test]
    fn legitimate_uses_are_left_alone() {
        for text in [
            "👨\u{200d}👩\u{200d}👧",
            "❤\u{fe0f}",
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "Tiếng Việt, naïve, Ἑλληνικά",
            "שלום\u{200f} 12",
            "漢字と仮名",
        ] {
            check(text, &[]);
        }
    }
}
