//! What the guard knows of characters: which show nothing, which turn a line around, which Latin
//! letter another one imitates.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// Whether a character has no glyph of its own (tags, zero-width, bidi controls, fillers).
pub fn is_invisible(c: char) -> bool {
    is_tag(c)
        || is_bidi(c)
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0100}'..='\u{e01ef}')
}

/// Whether a character is nothing to whoever reads: it shows nothing, and no word ends at it.
pub fn is_nothing(c: char) -> bool {
    let is_control = c.is_control() && !c.is_whitespace();
    let is_format = |c: char| c.general_category() == GeneralCategory::Format;
    is_control || !c.is_ascii() && (is_invisible(c) || is_format(c))
}

/// Whether a character is a dash, a hyphen or the sign of minus.
pub fn is_dash(c: char) -> bool {
    let is_dash = |c: char| c.general_category() == GeneralCategory::DashPunctuation;
    c == '-' || c == '\u{2212}' || !c.is_ascii() && is_dash(c)
}

/// Whether a character embeds, overrides or isolates a direction. The marks that only give the
/// direction of their place (U+200E, U+200F, U+061C) belong to ordinary Hebrew and Arabic.
pub fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character is of the tag block.
pub fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// Whether a character is a combining mark.
pub fn is_mark(c: char) -> bool {
    !c.is_ascii()
        && matches!(
            c.general_category(),
            GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark
        )
}

/// Whether a mark spells a sound where it stands: in scripts that write vowels or tones as marks, a
/// word without them is another word. On other letters a mark changes the look, and in scripts
/// that leave vowels out (Arabic, Hebrew) both ways of writing are one word.
pub fn spells(mark: char, base: Option<char>) -> bool {
    let is_of_no_script = matches!(mark, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}'
        | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe20}'..='\u{fe2f}');
    let needs_marks = |base: char| {
        matches!(base, '\u{900}'..='\u{109f}' | '\u{1700}'..='\u{1aaf}' | '\u{1b00}'..='\u{1c4f}'
            | '\u{3041}'..='\u{30ff}' | '\u{a800}'..='\u{abff}' | '\u{11000}'..='\u{11fff}')
    };
    !is_of_no_script && base.is_some_and(needs_marks)
}

/// Whether a character of this kind may stand beside a joiner: emoji, and the scripts in which
/// joiners choose the form of a letter (Arabic to Mongolian, and the blocks for them above).
pub fn takes_joiner(c: char) -> bool {
    matches!(c, '\u{600}'..='\u{8ff}' | '\u{900}'..='\u{dff}' | '\u{e00}'..='\u{109f}'
        | '\u{1780}'..='\u{18af}' | '\u{1a20}'..='\u{1aaf}' | '\u{1b00}'..='\u{1c4f}'
        | '\u{a840}'..='\u{abff}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}'
        | '\u{10a00}'..='\u{11fff}' | '\u{1e900}'..='\u{1e95f}')
        || is_emoji(c)
}

/// Whether a character is, or may be shown as, an emoji.
pub fn is_emoji(c: char) -> bool {
    matches!(c, '#' | '*' | '0'..='9' | '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}'
        | '\u{20e3}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{21ff}'
        | '\u{2300}'..='\u{27bf}' | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}'
        | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{fe0f}'
        | '\u{1f000}'..='\u{1faff}')
}

/// Writes a character in lower case, a look-alike as the Latin letter that it imitates.
pub fn fold(c: char, out: &mut String) {
    let latin = match c {
        'а' | 'А' | 'α' | 'Α' => 'a',
        'В' | 'Β' => 'b',
        'с' | 'С' => 'c',
        'ԁ' => 'd',
        'е' | 'Е' | 'Ε' => 'e',
        'һ' | 'Н' | 'Η' => 'h',
        'і' | 'І' | 'ι' | 'Ι' => 'i',
        'ј' | 'Ј' => 'j',
        'К' | 'к' | 'κ' | 'Κ' => 'k',
        'М' | 'м' | 'Μ' => 'm',
        'Ν' => 'n',
        'о' | 'О' | 'ο' | 'Ο' => 'o',
        'р' | 'Р' | 'ρ' | 'Ρ' => 'p',
        'ѕ' | 'Ѕ' => 's',
        'Т' | 'т' | 'τ' | 'Τ' => 't',
        'у' | 'У' | 'Υ' => 'y',
        'ν' => 'v',
        'ѡ' => 'w',
        'х' | 'Х' | 'Χ' => 'x',
        'Ζ' => 'z',
        c => return out.extend(c.to_lowercase()),
    };
    out.push(latin);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_show_and_joiners_do_not() {
        for c in ['a', 'é', '漢', 'ب', '\u{301}', ' ', '\n', '😀'] {
            assert!(!is_invisible(c), "{c:?}");
        }
        for c in ['\u{200b}', '\u{200d}', '\u{feff}', '\u{e0041}', '\u{202e}', '\u{ad}'] {
            assert!(is_invisible(c), "{c:?}");
        }
    }
}
