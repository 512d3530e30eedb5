//! What differs between model families, as data: one row a family. Every number comes from the
//! file and is held against its bounds here, so that the decoder can rely on it.

mod encoder;
mod layers;
mod reader;
mod rope;

use super::error::LoadError;
use super::gguf::{File, GgufError};
use super::kv::CacheShape;
use super::layers::{Activation, NormKind, Rope, RopeKind, YarnBorders};
use crate::engine::KvPrecision;
pub(crate) use encoder::{EncoderSpec, Pooling, encoder_spec, pooling};
use reader::Reader;

/// The shape of a decoder.
#[derive(Clone, Debug)]
pub(crate) struct DecoderSpec {
    /// What the layers have of their own, one after the other.
    pub(crate) layers: Vec<LayerSpec>,
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
    /// How rows are normalised.
    pub(crate) norm: NormKind,
    /// The epsilon of the norms.
    pub(crate) epsilon: f32,
    /// Where the norms stand.
    pub(crate) placement: Placement,
    /// Whether queries and keys are normalised, and in which pieces.
    pub(crate) qk_norm: QkNorm,
    /// The rotary embeddings that layers choose from.
    pub(crate) ropes: Vec<Rope>,
    /// Multiplies the scores of attention.
    pub(crate) attention_scale: f32,
    /// Bends the scores of attention so that none is larger.
    pub(crate) score_cap: Option<f32>,
    /// Bends the logits so that none is larger.
    pub(crate) logit_cap: Option<f32>,
    /// The unit of the feed-forward part.
    pub(crate) activation: Activation,
    /// Multiplies the embedding.
    pub(crate) embedding_scale: f32,
    /// Multiplies what each part adds to a row.
    pub(crate) residual_scale: f32,
    /// Multiplies the logits.
    pub(crate) logit_scale: f32,
    /// Feed-forward parts that the row chooses among.
    pub(crate) experts: Option<Experts>,
    /// What the norm before the feed-forward part is called.
    pub(crate) feed_norm: &'static str,
    /// Whether each head has a score of its own that takes from the weights of the others.
    pub(crate) has_sinks: bool,
}

/// What one layer has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerSpec {
    /// Its rotary embedding, by its place in `ropes`.
    pub(crate) rope: Option<usize>,
    /// How many positions a row sees, itself included; none: all before it.
    pub(crate) window: Option<usize>,
}

/// A mixture of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Experts {
    /// How many there are.
    pub(crate) count: usize,
    /// How many a row is given to.
    pub(crate) used: usize,
    /// Elements inside of each.
    pub(crate) hidden: usize,
}

/// Where the norms of a layer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Before attention and before the feed-forward part.
    Before,
    /// After each, before it is added to the row.
    After,
    /// Before and after each.
    Around,
    /// One norm before both, which work side by side.
    Shared,
}

/// The norms on queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QkNorm {
    None,
    /// Each head by itself, with one weight for all.
    Head,
    /// All heads together.
    Whole,
}

impl DecoderSpec {
    /// What the cache holds for each token.
    pub(crate) fn cache_shape(&self, precision: KvPrecision) -> CacheShape {
        let Self { kv_heads, head_dim, .. } = *self;
        CacheShape { layers: self.layers.len(), kv_heads, head_dim, precision }
    }
}

/// One family. Numbers that differ from file to file are read by `spec`; here stands what the files
/// do not say.
#[derive(Clone, Copy)]
struct Family {
    /// What GGUF calls it (`general.architecture`).
    name: &'static str,
    rope: RopeKind,
    norm: NormKind,
    placement: Placement,
    qk_norm: QkNorm,
    activation: Activation,
    windows: Windows,
    /// The window where a file does not say it.
    window: Option<usize>,
    unturned: Unturned,
    window_rope: WindowRope,
    logit_scale: LogitScale,
    /// Whether the embedding is multiplied by the root of its width.
    embeds_by_root: bool,
    /// The caps on scores and logits, where a file does not say them.
    caps: Option<(f32, f32)>,
    /// So many layers mean the variant whose scores are scaled by the width for each head.
    scaled_by_width: Option<usize>,
    has_experts: bool,
    /// What the norm before the feed-forward part is called.
    feed_norm: &'static str,
    has_sinks: bool,
    yarn_borders: YarnBorders,
}

/// Which layers have the window of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Windows {
    /// None: some files have the number without a use for it.
    None,
    All,
    /// All but one of so many, which sees everything.
    AllButEvery(usize),
}

/// Which layers do not turn queries and keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unturned {
    None,
    /// One of so many.
    Every(usize),
    /// Those that see everything.
    WithoutWindow,
    /// All, where the file says `rope.scaling.finetuned = false`.
    WhereToldSo,
}

/// The rotary embedding of the layers with a window.
#[derive(Clone, Copy, PartialEq)]
enum WindowRope {
    /// That of the others.
    Same,
    /// One that is not stretched, with this base, or with that of the others.
    Plain(Option<f32>),
}

/// How a file's `logit_scale` is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LogitScale {
    Times,
    Divided,
}

const LLAMA: Family = Family {
    name: "llama",
    rope: RopeKind::Interleaved,
    norm: NormKind::Rms,
    placement: Placement::Before,
    qk_norm: QkNorm::None,
    activation: Activation::SiluGate,
    windows: Windows::None,
    window: None,
    unturned: Unturned::None,
    window_rope: WindowRope::Same,
    logit_scale: LogitScale::Times,
    embeds_by_root: false,
    caps: None,
    scaled_by_width: None,
    has_experts: false,
    feed_norm: "ffn_norm",
    has_sinks: false,
    yarn_borders: YarnBorders::Whole,
};

const QWEN2: Family = Family { name: "qwen2", rope: RopeKind::HalfSplit, ..LLAMA };

const GEMMA2: Family = Family {
    name: "gemma2",
    placement: Placement::Around,
    activation: Activation::GeluGate,
    windows: Windows::AllButEvery(2),
    // The first files of the family do not say it.
    window: Some(4_096),
    embeds_by_root: true,
    caps: Some((50.0, 30.0)),
    scaled_by_width: Some(46),
    ..QWEN2
};

const COMMAND_R: Family =
    Family { name: "command-r", norm: NormKind::Layer, placement: Placement::Shared, ..LLAMA };

const FAMILIES: &[Family] = &[
    // Llama 1 to 3, TinyLlama, SmolLM2, Mistral and Mixtral. Touvron et al., 2023; Jiang et al., 2024.
    Family { has_experts: true, ..LLAMA },
    // Qwen 2 and 2.5. Yang et al., 2024.
    QWEN2,
    // Qwen 3. Yang et al., 2025.
    Family { name: "qwen3", qk_norm: QkNorm::Head, ..QWEN2 },
    Family { name: "qwen3moe", qk_norm: QkNorm::Head, has_experts: true, ..QWEN2 },
    // Gemma 2 and 3 (text). Gemma Team, 2024 and 2025.
    GEMMA2,
    Family {
        name: "gemma3",
        qk_norm: QkNorm::Head,
        windows: Windows::AllButEvery(6),
        window: None,
        window_rope: WindowRope::Plain(Some(10_000.0)),
        caps: None,
        scaled_by_width: Some(62),
        ..GEMMA2
    },
    // Phi 3 and 4: all layers have the window. Abdin et al., 2024.
    Family { name: "phi3", windows: Windows::All, ..QWEN2 },
    // Granite 3, and those of 4 that are nothing but attention. Granite Team, 2024.
    Family {
        name: "granite",
        logit_scale: LogitScale::Divided,
        unturned: Unturned::WhereToldSo,
        ..LLAMA
    },
    // SmolLM 3. Bakouch et al., 2025.
    Family { name: "smollm3", unturned: Unturned::Every(4), ..LLAMA },
    // GLM 4. GLM Team, 2024.
    Family { name: "glm4", placement: Placement::Around, ..LLAMA },
    // OLMo 2, and OLMo 3, which has windows. OLMo Team, 2025.
    Family {
        name: "olmo2",
        placement: Placement::After,
        qk_norm: QkNorm::Whole,
        windows: Windows::AllButEvery(4),
        window_rope: WindowRope::Plain(None),
        ..QWEN2
    },
    // StarCoder 2. Lozhkov et al., 2024.
    Family { name: "starcoder2", norm: NormKind::Layer, activation: Activation::Gelu, ..QWEN2 },
    // Command R and R7B. Cohere, 2024.
    COMMAND_R,
    Family {
        name: "cohere2",
        windows: Windows::AllButEvery(4),
        unturned: Unturned::WithoutWindow,
        ..COMMAND_R
    },
    // gpt-oss. OpenAI, 2025.
    Family {
        name: "gpt-oss",
        activation: Activation::ClampedGate,
        windows: Windows::AllButEvery(2),
        has_experts: true,
        feed_norm: "post_attention_norm",
        has_sinks: true,
        yarn_borders: YarnBorders::Exact,
        ..QWEN2
    },
];

impl From<GgufError> for LoadError {
    fn from(error: GgufError) -> Self {
        match error {
            GgufError::Open(error) | GgufError::Read(error) => Self::Read(error),
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
        supported: FAMILIES
            .iter()
            .map(|family| family.name)
            .chain(encoder::names())
            .collect::<Vec<_>>()
            .join(", "),
    })
}

/// Reads the shape of the file's decoder. `context_max` bounds prompt and answer together, where
/// the caller does.
pub(crate) fn spec(file: &File, context_max: Option<usize>) -> Result<DecoderSpec, LoadError> {
    let family = family(file)?;
    let read = Reader { file, family: family.name };
    read.refuse_what_is_not_built()?;
    let (width, heads, kv_heads, head_dim) = read.heads()?;
    let count = read.number("block_count", 1, 512)?;
    let context = read.number("context_length", 1, 1 << 24)?;
    let used_context = context_max.map_or(context, |most| context.min(most));
    let mut ropes =
        vec![rope::read(&read, (family.rope, family.yarn_borders), head_dim, used_context)?];
    if let WindowRope::Plain(base) = family.window_rope {
        ropes.push(rope::plain(&read, family.rope, head_dim, base)?);
    }
    let by_width = family.scaled_by_width == Some(count);
    let of_head = if by_width { width / heads } else { head_dim };
    let (score_cap, logit_cap) = family.caps.unzip();
    let logit_scale = read.scale("logit_scale")?.unwrap_or(1.0);
    Ok(DecoderSpec {
        layers: layers::read(&read, family, count, ropes.len())?,
        width,
        heads,
        kv_heads,
        head_dim,
        hidden: read.number("feed_forward_length", 1, 1 << 20)?,
        context,
        norm: family.norm,
        epsilon: read.epsilon(family.norm)?,
        placement: family.placement,
        qk_norm: family.qk_norm,
        ropes,
        attention_scale: match read.scale("attention.scale")? {
            Some(scale) => scale,
            None => (of_head as f32).sqrt().recip(),
        },
        score_cap: read.scale("attn_logit_softcapping")?.or(score_cap),
        logit_cap: read.scale("final_logit_softcapping")?.or(logit_cap),
        activation: family.activation,
        embedding_scale: match read.scale("embedding_scale")? {
            Some(scale) => scale,
            None if family.embeds_by_root => (width as f32).sqrt(),
            None => 1.0,
        },
        residual_scale: read.scale("residual_scale")?.unwrap_or(1.0),
        logit_scale: match family.logit_scale {
            LogitScale::Times => logit_scale,
            LogitScale::Divided => logit_scale.recip(),
        },
        experts: read.experts(family.has_experts)?,
        feed_norm: family.feed_norm,
        has_sinks: family.has_sinks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gguf::testing::Writer;

    #[test]
    fn a_family_that_is_not_known_is_named_beside_those_that_are() {
        let file = Writer::new().string("general.architecture", "mamba\u{1b}2").open();
        let error = family_of(&file.expect("a sound file")).expect_err("unknown").to_string();
        assert!(error.contains("`mamba2` is not supported; supported are llama, "), "{error}");
        for name in FAMILIES.iter().map(|family| family.name).chain(["bert", "nomic-bert"]) {
            assert!(error.contains(&format!(" {name}")), "{name}: {error}");
        }
    }
}
