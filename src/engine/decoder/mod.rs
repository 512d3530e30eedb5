//! The decoder: one for all families, one step for rows of several sequences at once.

mod feed;
mod in_parallel;
pub(super) mod weights;

use candle_core::Tensor;

use super::LoadProgress;
use super::attention::{AttentionShape, Run, Sight};
use super::compute::{AttentionWork, Compute, HeadWork, Prepared, with_elements};
use super::error::LoadError;
use super::families::{DecoderSpec, LayerSpec, Placement, QkNorm};
use super::gguf::File;
use super::kv::{BLOCK_TOKENS, BlockId, Pool};
use super::layers::{Linear, Norm, project};
use feed::FeedForward;
pub(super) use in_parallel::READERS;
use in_parallel::in_parallel;
use weights::Weights;

/// The rows of one step: [rows] tokens, sequence after sequence.
#[derive(Default)]
pub(crate) struct Step<'a> {
    /// The tokens.
    pub(crate) tokens: Vec<u32>,
    /// Each row's position in its sequence.
    pub(crate) positions: Vec<usize>,
    /// Where each row's keys and values go.
    pub(crate) slots: Vec<(BlockId, usize)>,
    /// Which rows belong to which sequence.
    pub(crate) runs: Vec<Run<'a>>,
    /// The rows whose logits are wanted, ascending.
    pub(crate) wanted: Vec<u32>,
}

impl<'a> Step<'a> {
    /// Adds rows of one sequence, the first of which is at `start` in it. `blocks` are those of the
    /// sequence and hold these rows too; `wants` says of a position whether its logits are wanted.
    pub(crate) fn push(
        &mut self,
        start: usize,
        tokens: impl IntoIterator<Item = u32>,
        blocks: &'a [BlockId],
        wants: impl Fn(usize) -> bool,
    ) {
        let first = self.tokens.len();
        for (position, token) in (start..).zip(tokens) {
            if wants(position) {
                self.wanted.push(self.tokens.len() as u32);
            }
            self.tokens.push(token);
            self.positions.push(position);
            self.slots.push((blocks[position / BLOCK_TOKENS], position % BLOCK_TOKENS));
        }
        self.runs.push(Run { rows: first..self.tokens.len(), start, blocks });
    }
}

/// A loaded model.
pub(crate) struct Decoder {
    spec: DecoderSpec,
    compute: Compute,
    embedding: Linear,
    layers: Vec<Layer>,
    norm: Norm,
    /// None where the embedding is the head too.
    head: Option<Linear>,
    vocabulary: usize,
}

struct Layer {
    spec: LayerSpec,
    /// Before attention.
    attention_norm: Option<Norm>,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    q_norm: Option<HeadNorm>,
    k_norm: Option<HeadNorm>,
    /// A score for each head that no position has.
    sinks: Option<Tensor>,
    /// After attention.
    attention_post: Option<Norm>,
    /// Before the feed-forward part.
    feed_norm: Option<Norm>,
    feed: FeedForward,
    /// After the feed-forward part.
    feed_post: Option<Norm>,
}

/// A norm on queries or keys.
enum HeadNorm {
    /// Of each head, with these weights.
    Head(Tensor),
    /// Of all together.
    Whole(Norm),
}

impl Decoder {
    /// Reads the weights of a file to where they are computed with.
    pub(crate) fn load(
        file: &File,
        spec: DecoderSpec,
        vocabulary: usize,
        compute: Compute,
        progress: &LoadProgress,
    ) -> Result<Self, LoadError> {
        let read = Weights::on(compute.clone(), file, progress);
        let embedding = read.matrix("token_embd", vocabulary, spec.width)?;
        let has_head = read.has("output.weight");
        let head = has_head.then(|| read.matrix("output", vocabulary, spec.width)).transpose()?;
        let layers = in_parallel(spec.layers.len(), |number| {
            Layer::load(&read, &spec, number, spec.layers[number])
        })?;
        let norm = read.norm("output_norm", spec.width, &spec)?;
        read.check_all_taken()?;
        file.check_unchanged()?;
        Ok(Self { spec, compute, embedding, layers, norm, head, vocabulary })
    }

    /// Runs a step: writes the rows' keys and values into the cache and gives the logits of the
    /// wanted rows, [wanted, vocabulary], one after the other.
    pub(crate) fn forward(
        &self,
        step: &Step<'_>,
        cache: &mut Pool,
    ) -> candle_core::Result<Vec<Vec<f32>>> {
        match self.hidden(step, cache)? {
            Some(rows) => self.logits(&rows),
            None => Ok(Vec::new()),
        }
    }

    /// Runs a step as `forward` does, and gives the wanted rows as they are before the head,
    /// [wanted, width]; none where none are wanted.
    pub(crate) fn hidden(
        &self,
        step: &Step<'_>,
        cache: &mut Pool,
    ) -> candle_core::Result<Option<Tensor>> {
        let spec = &self.spec;
        let compute = &self.compute;
        let rows = self.embedding.rows(&compute.ids(&step.tokens)?)?; // [rows, width]
        let mut rows = compute.scale(rows, spec.embedding_scale)?;
        let prepared = Prepared::new(compute, step, spec)?;
        for (number, layer) in self.layers.iter().enumerate() {
            let normal = match &layer.attention_norm {
                Some(norm) => norm.forward(&rows)?,
                None => rows.clone(),
            };
            let mixed = self.attend(number, &normal, &prepared, cache)?;
            // Taken before the rows change, where the feed-forward part works on the same.
            let beside = match spec.placement {
                Placement::Shared => Some(layer.feed.forward(&normal, compute)?),
                Placement::Before | Placement::After | Placement::Around => None,
            };
            rows = self.add(rows, mixed, layer.attention_post.as_ref())?;
            let fed = match (beside, &layer.feed_norm) {
                (Some(fed), _) => fed,
                (None, Some(norm)) => layer.feed.forward(&norm.forward(&rows)?, compute)?,
                (None, None) => layer.feed.forward(&rows, compute)?,
            };
            rows = self.add(rows, fed, layer.feed_post.as_ref())?;
        }
        if step.wanted.is_empty() {
            return Ok(None);
        }
        self.norm.forward(&rows.index_select(&compute.ids(&step.wanted)?, 0)?).map(Some)
    }

    /// Adds what a part of a layer gives to the rows.
    fn add(&self, rows: Tensor, part: Tensor, norm: Option<&Norm>) -> candle_core::Result<Tensor> {
        let part = match norm {
            Some(norm) => norm.forward(&part)?,
            None => part,
        };
        self.compute.add(rows, &part, self.spec.residual_scale)
    }

    /// The logits of normalised rows.
    fn logits(&self, last: &Tensor) -> candle_core::Result<Vec<Vec<f32>>> {
        let logits = self.head.as_ref().unwrap_or(&self.embedding).forward(last)?;
        let logits = self.compute.scale(logits, self.spec.logit_scale)?;
        // Quantizing a row makes numbers of what is none: it would answer as if nothing were wrong.
        let sound: Vec<bool> = with_elements(last, |all| {
            all.chunks_exact(self.spec.width).map(|row| row.iter().all(|x| x.is_finite())).collect()
        })?;
        let bent = |logit: &f32| match self.spec.logit_cap {
            Some(cap) => cap * (logit / cap).tanh(),
            None => *logit,
        };
        with_elements(&logits, |all| {
            let rows = all.chunks_exact(self.vocabulary).zip(sound);
            let told = |(row, is_sound): (&[f32], bool)| {
                if is_sound { row.iter().map(bent).collect() } else { vec![f32::NAN; row.len()] }
            };
            rows.map(told).collect()
        })
    }

    fn attend(
        &self,
        number: usize,
        normal: &Tensor,
        prepared: &Prepared<'_>,
        cache: &mut Pool,
    ) -> candle_core::Result<Tensor> {
        let layer = &self.layers[number];
        let DecoderSpec { heads, kv_heads, head_dim, epsilon, .. } = self.spec;
        let [q, k, v] = project([&layer.q, &layer.k, &layer.v], normal)?;
        let turned = |rows: Tensor, norm: &Option<HeadNorm>| {
            let (rows, norm) = match norm {
                None => (rows, None),
                Some(HeadNorm::Head(weight)) => (rows, Some((weight, epsilon))),
                Some(HeadNorm::Whole(norm)) => (norm.forward(&rows)?, None),
            };
            prepared.turn(rows, &HeadWork { head_dim, norm, rope: layer.spec.rope })
        };
        let (q, k) = (turned(q, &layer.q_norm)?, turned(k, &layer.k_norm)?);
        let shape = AttentionShape {
            heads,
            kv_heads,
            head_dim,
            scale: self.spec.attention_scale,
            cap: self.spec.score_cap,
            window: layer.spec.window,
            sinks: None,
            sight: Sight::Back,
        };
        let work = AttentionWork { layer: number, shape, sinks: layer.sinks.as_ref() };
        layer.out.forward(&prepared.attend([&q, &k, &v], cache, &work)?)
    }
}

impl Layer {
    fn load(
        read: &Weights<'_>,
        spec: &DecoderSpec,
        number: usize,
        own: LayerSpec,
    ) -> Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{number}.{part}");
        let norm = |part: &str, is_there: bool| {
            is_there.then(|| read.norm(&name(part), spec.width, spec)).transpose()
        };
        let (q_width, kv_width) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let [q, k, v] = if read.has(&name("attn_qkv.weight")) {
            read.fused(&name("attn_qkv"), [q_width, kv_width, kv_width], spec.width)?
        } else {
            [
                read.matrix(&name("attn_q"), q_width, spec.width)?,
                read.matrix(&name("attn_k"), kv_width, spec.width)?,
                read.matrix(&name("attn_v"), kv_width, spec.width)?,
            ]
        };
        let head_norm = |part: &str, width: usize| match spec.qk_norm {
            QkNorm::None => Ok(None),
            QkNorm::Head => {
                let weight = read.tensor(&name(&format!("{part}.weight")), spec.head_dim)?;
                Ok(Some(HeadNorm::Head(weight)))
            }
            QkNorm::Whole => {
                read.norm(&name(part), width, spec).map(|norm| Some(HeadNorm::Whole(norm)))
            }
        };
        let sinks = || read.tensor(&name("attn_sinks.weight"), spec.heads);
        let sinks = spec.has_sinks.then(sinks);
        let placement = spec.placement;
        let has_post = matches!(placement, Placement::After | Placement::Around);
        Ok(Self {
            spec: own,
            attention_norm: norm("attn_norm", placement != Placement::After)?,
            q,
            k,
            v,
            out: read.matrix(&name("attn_output"), spec.width, q_width)?,
            q_norm: head_norm("attn_q_norm", q_width)?,
            k_norm: head_norm("attn_k_norm", kv_width)?,
            sinks: sinks.transpose()?,
            attention_post: norm("post_attention_norm", has_post)?,
            feed_norm: norm(
                spec.feed_norm,
                matches!(placement, Placement::Before | Placement::Around),
            )?,
            feed: FeedForward::load(read, spec, number)?,
            feed_post: norm("post_ffw_norm", has_post)?,
        })
    }
}
