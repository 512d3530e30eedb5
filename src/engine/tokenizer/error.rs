//! Why a tokenizer cannot be built.

use crate::engine::gguf::GgufError;

/// Why a model file's tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The metadata is missing or of the wrong type.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A kind of tokenizer without an implementation.
    #[error("tokenizers of the kind \"{0}\" are not supported; supported: {SUPPORTED}")]
    Kind(String),
    /// A way of cutting text into words that is not known.
    #[error("the tokenizer cuts words in the way \"{0}\", which is not supported")]
    Words(String),
    /// The lists contradict each other.
    #[error("the tokenizer in the model file is damaged: {0}")]
    Damaged(String),
}

const SUPPORTED: &str = "llama (SentencePiece), gpt2 (BPE), bert (WordPiece), t5 (Unigram)";
