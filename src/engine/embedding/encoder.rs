//! An encoder of the BERT kind: every row sees the whole text. Texts of any length lie one behind
//! the other as rows, [tokens, width], and nothing is filled up to a common length.

use candle_core::{Device, Result, Tensor};

use super::EmbedInput;
use crate::engine::attention::{AttentionShape, Run, Sight, attend};
use crate::engine::compute::with_elements;
use crate::engine::decoder::weights::Weights;
use crate::engine::error::LoadError;
use crate::engine::families::EncoderSpec;
use crate::engine::gguf::File;
use crate::engine::kv::{BLOCK_TOKENS, BlockTable, Pool};
use crate::engine::layers::{
    Activation, Heads, Linear, Norm, NormKind, RopeAngles, activate, activate_alone, add_into,
    project,
};

/// A loaded encoder.
pub(super) struct Encoder {
    spec: EncoderSpec,
    tokens: Linear,
    /// A row for each position; none where queries and keys are turned instead.
    positions: Option<Linear>,
    /// A row for each part of a pair; the second is that of the second text.
    kinds: Option<(Linear, usize)>,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    attention_norm: Norm,
    /// In front of `up`, where the family has a gate.
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    feed_norm: Norm,
}

/// The most kinds of parts that a file may have.
const KINDS_MAX: usize = 16;

impl Encoder {
    /// Reads the weights; `read` is asked afterwards whether all were taken.
    pub(super) fn load(
        read: &Weights<'_>,
        file: &File,
        spec: EncoderSpec,
        vocabulary: usize,
    ) -> std::result::Result<Self, LoadError> {
        let width = spec.width;
        let norm = |name: &str| read.norm_of(name, width, NormKind::Layer, spec.epsilon);
        let rows = |name: &str| file.tensor(name).and_then(|tensor| tensor.shape.first().copied());
        let positions = if spec.rope.is_none() {
            let count = rows("position_embd.weight").unwrap_or(0).clamp(spec.context, 1 << 16);
            Some(read.matrix("position_embd", count, width)?)
        } else {
            None
        };
        let kinds = rows("token_types.weight").map(|count| count.clamp(1, KINDS_MAX));
        let kinds = kinds
            .map(|count| Ok::<_, LoadError>((read.matrix("token_types", count, width)?, count)))
            .transpose()?;
        let layers = (0..spec.layers)
            .map(|number| Layer::load(read, &spec, number))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Self {
            tokens: read.matrix("token_embd", vocabulary, width)?,
            positions,
            kinds,
            norm: norm("token_embd_norm")?,
            layers,
            spec,
        })
    }

    /// The rows of all texts, one behind the other, [tokens, width]. Each table has room for its
    /// text.
    pub(super) fn forward(
        &self,
        texts: &[&EmbedInput],
        tables: &[BlockTable],
        cache: &mut Pool,
    ) -> Result<Tensor> {
        let step = Rows::new(texts, tables);
        let mut rows = self.embed(texts, &step)?;
        let angles =
            self.spec.rope.as_ref().map(|rope| rope.angles(step.positions.iter().copied()));
        for layer in &self.layers {
            let mixed = self.attend(layer, &rows, &step, angles.as_ref(), cache)?;
            add_into(&rows, &mixed, 1.0)?;
            rows = layer.attention_norm.forward(&rows)?;
            let fed = self.feed(layer, &rows)?;
            add_into(&rows, &fed, 1.0)?;
            rows = layer.feed_norm.forward(&rows)?;
        }
        Ok(rows)
    }

    fn embed(&self, texts: &[&EmbedInput], step: &Rows<'_>) -> Result<Tensor> {
        let tokens: Vec<u32> = texts.iter().flat_map(|text| text.tokens.iter().copied()).collect();
        let rows = self.tokens.rows(&Tensor::new(tokens, &Device::Cpu)?)?;
        if let Some((kinds, count)) = &self.kinds {
            let kind = |text: &&EmbedInput| {
                let (length, second) = (text.tokens.len(), text.second);
                (0..length).map(move |at| u32::from(at >= second)).collect::<Vec<_>>()
            };
            let most = *count as u32 - 1;
            let ids: Vec<u32> = texts.iter().flat_map(kind).map(|kind| kind.min(most)).collect();
            add_into(&rows, &kinds.rows(&Tensor::new(ids, &Device::Cpu)?)?, 1.0)?;
        }
        if let Some(positions) = &self.positions {
            let ids: Vec<u32> = step.positions.iter().map(|at| *at as u32).collect();
            add_into(&rows, &positions.rows(&Tensor::new(ids, &Device::Cpu)?)?, 1.0)?;
        }
        self.norm.forward(&rows)
    }

    fn attend(
        &self,
        layer: &Layer,
        rows: &Tensor,
        step: &Rows<'_>,
        angles: Option<&RopeAngles>,
        cache: &mut Pool,
    ) -> Result<Tensor> {
        let EncoderSpec { heads, head_dim, .. } = self.spec;
        let [q, k, v] = project([&layer.q, &layer.k, &layer.v], rows)?;
        if angles.is_some() {
            let heads = Heads { head_dim, norm: None, angles };
            heads.apply(&q)?;
            heads.apply(&k)?;
        }
        let storage = cache.storage_mut()?;
        with_elements(&k, |keys| {
            with_elements(&v, |values| storage.write(0, &step.slots, keys, values))
        })??;
        let shape = AttentionShape {
            heads,
            kv_heads: heads,
            head_dim,
            scale: (head_dim as f32).sqrt().recip(),
            cap: None,
            window: None,
            sinks: None,
            sight: Sight::Around,
        };
        let mixed = with_elements(&q, |queries| attend(queries, &step.runs, storage, 0, shape))?;
        let mixed =
            Tensor::from_vec(mixed, (step.positions.len(), heads * head_dim), &Device::Cpu)?;
        layer.out.forward(&mixed)
    }

    fn feed(&self, layer: &Layer, rows: &Tensor) -> Result<Tensor> {
        let activation = self.spec.activation;
        let Some(gate) = &layer.gate else {
            let inner = layer.up.forward(rows)?;
            activate_alone(&inner, activation)?;
            return layer.down.forward(&inner);
        };
        let [gate, up] = project([gate, &layer.up], rows)?;
        activate(&gate, &up, activation)?;
        layer.down.forward(&gate)
    }
}

impl Layer {
    fn load(
        read: &Weights<'_>,
        spec: &EncoderSpec,
        number: usize,
    ) -> std::result::Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{number}.{part}");
        let EncoderSpec { width, hidden, .. } = *spec;
        let norm = |part: &str| read.norm_of(&name(part), width, NormKind::Layer, spec.epsilon);
        let [q, k, v] = if read.has(&name("attn_qkv.weight")) {
            read.fused(&name("attn_qkv"), [width; 3], width)?
        } else {
            [
                read.matrix(&name("attn_q"), width, width)?,
                read.matrix(&name("attn_k"), width, width)?,
                read.matrix(&name("attn_v"), width, width)?,
            ]
        };
        let has_gate = spec.activation == Activation::SiluGate;
        Ok(Self {
            q,
            k,
            v,
            out: read.matrix(&name("attn_output"), width, width)?,
            attention_norm: norm("attn_output_norm")?,
            gate: has_gate.then(|| read.matrix(&name("ffn_gate"), hidden, width)).transpose()?,
            up: read.matrix(&name("ffn_up"), hidden, width)?,
            down: read.matrix(&name("ffn_down"), width, hidden)?,
            feed_norm: norm("layer_output_norm")?,
        })
    }
}

/// Where the rows of the texts stand.
pub(super) struct Rows<'a> {
    pub(super) positions: Vec<usize>,
    pub(super) slots: Vec<(u32, usize)>,
    pub(super) runs: Vec<Run<'a>>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(texts: &[&EmbedInput], tables: &'a [BlockTable]) -> Self {
        let (mut positions, mut slots, mut runs) = (Vec::new(), Vec::new(), Vec::new());
        for (text, table) in texts.iter().zip(tables) {
            let (begin, length, blocks) = (positions.len(), text.tokens.len(), table.blocks());
            positions.extend(0..length);
            slots.extend((0..length).map(|at| (blocks[at / BLOCK_TOKENS], at % BLOCK_TOKENS)));
            runs.push(Run { rows: begin..begin + length, start: 0, blocks });
        }
        Self { positions, slots, runs }
    }
}
