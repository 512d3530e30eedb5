//! What can be wrong with a model file, said so that the reader knows what to do.

/// Why a GGUF file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file cannot be opened.
    #[error("the model file cannot be opened: {0}")]
    Open(std::io::Error),
    /// The file cannot be read.
    #[error("the model file cannot be read: {0}")]
    Read(std::io::Error),
    /// One file of a model in several does not go with the others.
    #[error("\"{name}\" {problem}; get all parts of the model again, into one folder")]
    Part {
        /// The name of the file.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The first four bytes are not `GGUF`.
    #[error(
        "this is not a GGUF file: it does not begin with \"GGUF\"; convert the model with \
         llama.cpp's convert_hf_to_gguf.py, or download its GGUF variant"
    )]
    NotGguf,
    /// A version this reader does not know.
    #[error("GGUF version {0} is not supported: versions 2 and 3 are; convert the model again")]
    Version(u32),
    /// The file is for machines of the other byte order.
    #[error("the file is big-endian; convert the model again for little-endian machines")]
    BigEndian,
    /// The file ends before what it announces.
    #[error(
        "the file ends {} early, inside {place}: the download or copy is incomplete; get it again",
        bytes_in_words(*.missing)
    )]
    Truncated {
        /// Where.
        place: String,
        /// How many bytes are missing, at least.
        missing: u64,
    },
    /// A count or length above its limit.
    #[error("{place} is {found}, above the limit of {limit}: the file is damaged or hostile")]
    TooLarge {
        /// What is too large.
        place: String,
        /// What the file says.
        found: u64,
        /// The largest that is accepted.
        limit: u64,
    },
    /// Anything else that no sound file contains.
    #[error("{place} {problem}: the file is damaged; get it again")]
    Damaged {
        /// Where.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// A tensor type without a decoder.
    #[error(
        "tensor \"{name}\" has the type {found}, which is not supported; take a file quantized as \
         Q4_K_M, Q5_K_M, Q6_K or Q8_0 (supported are {})",
        super::types::supported()
    )]
    TensorType {
        /// Which tensor.
        name: String,
        /// What type it has.
        found: String,
    },
    /// A key that is needed and not there.
    #[error("the file lacks the metadata key \"{key}\"; convert the model again")]
    KeyMissing {
        /// Which key.
        key: String,
    },
    /// A key whose value is of another kind.
    #[error("the metadata key \"{key}\" should be {wanted}, but it is {found}")]
    KeyType {
        /// Which key.
        key: String,
        /// What is wanted.
        wanted: &'static str,
        /// What is there.
        found: String,
    },
    /// A tensor that is needed and not there.
    #[error("the file lacks the tensor \"{name}\"; it is incomplete or of another family")]
    TensorMissing {
        /// Which tensor.
        name: String,
    },
    /// Somebody wrote to the file while it was read, or cut it short.
    #[error("the model file changed while it was being read; leave it alone and load it again")]
    Changed,
    /// A tensor could not be taken.
    #[error("tensor \"{name}\" cannot be loaded: {reason}")]
    Load {
        /// Which tensor.
        name: String,
        /// What candle says.
        reason: String,
    },
}

impl GgufError {
    pub(super) fn damaged(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Damaged { place: place.into(), problem: problem.into() }
    }
}

/// Writes a size as people say it.
fn bytes_in_words(bytes: u64) -> String {
    match bytes {
        1 => "1 byte".to_owned(),
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
