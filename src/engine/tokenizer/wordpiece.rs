//! WordPiece, as in BERT: words, lower-cased and without accents but where the vocabulary has capital
//! letters, spelled by the longest pieces first.

use ahash::AHashMap;
use tokenizers::Model as _;
use tokenizers::models::wordpiece::WordPiece as Pieces;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

use super::TokenizerError;
use super::vocabulary::{Attribute, Vocabulary};

/// A WordPiece model.
#[derive(Debug)]
pub(super) struct WordPiece {
    pieces: Pieces,
    lowers: bool,
}

impl WordPiece {
    pub(super) fn new(vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        let mut pieces: AHashMap<String, u32> = vocabulary
            .mergeable()
            .into_iter()
            .map(|(name, token)| (name.to_owned(), token))
            .collect();
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
        let lowers = !('A'..='Z').any(|c| pieces.contains_key(&format!("\u{2581}{c}")));
        // The crate looks the unknown token up by name. No text contains a noncharacter: they are
        // dropped with the control characters below.
        pieces.insert(UNKNOWN.to_owned(), unknown);
        let pieces = Pieces::builder()
            .vocab(pieces)
            .unk_token(UNKNOWN.to_owned())
            .continuing_subword_prefix(String::new())
            .max_input_chars_per_word(WORD_CHARS_MAX)
            .build()
            .map_err(|error| TokenizerError::Damaged(error.to_string()))?;
        Ok(Self { pieces, lowers })
    }

    pub(super) fn encode(&self, text: &str, tokens: &mut Vec<u32>) {
        for word in words(text, self.lowers) {
            // In GGUF a piece that begins a word has the mark, and one that goes on has none.
            let word = format!("\u{2581}{word}");
            if let Ok(found) = self.pieces.tokenize(&word) {
                tokens.extend(found.iter().map(|token| token.id));
            }
        }
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

const UNKNOWN: &str = "\u{fdd0}";
/// Longer words are unknown: BERT's own limit, and one for the mark.
const WORD_CHARS_MAX: usize = 101;
