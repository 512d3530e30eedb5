//! BPE over bytes, as in GPT-2 and most models since: a text is cut into words, the bytes of a
//! word are spelled in an alphabet of 256 printable characters, and pairs are merged by rank.

use ahash::AHashMap;
use tokenizers::Model as _;
use tokenizers::models::bpe::BPE;

use super::TokenizerError;
use super::vocabulary::Vocabulary;
use super::words::Words;
use crate::engine::gguf::File;

/// A BPE model and the way it cuts words.
#[derive(Debug)]
pub(super) struct Bpe {
    words: Words,
    merges: BPE,
}

impl Bpe {
    pub(super) fn new(vocabulary: &Vocabulary, file: &File) -> Result<Self, TokenizerError> {
        let words = Words::named(file.string("tokenizer.ggml.pre")?)?;
        let pieces = vocabulary.mergeable();
        let lines = file.strings("tokenizer.ggml.merges")?.unwrap_or_default();
        let mut merges = Vec::with_capacity(lines.len());
        let mut merged = String::new();
        for line in lines {
            // Neither half is empty, and a half may begin with a space but never ends in one.
            let cut = line.char_indices().skip(1).find(|&(_, c)| c == ' ').map(|(at, _)| at);
            let Some((left, right)) = cut.map(|at| (&line[..at], &line[at + 1..])) else {
                let problem = format!("the merge {line:?} has one half");
                return Err(TokenizerError::Damaged(problem));
            };
            merged.clear();
            merged.push_str(left);
            merged.push_str(right);
            // Merges into something that is no token, or is a control token, can never be used.
            if [left, right, &merged].iter().all(|name| pieces.contains_key(name)) {
                merges.push((left.to_owned(), right.to_owned()));
            }
        }
        let pieces = pieces.into_iter().map(|(name, token)| (name.to_owned(), token));
        let model = BPE::builder()
            .vocab_and_merges(pieces.collect::<AHashMap<_, _>>(), merges)
            .ignore_merges(words.takes_whole_words())
            // The crate's cache keeps words of one person for the next: no.
            .cache_capacity(0)
            .build()
            .map_err(|error| TokenizerError::Damaged(error.to_string()))?;
        Ok(Self { words, merges: model })
    }

    pub(super) fn encode(&self, text: &str, tokens: &mut Vec<u32>) {
        let mut spelled = String::new();
        for word in self.words.cut(text) {
            spelled.clear();
            spelled.extend(word.bytes().map(char_of));
            // The crate fails only for an unknown token that is named and missing; none is named.
            if let Ok(found) = self.merges.tokenize(&spelled) {
                tokens.extend(found.iter().map(|token| token.id));
            }
        }
    }
}

/// The character that stands for a byte: itself where it is printable in Latin-1, else one of the
/// characters from U+0100 on, in the order of the bytes that are left (GPT-2's `bytes_to_unicode`).
pub(super) fn char_of(byte: u8) -> char {
    let shifted = match byte {
        0x00..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x121 + u32::from(byte - 0x7f),
        0xad => 0x143,
        _ => u32::from(byte),
    };
    char::from_u32(shifted).unwrap_or('\u{fffd}')
}

/// The byte that a character stands for.
pub(super) fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        0x100..=0x120 => Some((u32::from(c) - 0x100) as u8),
        0x121..=0x142 => Some((u32::from(c) - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_letter_of_its_own() {
        let mut letters: Vec<char> = (0..=255).map(char_of).collect();
        assert!((0..=255).all(|byte| byte_of(char_of(byte)) == Some(byte)));
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), 256);
    }
}
