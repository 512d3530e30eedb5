//! Turns tokens into text as they come, never showing half a character.

use super::Tokenizer;

/// The text of one answer in the making. One for each stream; the tokenizer is shared.
#[derive(Clone, Debug, Default)]
pub struct StreamDecoder {
    pending: Vec<u8>,
    strips_space: bool,
}

impl StreamDecoder {
    /// A text that goes on from a prompt: a space at its start stays.
    pub fn new() -> Self {
        Self::default()
    }

    /// A text of its own: joined, the pieces equal `Tokenizer::decode`.
    pub fn of_text(tokenizer: &Tokenizer) -> Self {
        Self { pending: Vec::new(), strips_space: tokenizer.begins_with_space() }
    }

    /// Takes the next token and gives the text that is now certain, which may be empty.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> String {
        self.push_bytes(tokenizer.token_bytes(token))
    }

    /// Ends the text: what was held back comes out, with U+FFFD for a broken character.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }

    fn push_bytes(&mut self, mut bytes: &[u8]) -> String {
        if self.strips_space && !bytes.is_empty() {
            self.strips_space = false;
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.pending.extend_from_slice(bytes);
        let certain = certain(&self.pending);
        let text = String::from_utf8_lossy(&self.pending[..certain]).into_owned();
        self.pending.drain(..certain);
        text
    }
}

/// How many of the bytes can be shown: all but the beginning of a character at the end.
fn certain(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match std::str::from_utf8(&bytes[at..]) {
            Ok(_) => return bytes.len(),
            Err(error) => match error.error_len() {
                // Broken for good: it is shown as U+FFFD.
                Some(length) => at += error.valid_up_to() + length,
                // The end of the bytes may be the beginning of a character.
                None => return at + error.valid_up_to(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::gguf::File;
    use crate::testing::shared;

    fn joined(pieces: &[Vec<u8>]) -> String {
        let mut decoder = StreamDecoder::new();
        let mut text: String = pieces.iter().map(|piece| decoder.push_bytes(piece)).collect();
        text.push_str(&decoder.finish());
        text
    }

    proptest! {
        #[test]
        fn pieces_of_any_bytes_joined_equal_the_whole(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5), 0..40),
        ) {
            let whole = pieces.concat();
            prop_assert_eq!(joined(&pieces), String::from_utf8_lossy(&whole));
        }

        #[test]
        fn sound_text_is_never_shown_broken(text in ".{0,40}", cut in 1..4_usize) {
            let mut decoder = StreamDecoder::new();
            for piece in text.as_bytes().chunks(cut) {
                let shown = decoder.push_bytes(piece);
                let broken = shown.contains('\u{fffd}') && !text.contains('\u{fffd}');
                prop_assert!(!broken, "{}", shown);
            }
            prop_assert_eq!(decoder.finish(), "");
        }
    }

    #[test]
    fn answers_of_every_vocabulary_stream_as_their_whole() {
        let Some(folder) = shared("vocabs") else { return };
        let mut vocabularies = 0;
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_none_or(|ending| ending != "gguf") {
                continue;
            }
            let file = File::open(&path).expect("a file");
            let Ok(tokenizer) = Tokenizer::from_gguf(&file) else { continue };
            vocabularies += 1;
            let mut state = 1_u64;
            for _ in 0..200 {
                let tokens: Vec<u32> = (0..60)
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        ((state >> 33) % tokenizer.vocabulary() as u64) as u32
                    })
                    .collect();
                let whole = tokenizer.decode(&tokens);
                let mut decoder = StreamDecoder::of_text(&tokenizer);
                let mut joined = String::new();
                for &token in &tokens {
                    joined.push_str(&decoder.push(&tokenizer, token));
                    assert!(decoder.pending.len() < 4, "half a character at most is held back");
                    assert!(whole.starts_with(&joined), "{}", path.display());
                }
                joined.push_str(&decoder.finish());
                assert_eq!(joined, whole, "{}", path.display());
            }
        }
        assert!(vocabularies > 8, "{vocabularies}");
    }
}
