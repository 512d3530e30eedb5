//! The map by which a SentencePiece model normalises text (`precompiled_charsmap`): a trie as a
//! double array (Aoe, 1989), whose values are places in a list of texts that end in a zero byte.
//!
//! The layout is that of the Darts-clone library: a unit of 32 bits has a label (bits 0 to 7 and
//! 31), whether a value follows (bit 8), and an offset (bits 10 to 30, times 256 where bit 9 is
//! set). The file may hold anything: every step looks at the bounds.

use super::TokenizerError;
use crate::engine::gguf::File;

/// The map; without rules it changes nothing.
#[derive(Debug, Default)]
pub(super) struct CharsMap {
    units: Vec<u32>,
    texts: Vec<u8>,
}

/// The published ones have under 400,000 bytes.
const BYTES_MAX: usize = 16 << 20;
/// No rule of theirs is for more bytes, or gives more.
const RULE_BYTES_MAX: usize = 256;

impl CharsMap {
    /// Reads the map of a model file; one without rules where the file has none.
    pub(super) fn from_gguf(file: &File) -> Result<Self, TokenizerError> {
        let Some(bytes) = file.byte_list("tokenizer.ggml.precompiled_charsmap")? else {
            return Ok(Self::default());
        };
        if bytes.len() > BYTES_MAX {
            let problem = format!("its map of characters has over {BYTES_MAX} bytes");
            return Err(TokenizerError::Damaged(problem));
        }
        Self::parse(bytes).ok_or_else(|| {
            TokenizerError::Damaged("its map of characters ends too early".to_owned())
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let (size, rest) = bytes.split_first_chunk::<4>()?;
        let (trie, texts) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        let (units, left) = trie.as_chunks::<4>();
        if !left.is_empty() || units.is_empty() {
            return None;
        }
        let units = units.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        Some(Self { units, texts: texts.to_vec() })
    }

    /// Replaces, from the front on, the longest beginning that has a rule.
    pub(super) fn normalise(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let (length, new) = match self.longest(rest) {
                Some((length, new)) => (length, new),
                None => (c.len_utf8(), &rest[..c.len_utf8()]),
            };
            out.push_str(new);
            rest = &rest[length..];
        }
        out
    }

    /// The length of the longest beginning of the text that has a rule, and what stands for it.
    fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let offset = |unit: u32| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let unit = |at: u32| self.units.get(at as usize).copied();
        let mut at = offset(unit(0)?);
        let mut found = None;
        for (index, byte) in text.bytes().enumerate().take(RULE_BYTES_MAX) {
            at ^= u32::from(byte);
            let Some(node) = unit(at).filter(|unit| unit & (1 << 31 | 0xff) == u32::from(byte))
            else {
                break;
            };
            at ^= offset(node);
            if node & (1 << 8) != 0
                && text.is_char_boundary(index + 1)
                && let Some(new) = unit(at).and_then(|value| self.text(value & (u32::MAX >> 1)))
            {
                found = Some((index + 1, new));
            }
        }
        found
    }

    /// The text that begins there; none where it is no UTF-8.
    fn text(&self, at: u32) -> Option<&str> {
        let rest = self.texts.get(at as usize..)?;
        let end = rest.iter().take(RULE_BYTES_MAX).position(|byte| *byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_map_that_is_cut_off_is_refused() {
        for bytes in [&[1_u8][..], &[4, 0, 0, 0], &[3, 0, 0, 0, 1, 2, 3], &[0, 0, 0, 0]] {
            assert!(CharsMap::parse(bytes).is_none(), "{bytes:?}");
        }
        assert_eq!(CharsMap::default().normalise("a\u{fb01}"), "a\u{fb01}");
    }

    proptest! {
        #[test]
        fn no_map_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 4..400), text in ".{0,40}") {
            let size = (bytes.len() as u32 / 2) & !3;
            let mut whole = size.to_le_bytes().to_vec();
            whole.extend(&bytes);
            if let Some(map) = CharsMap::parse(&whole) {
                map.normalise(&text);
            }
        }
    }
}
