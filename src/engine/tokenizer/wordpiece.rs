//! WordPiece, as in BERT: words, lower-cased and without accents but where the vocabulary has capital
//! letters, spelled by the longest pieces first.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

use super::TokenizerError;
use super::vocabulary::{Attribute, Vocabulary};
use super::work::step;

/// A WordPiece model.
#[derive(Debug)]
pub(super) struct WordPiece {
    pieces: HashMap<Box<str>, u32>,
    /// No piece is longer, so no longer one is looked for.
    piece_bytes_max: usize,
    unknown: u32,
    lowers: bool,
}

impl WordPiece {
    pub(super) fn new(vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        let pieces = vocabulary.mergeable();
        let named = |name: &str| {
            vocabulary.find(name).filter(|&token| {
                vocabulary.attribute(token) != Some(Attribute::Normal) || token < 1_000
            })
        };
        let unknown = vocabulary.unknown.or_else(|| named("[UNK]"));
        let unknown = unknown.ok_or_else(|| {
            TokenizerError::Damaged("it has no token for what is unknown".to_owned())
        })?;
        // No field says it; a vocabulary that has capital letters was made to be met by them.
        let lowers = !('A'..='Z').any(|c| pieces.contains_key(&*format!("{MARK}{c}")));
        Ok(Self {
            piece_bytes_max: pieces.keys().map(|name| name.len()).max().unwrap_or(0),
            pieces: pieces.into_iter().map(|(name, token)| (name.into(), token)).collect(),
            unknown,
            lowers,
        })
    }

    pub(super) fn encode(&self, text: &str, tokens: &mut Vec<u32>) {
        for mut word in words(text, self.lowers) {
            // In GGUF a piece that begins a word has the mark, and one that goes on has none.
            word.insert(0, MARK);
            let before = tokens.len();
            if word.chars().count() > WORD_CHARS_MAX || !self.spell(&word, tokens) {
                tokens.truncate(before);
                tokens.push(self.unknown);
            }
        }
    }

    /// Spells a word by the longest pieces first; false where there is no piece for what is left.
    fn spell(&self, word: &str, tokens: &mut Vec<u32>) -> bool {
        let mut rest = word;
        while !rest.is_empty() {
            let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8());
            let fits: Vec<usize> = ends.take_while(|end| *end <= self.piece_bytes_max).collect();
            let find = |&end: &usize| {
                step();
                self.pieces.get(&rest[..end]).map(|token| (end, *token))
            };
            let Some((end, token)) = fits.iter().rev().find_map(find) else { return false };
            tokens.push(token);
            rest = &rest[end..];
        }
        true
    }
}

/// Cuts a text into words; punctuation and Chinese characters are words of their own. `lowers`: in
/// lower case and without accents.
fn words(text: &str, lowers: bool) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut take = |c: char| {
        let group = c.general_category_group();
        if c.is_whitespace() {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        } else if lowers && c.general_category() == GeneralCategory::NonspacingMark {
            // Accents that the decomposition took off their letters.
        } else if stands_alone(c, group) {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
            words.push(c.to_string());
        } else if lowers {
            word.extend(c.to_lowercase());
        } else {
            word.push(c);
        }
    };
    let clean = text.chars().filter(|c| !is_dropped(*c));
    if lowers {
        clean.nfd().for_each(&mut take);
    } else {
        clean.for_each(&mut take);
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// Control characters and what is no character.
fn is_dropped(c: char) -> bool {
    let is_other = c.general_category_group() == GeneralCategoryGroup::Other;
    (is_other && !c.is_whitespace()) || c == '\u{fffd}'
}

fn stands_alone(c: char, group: GeneralCategoryGroup) -> bool {
    group == GeneralCategoryGroup::Punctuation
        || c.is_ascii_punctuation()
        || matches!(
            u32::from(c),
            0x4e00..=0x9fff
                | 0x3400..=0x4dbf
                | 0x20000..=0x2a6df
                | 0x2a700..=0x2b73f
                | 0x2b740..=0x2b81f
                | 0x2b820..=0x2ceaf
                | 0xf900..=0xfaff
                | 0x2f800..=0x2fa1f
        )
}

const MARK: char = '\u{2581}';
/// Longer words are unknown: BERT's own limit, and one for the mark.
const WORD_CHARS_MAX: usize = 101;
