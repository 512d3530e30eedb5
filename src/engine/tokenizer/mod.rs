//! Text to tokens and back, as the model's own file describes it. Knows no chat and no person.
//!
//! A text is first cut at the added tokens that stand in it (`special`), and what is between them
//! goes to the model of the file: SentencePiece (`spm`), BPE over bytes (`bpe`, after `words` has
//! cut it into words), WordPiece (`wordpiece`), or Unigram (`unigram`, after `charsmap`). The merge tables hold no control token, so no
//! text can be merged into one.

mod bpe;
mod charsmap;
mod error;
mod special;
mod spm;
mod stream;
mod unigram;
mod vocabulary;
mod wordpiece;
mod words;
mod work;

pub use error::TokenizerError;
pub use stream::StreamDecoder;

use super::gguf::File;
use special::Added;
pub(in crate::engine) use special::Fragment;
use vocabulary::{Kind, Vocabulary};

/// Whether the names of control tokens in a text become those tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// They are text like any other: for what people wrote.
    Plain,
    /// They become control tokens: for what a chat template wrote.
    Parse,
}

/// The tokens that an encoder expects around a text, and between the two of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Frame {
    /// In front of all.
    pub(in crate::engine) first: u32,
    /// Behind all.
    pub(in crate::engine) last: u32,
    /// Behind the first text of a pair, in front of the second.
    pub(in crate::engine) between: Vec<u32>,
}

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    added: Added,
    model: Model,
}

#[derive(Debug)]
enum Model {
    Spm(Box<spm::Spm>),
    Bpe(Box<bpe::Bpe>),
    WordPiece(Box<wordpiece::WordPiece>),
    Unigram(Box<unigram::Unigram>),
}

impl Tokenizer {
    /// Builds the tokenizer that a model file describes.
    pub fn from_gguf(file: &File) -> Result<Self, TokenizerError> {
        let vocabulary = Vocabulary::from_gguf(file)?;
        let added = Added::new(&vocabulary, file)?;
        let model = match vocabulary.kind() {
            Kind::Spm => Model::Spm(Box::new(spm::Spm::new(&vocabulary, file)?)),
            Kind::Bpe => Model::Bpe(Box::new(bpe::Bpe::new(&vocabulary, file)?)),
            Kind::WordPiece => Model::WordPiece(Box::new(wordpiece::WordPiece::new(&vocabulary)?)),
            Kind::Unigram => Model::Unigram(Box::new(unigram::Unigram::new(&vocabulary, file)?)),
        };
        Ok(Self { vocabulary, added, model })
    }

    /// How many tokens it knows.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary.len()
    }

    /// Turns a text into tokens; adds no token that the text does not have.
    pub fn encode(&self, text: &str, special: Special) -> Vec<u32> {
        let mut tokens = Vec::with_capacity(text.len() / 3);
        let mut after_added = true;
        for fragment in self.added.split(text, special) {
            match fragment {
                Fragment::Text(text) => {
                    self.encode_words(text, after_added, &mut tokens);
                    after_added = false;
                }
                Fragment::Token(token) => {
                    tokens.push(token);
                    after_added = true;
                }
            }
        }
        tokens
    }

    /// Cuts a text at the added tokens in it, control tokens too.
    pub(in crate::engine) fn split<'a>(&'a self, text: &'a str) -> Vec<Fragment<'a>> {
        self.added.split(text, Special::Parse)
    }

    /// Turns a text into tokens, finding only those added tokens that are neither control tokens
    /// nor markup, such as runs of blanks. `at_start`: it begins the text, or follows an added
    /// token; some models put a space there.
    pub(in crate::engine) fn encode_unmarked(
        &self,
        text: &str,
        mut at_start: bool,
        tokens: &mut Vec<u32>,
    ) {
        for fragment in self.added.split_unmarked(text) {
            match fragment {
                Fragment::Text(text) => {
                    self.encode_words(text, at_start, tokens);
                    at_start = false;
                }
                Fragment::Token(token) => {
                    tokens.push(token);
                    at_start = true;
                }
            }
        }
    }

    /// Turns a text without added tokens into tokens.
    fn encode_words(&self, text: &str, at_start: bool, tokens: &mut Vec<u32>) {
        match &self.model {
            Model::Spm(spm) => spm.encode(text, at_start, tokens),
            Model::Bpe(bpe) => bpe.encode(text, tokens),
            Model::WordPiece(wordpiece) => wordpiece.encode(text, tokens),
            Model::Unigram(unigram) => unigram.encode(text, at_start, tokens),
        }
    }

    /// Turns tokens into text: the inverse of `encode`. Control tokens give nothing; broken
    /// characters give U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let mut bytes = Vec::with_capacity(tokens.len() * 4);
        for &token in tokens {
            bytes.extend_from_slice(self.token_bytes(token));
        }
        let space = self.begins_with_space() && bytes.first() == Some(&b' ');
        String::from_utf8_lossy(&bytes[usize::from(space)..]).into_owned()
    }

    /// Whether `encode` puts a space in front of a text, which `decode` takes away.
    pub fn begins_with_space(&self) -> bool {
        match &self.model {
            Model::Spm(spm) => spm.adds_space(),
            Model::WordPiece(_) => true,
            Model::Unigram(unigram) => unigram.adds_space(),
            Model::Bpe(_) => false,
        }
    }

    /// The bytes that a token stands for; none for a control token or a number without a token.
    pub fn token_bytes(&self, token: u32) -> &[u8] {
        self.vocabulary.bytes(token)
    }

    /// The token's own name in the file, control tokens too.
    pub fn token_name(&self, token: u32) -> Option<&str> {
        self.vocabulary.name(token)
    }

    /// The token with this name in the file.
    pub fn token_named(&self, name: &str) -> Option<u32> {
        self.vocabulary.find(name)
    }

    /// The token that begins a text, if the model has one.
    pub fn bos(&self) -> Option<u32> {
        self.vocabulary.bos
    }

    /// The token that ends a text, if the model has one.
    pub fn eos(&self) -> Option<u32> {
        self.vocabulary.eos
    }

    /// Whether the model expects `bos` in front of every text.
    pub fn adds_bos(&self) -> bool {
        self.vocabulary.adds_bos && self.vocabulary.bos.is_some()
    }

    /// Whether the model expects `eos` behind every text.
    pub fn adds_eos(&self) -> bool {
        self.vocabulary.adds_eos && self.vocabulary.eos.is_some()
    }

    /// How an encoder's model frames a text.
    pub(in crate::engine) fn frame(&self) -> Option<Frame> {
        let Vocabulary { bos, eos, class, separator, .. } = self.vocabulary;
        match &self.model {
            Model::WordPiece(_) => {
                let first = class.or(bos).or_else(|| self.token_named("[CLS]"))?;
                let last = separator.or(eos).or_else(|| self.token_named("[SEP]"))?;
                Some(Frame { first, last, between: vec![last] })
            }
            Model::Unigram(_) | Model::Bpe(_) | Model::Spm(_) => {
                let (first, last) = (bos.or(class)?, eos.or(separator)?);
                Some(Frame { first, last, between: vec![last, last] })
            }
        }
    }

    /// Whether an answer ends with this token.
    pub fn ends_answer(&self, token: u32) -> bool {
        self.vocabulary.ends.contains(&token)
    }

    /// Every token that ends an answer, in ascending order.
    pub fn end_tokens(&self) -> &[u32] {
        &self.vocabulary.ends
    }

    /// Whether this is a control token, never part of a text.
    pub fn is_control(&self, token: u32) -> bool {
        self.vocabulary.is_control(token)
    }

    /// Whether this token gives a conversation its form: a control token, or one that the model
    /// uses like one (`<think>`, `<tool_call>`).
    pub fn is_markup(&self, token: u32) -> bool {
        self.vocabulary.is_control(token) || self.vocabulary.is_markup(token)
    }

    /// The names of all tokens that are not ordinary: control tokens and added ones.
    pub fn added_tokens(&self) -> impl Iterator<Item = (u32, &str)> {
        self.vocabulary.added()
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
