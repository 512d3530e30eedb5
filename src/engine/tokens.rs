//! Texts and tokens for whoever asks to see them: counting and looking, not the way to a model.

use super::Engine;
use super::embedding::Embedder;
use super::tokenizer::{Special, Tokenizer};

/// How a text becomes tokens that somebody wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Whether those stand around it that the model expects around a text.
    pub is_framed: bool,
    /// Whether the names of control tokens in it become those tokens.
    pub special: Special,
}

/// A token as it stands in the vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its name in the model's file.
    pub name: String,
    /// What it stands for; of a control token, the name.
    pub bytes: Vec<u8>,
}

impl Piece {
    fn of(tokenizer: &Tokenizer, token: u32) -> Self {
        let name = tokenizer.token_name(token).unwrap_or_default().to_owned();
        let bytes = match tokenizer.token_bytes(token) {
            [] => name.as_bytes(),
            bytes => bytes,
        };
        Self { bytes: bytes.to_vec(), name }
    }
}

impl Engine {
    /// Turns a text into tokens as `Engine::tokenize` does, or without the frame, or with control
    /// tokens. Nothing that comes of it is a prompt.
    pub fn read(&self, text: &str, reading: Reading) -> Vec<u32> {
        if reading.is_framed && reading.special == Special::Plain {
            return self.tokenize(text);
        }
        let tokenizer = &self.inner.tokenizer;
        let mut tokens = tokenizer.encode(text, reading.special);
        let bos = tokenizer.bos().filter(|_| reading.is_framed && tokenizer.adds_bos());
        if bos.is_some() && tokens.first().copied() != bos {
            tokens.splice(0..0, bos);
        }
        tokens
    }

    /// A token as it stands in the vocabulary.
    pub fn piece(&self, token: u32) -> Piece {
        Piece::of(&self.inner.tokenizer, token)
    }
}

impl Embedder {
    /// Turns a text of any length into tokens, framed as `Embedder::text` frames it, or not.
    pub fn read(&self, text: &str, reading: Reading) -> Vec<u32> {
        let tokens = self.tokenizer().encode(text, reading.special);
        if reading.is_framed { self.framed(&tokens) } else { tokens }
    }

    /// A token as it stands in the vocabulary.
    pub fn piece(&self, token: u32) -> Piece {
        Piece::of(self.tokenizer(), token)
    }
}
