//! Text to tokens and back, as the model's own file describes it. Knows no chat and no person.

mod error;
mod stream;

pub use error::TokenizerError;
pub use stream::StreamDecoder;

use super::gguf::File;

/// Whether the names of control tokens in a text become those tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// They are text like any other: for what people wrote.
    Plain,
    /// They become control tokens: for what a chat template wrote.
    Parse,
}

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    tokens: Vec<String>,
}

impl Tokenizer {
    /// Builds the tokenizer that a model file describes.
    pub fn from_gguf(file: &File) -> Result<Self, TokenizerError> {
        let tokens = file.strings("tokenizer.ggml.tokens")?.unwrap_or_default();
        Ok(Self { tokens: tokens.into_iter().map(str::to_owned).collect() })
    }

    /// How many tokens it knows.
    pub fn vocabulary(&self) -> usize {
        self.tokens.len()
    }

    /// Turns a text into tokens; adds no token that the text does not have.
    pub fn encode(&self, _text: &str, _special: Special) -> Vec<u32> {
        Vec::new()
    }

    /// Turns tokens into text. Control tokens give nothing; broken characters give U+FFFD.
    pub fn decode(&self, _tokens: &[u32]) -> String {
        String::new()
    }

    /// The bytes that a token stands for; none for a control token or a number without a token.
    pub fn token_bytes(&self, _token: u32) -> &[u8] {
        &[]
    }

    /// The token's own name in the file, control tokens too.
    pub fn token_name(&self, token: u32) -> Option<&str> {
        self.tokens.get(token as usize).map(String::as_str)
    }

    /// The token that begins a text, if the model has one.
    pub fn bos(&self) -> Option<u32> {
        None
    }

    /// The token that ends a text, if the model has one.
    pub fn eos(&self) -> Option<u32> {
        None
    }

    /// Whether the model expects `bos` in front of every text.
    pub fn adds_bos(&self) -> bool {
        false
    }

    /// Whether an answer ends with this token.
    pub fn ends_answer(&self, _token: u32) -> bool {
        false
    }

    /// Whether this is a control token, never part of a text.
    pub fn is_control(&self, _token: u32) -> bool {
        false
    }
}
