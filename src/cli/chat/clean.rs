//! What a terminal may be sent of a text that somebody else wrote: no control character, no escape
//! sequence, nothing that turns the direction of writing around.

/// The character as it may be shown; none where it is left out.
///
/// A control character is shown as its picture, so that an attempt is seen and does nothing.
pub(super) fn shown(c: char) -> Option<char> {
    let picture = |code: u32| char::from_u32(0x2400 + code);
    match c {
        '\n' | '\t' => Some(c),
        // What stands before the end of a line in files of other systems.
        '\r' => None,
        '\0'..='\x1f' => picture(c as u32),
        '\x7f' => Some('\u{2421}'),
        // C1 controls, of which U+009B begins a sequence as `ESC [` does.
        '\u{80}'..='\u{9f}'
        // Separators that some terminals take for the end of a line.
        | '\u{2028}' | '\u{2029}'
        // Embeddings, overrides and isolates of the direction of writing.
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Annotations, and the tags in which text can be hidden.
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => Some('\u{fffd}'),
        c => Some(c),
    }
}

/// A text of several lines as it may be shown.
pub(in crate::cli) fn text(raw: &str) -> String {
    raw.chars().filter_map(shown).collect()
}

/// A text as it may be shown in one line, and no longer than a line of a report: a name, a path, a
/// sentence of the server.
pub(super) fn line(raw: &str) -> String {
    let mut line: String = raw.chars().filter_map(shown).take(LINE_CHARS_MAX).collect();
    if raw.chars().nth(LINE_CHARS_MAX).is_some() {
        line.push('…');
    }
    line.replace(['\n', '\t'], " ")
}

const LINE_CHARS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sequences_for_terminals_are_shown_and_do_nothing() {
        for (raw, seen) in [
            ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
            ("\x1b]0;title\x07", "␛]0;title␇"),
            ("\u{9b}31m", "\u{fffd}31m"),
            ("safe\r\nlines\r", "safe\nlines"),
            ("a\x08b\x7f", "a␈b␡"),
            ("user\u{202e}txt.exe", "user\u{fffd}txt.exe"),
            ("tabs\tstay", "tabs\tstay"),
            ("Zoë 日本 👩‍🚀", "Zoë 日本 👩‍🚀"),
        ] {
            assert_eq!(text(raw), seen, "{raw:?}");
        }
    }

    #[test]
    fn a_line_is_one_line_and_short() {
        assert_eq!(line("two\nlines\x1b[2J"), "two lines␛[2J");
        assert_eq!(line(&"x".repeat(900)).chars().count(), LINE_CHARS_MAX + 1);
    }

    proptest! {
        #[test]
        fn no_control_character_survives(raw in any::<String>()) {
            let is_kept = |c: char| c.is_control() && c != '\n' && c != '\t';
            prop_assert!(!text(&raw).contains(is_kept));
            prop_assert!(!line(&raw).contains(char::is_control));
        }
    }
}
