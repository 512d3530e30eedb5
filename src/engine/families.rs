//! What differs between model families, as data: one row a family. Every number comes from the
//! file and is held against its bounds here, so that the decoder can rely on it.

use super::error::LoadError;
use super::gguf::{File, GgufError};
use super::kv::CacheShape;
use super::layers::{Rope, RopeKind};
use crate::engine::KvPrecision;

/// The shape of a decoder.
#[derive(Clone, Debug)]
pub(crate) struct DecoderSpec {
    /// Layers.
    pub(crate) layers: usize,
    /// Elements of a row.
    pub(crate) width: usize,
    /// Heads of queries.
    pub(crate) heads: usize,
    /// Heads of keys and values; divides `heads`.
    pub(crate) kv_heads: usize,
    /// Elements of a head; even.
    pub(crate) head_dim: usize,
    /// Elements inside of the feed-forward part.
    pub(crate) hidden: usize,
    /// Tokens of prompt and answer together that the model was made for.
    pub(crate) context: usize,
    /// The epsilon of the norms.
    pub(crate) epsilon: f32,
    /// The rotary embedding.
    pub(crate) rope: Rope,
    /// Whether queries and keys are normalised by head.
    pub(crate) has_qk_norm: bool,
    /// Whether queries, keys and values have biases.
    pub(crate) has_qkv_bias: bool,
}

impl DecoderSpec {
    /// What the cache holds for each token.
    pub(crate) fn cache_shape(&self, precision: KvPrecision) -> CacheShape {
        let Self { layers, kv_heads, head_dim, .. } = *self;
        CacheShape { layers, kv_heads, head_dim, precision }
    }
}

/// One family.
struct Family {
    /// What GGUF calls it (`general.architecture`).
    name: &'static str,
    rope: RopeKind,
    has_qk_norm: bool,
    has_qkv_bias: bool,
}

const FAMILIES: &[Family] = &[
    // Llama 1 to 3, TinyLlama, SmolLM2, Mistral. Touvron et al., 2023.
    Family { name: "llama", rope: RopeKind::Interleaved, has_qk_norm: false, has_qkv_bias: false },
    // Qwen 2 and 2.5. Yang et al., 2024.
    Family { name: "qwen2", rope: RopeKind::HalfSplit, has_qk_norm: false, has_qkv_bias: true },
    // Qwen 3, dense. Yang et al., 2025.
    Family { name: "qwen3", rope: RopeKind::HalfSplit, has_qk_norm: true, has_qkv_bias: false },
];

impl From<GgufError> for LoadError {
    fn from(error: GgufError) -> Self {
        match error {
            GgufError::Open(error) => Self::Read(error),
            other => Self::File(other.to_string()),
        }
    }
}

/// The name of the file's family; an error where it is not supported.
pub(crate) fn family_of(file: &File) -> Result<&'static str, LoadError> {
    family(file).map(|family| family.name)
}

fn family(file: &File) -> Result<&'static Family, LoadError> {
    let name = file.required_string("general.architecture")?;
    FAMILIES.iter().find(|family| family.name == name).ok_or_else(|| LoadError::UnknownFamily {
        family: name.chars().filter(char::is_ascii_graphic).take(64).collect(),
        supported: FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>().join(", "),
    })
}

/// Reads the shape of the file's decoder.
pub(crate) fn spec(file: &File) -> Result<DecoderSpec, LoadError> {
    let family = family(file)?;
    let read = Reader { file, family: family.name };
    if read.optional("expert_count", 0, 4_096)?.unwrap_or(0) > 0 {
        return Err(LoadError::Unsupported("a mixture of experts".into()));
    }
    let width = read.number("embedding_length", 1, 65_536)?;
    let heads = read.number("attention.head_count", 1, 1_024)?;
    let kv_heads = read.optional("attention.head_count_kv", 1, heads)?.unwrap_or(heads);
    if heads % kv_heads != 0 {
        let problem = format!("{heads} heads cannot share {kv_heads}");
        return Err(read.bad("attention.head_count_kv", problem));
    }
    let head_dim = match read.optional("attention.key_length", 2, 1_024)? {
        Some(length) => length,
        None if width % heads == 0 => width / heads,
        None => {
            let problem = format!("a width of {width} cannot be divided among {heads} heads");
            return Err(read.bad("attention.head_count", problem));
        }
    };
    if !head_dim.is_multiple_of(2) || head_dim > 1_024 {
        return Err(read
            .bad("attention.key_length", format!("{head_dim} is not an even number up to 1024")));
    }
    if read.optional("attention.value_length", 2, 1_024)?.is_some_and(|length| length != head_dim) {
        return Err(LoadError::Unsupported("values of another length than keys".into()));
    }
    Ok(DecoderSpec {
        layers: read.number("block_count", 1, 512)?,
        width,
        heads,
        kv_heads,
        head_dim,
        hidden: read.number("feed_forward_length", 1, 1 << 20)?,
        context: read.number("context_length", 1, 1 << 24)?,
        epsilon: read.epsilon()?,
        rope: read.rope(family.rope, head_dim)?,
        has_qk_norm: family.has_qk_norm,
        has_qkv_bias: family.has_qkv_bias,
    })
}

/// Reads numbers of one family, within bounds.
struct Reader<'a> {
    file: &'a File,
    family: &'static str,
}

impl Reader<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family)
    }

    fn bad(&self, name: &str, problem: String) -> LoadError {
        LoadError::Number { key: self.key(name), problem }
    }

    fn optional(&self, name: &str, least: usize, most: usize) -> Result<Option<usize>, LoadError> {
        let Some(value) = self.file.u32(&self.key(name))? else { return Ok(None) };
        let value = value as usize;
        if (least..=most).contains(&value) {
            Ok(Some(value))
        } else {
            Err(self.bad(name, format!("{value} is not between {least} and {most}")))
        }
    }

    fn number(&self, name: &str, least: usize, most: usize) -> Result<usize, LoadError> {
        self.optional(name, least, most)?.ok_or_else(|| self.bad(name, "it is missing".into()))
    }

    fn epsilon(&self) -> Result<f32, LoadError> {
        let name = "attention.layer_norm_rms_epsilon";
        let epsilon = self.file.required_f32(&self.key(name))?;
        if (0.0..=0.1).contains(&epsilon) {
            Ok(epsilon)
        } else {
            Err(self.bad(name, format!("{epsilon} is not between 0 and 0.1")))
        }
    }

    fn rope(&self, kind: RopeKind, head_dim: usize) -> Result<Rope, LoadError> {
        let base = self.file.f32(&self.key("rope.freq_base"))?.unwrap_or(10_000.0);
        if !(1.0..=1e12).contains(&base) {
            return Err(self.bad("rope.freq_base", format!("{base} is not between 1 and 10^12")));
        }
        let dimensions = self.optional("rope.dimension_count", 2, head_dim)?.unwrap_or(head_dim);
        if !dimensions.is_multiple_of(2) {
            return Err(self.bad("rope.dimension_count", format!("{dimensions} is odd")));
        }
        // A file that names no kind means the linear one; older files name it otherwise.
        let scale = match self.file.string(&self.key("rope.scaling.type"))? {
            Some("none") => 1.0,
            None | Some("linear") => {
                let name = "rope.scaling.factor";
                let factor = match self.file.f32(&self.key(name))? {
                    Some(factor) => Some(factor),
                    None => self.file.f32(&self.key("rope.scale_linear"))?,
                };
                match factor {
                    None => 1.0,
                    Some(factor) if (1e-3..=1e6).contains(&factor) => factor.recip(),
                    Some(factor) => return Err(self.bad(name, format!("{factor} makes no sense"))),
                }
            }
            Some(_) => return Err(LoadError::Unsupported("this kind of rope scaling".into())),
        };
        let factors = self.factors(dimensions)?;
        Ok(Rope::new(kind, base, dimensions, factors.as_deref(), scale))
    }

    /// Llama 3's factors stand in a tensor.
    fn factors(&self, dimensions: usize) -> Result<Option<Vec<f32>>, LoadError> {
        let name = "rope_freqs.weight";
        let Some(tensor) = self.file.tensor(name) else { return Ok(None) };
        let bad =
            |problem: &str| LoadError::Number { key: name.to_owned(), problem: problem.into() };
        if tensor.elements() != dimensions / 2 {
            return Err(bad("it does not have one factor for each pair"));
        }
        let read = self.file.qtensor(name, &candle_core::Device::Cpu)?;
        let factors = read
            .dequantize(&candle_core::Device::Cpu)
            .and_then(|tensor| tensor.flatten_all()?.to_vec1::<f32>())
            .map_err(|error| LoadError::File(error.to_string()))?;
        if factors.iter().all(|factor| factor.is_finite() && *factor > 0.0) {
            Ok(Some(factors))
        } else {
            Err(bad("a factor is not a positive number"))
        }
    }
}
