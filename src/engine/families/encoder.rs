//! Families that read a text in both directions and give vectors: what differs, as data.

use super::reader::Reader;
use super::rope;
use crate::engine::KvPrecision;
use crate::engine::error::LoadError;
use crate::engine::gguf::File;
use crate::engine::kv::CacheShape;
use crate::engine::layers::{Activation, NormKind, Rope, RopeKind, YarnBorders};

/// The shape of an encoder.
#[derive(Clone, Debug)]
pub(crate) struct EncoderSpec {
    /// What GGUF calls the family.
    pub(crate) family: &'static str,
    /// Layers.
    pub(crate) layers: usize,
    /// Elements of a row.
    pub(crate) width: usize,
    /// Heads of attention.
    pub(crate) heads: usize,
    /// Elements of a head.
    pub(crate) head_dim: usize,
    /// Elements inside of the feed-forward part.
    pub(crate) hidden: usize,
    /// Tokens of the longest text.
    pub(crate) context: usize,
    /// The epsilon of the norms.
    pub(crate) epsilon: f32,
    /// The unit of the feed-forward part.
    pub(crate) activation: Activation,
    /// The rotary embedding; none where each position has a row of its own.
    pub(crate) rope: Option<Rope>,
}

impl EncoderSpec {
    /// What the keys and values of one layer take; the next layer writes over them.
    pub(crate) fn cache_shape(&self) -> CacheShape {
        let Self { heads, head_dim, .. } = *self;
        CacheShape { layers: 1, kv_heads: heads, head_dim, precision: KvPrecision::F32 }
    }
}

/// How the rows of a text become one vector (`pooling_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// The mean of all rows.
    Mean,
    /// The first row.
    First,
    /// The last row.
    Last,
    /// A head on the first row judges a pair of texts.
    Rank,
}

struct Encoder {
    name: &'static str,
    activation: Activation,
    turns: bool,
}

const ENCODERS: &[Encoder] = &[
    // BERT and what has its shape: MiniLM, bge, gte, e5, and XLM-R. Devlin et al., 2019.
    Encoder { name: "bert", activation: Activation::GeluErf, turns: false },
    // Nomic Embed. Nussbaum et al., 2024.
    Encoder { name: "nomic-bert", activation: Activation::SiluGate, turns: true },
];

/// The names of the families of encoders.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ENCODERS.iter().map(|encoder| encoder.name)
}

fn encoder(file: &File) -> Result<Option<&'static Encoder>, LoadError> {
    let name = file.required_string("general.architecture")?;
    Ok(ENCODERS.iter().find(|encoder| encoder.name == name))
}

/// How the file's rows become one vector; none where it does not say, as files of models that
/// answer in words do not.
pub(crate) fn pooling(file: &File) -> Result<Option<Pooling>, LoadError> {
    let family = file.required_string("general.architecture")?;
    let key = format!("{family}.pooling_type");
    match file.u32(&key)? {
        None | Some(0) => Ok(None),
        Some(1) => Ok(Some(Pooling::Mean)),
        Some(2) => Ok(Some(Pooling::First)),
        Some(3) => Ok(Some(Pooling::Last)),
        Some(4) => Ok(Some(Pooling::Rank)),
        Some(other) => {
            let problem = format!("{other} is not one of 0 to 4");
            Err(LoadError::Number { key, problem })
        }
    }
}

/// Reads the shape of the file's encoder; none where its family is not one of encoders.
pub(crate) fn encoder_spec(file: &File) -> Result<Option<EncoderSpec>, LoadError> {
    let Some(Encoder { name, activation, turns }) = encoder(file)? else { return Ok(None) };
    let read = Reader { file, family: name };
    let (width, heads, kv_heads, head_dim) = read.heads()?;
    if kv_heads != heads || heads * head_dim != width {
        return Err(LoadError::Unsupported("an encoder whose heads do not make a row".into()));
    }
    if file.bool(&read.key("attention.causal"))?.unwrap_or(false) {
        return Err(LoadError::Unsupported("an encoder that looks back only".into()));
    }
    let context = read.number("context_length", 1, 1 << 16)?;
    let rope = turns
        .then(|| rope::read(&read, (RopeKind::HalfSplit, YarnBorders::Whole), head_dim, context))
        .transpose()?;
    Ok(Some(EncoderSpec {
        family: name,
        layers: read.number("block_count", 1, 512)?,
        width,
        heads,
        head_dim,
        hidden: read.number("feed_forward_length", 1, 1 << 20)?,
        context,
        epsilon: read.epsilon(NormKind::Layer)?,
        activation: *activation,
        rope,
    }))
}
