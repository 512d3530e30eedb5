//! The decoder: one for all families, one step for rows of several sequences at once.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use candle_core::{CpuStorage, Device, Storage as TensorStorage, Tensor};

use super::attention::{AttentionShape, Run, attend};
use super::error::LoadError;
use super::families::DecoderSpec;
use super::gguf::File;
use super::kv::{BlockId, Pool};
use super::layers::{Heads, Linear, RmsNorm, RopeAngles, add_into, gate_silu, project};

/// The rows of one step: [rows] tokens, sequence after sequence.
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

/// A loaded model.
pub(crate) struct Decoder {
    spec: DecoderSpec,
    embedding: Linear,
    layers: Vec<Layer>,
    norm: RmsNorm,
    /// None where the embedding is the head too.
    head: Option<Linear>,
    vocabulary: usize,
}

struct Layer {
    attention_norm: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    q_norm: Option<Vec<f32>>,
    k_norm: Option<Vec<f32>>,
    feed_norm: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Decoder {
    /// Reads the weights of a file.
    pub(crate) fn load(
        file: &File,
        spec: DecoderSpec,
        vocabulary: usize,
    ) -> Result<Self, LoadError> {
        let read = Weights { file, taken: RefCell::default() };
        let embedding = read.matrix("token_embd.weight", vocabulary, spec.width, None)?;
        let head = match file.tensor("output.weight") {
            Some(_) => Some(read.matrix("output.weight", vocabulary, spec.width, None)?),
            None => None,
        };
        let layers =
            (0..spec.layers).map(|at| Layer::load(&read, &spec, at)).collect::<Result<_, _>>()?;
        let norm = read.norm("output_norm.weight", spec.width, spec.epsilon)?;
        read.check_all_taken()?;
        Ok(Self { spec, embedding, layers, norm, head, vocabulary })
    }

    /// Runs a step: writes the rows' keys and values into the cache and gives the logits of the
    /// wanted rows, [wanted, vocabulary], one after the other.
    pub(crate) fn forward(
        &self,
        step: &Step<'_>,
        cache: &mut Pool,
    ) -> candle_core::Result<Vec<Vec<f32>>> {
        let ids = Tensor::new(step.tokens.as_slice(), &Device::Cpu)?;
        let rows = self.embedding.rows(&ids)?; // [rows, width]
        let angles = self.spec.rope.angles(step.positions.iter().copied());
        for (number, layer) in self.layers.iter().enumerate() {
            self.attend(layer, number, &rows, step, &angles, cache)?;
            let normal = layer.feed_norm.forward(&rows)?;
            let [gate, up] = project([&layer.gate, &layer.up], &normal)?;
            gate_silu(&gate, &up)?;
            add_into(&rows, &layer.down.forward(&gate)?)?;
        }
        if step.wanted.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = Tensor::new(step.wanted.as_slice(), &Device::Cpu)?;
        let last = self.norm.forward(&rows.index_select(&wanted, 0)?)?;
        let logits = self.head.as_ref().unwrap_or(&self.embedding).forward(&last)?;
        // Quantizing a row makes numbers of what is none: it would answer as if nothing were wrong.
        let sound = with_elements(&last, |all| {
            all.chunks_exact(self.spec.width)
                .map(|row| row.iter().all(|x| x.is_finite()))
                .collect::<Vec<bool>>()
        })?;
        with_elements(&logits, |all| {
            let rows = all.chunks_exact(self.vocabulary).zip(sound);
            rows.map(
                |(row, is_sound)| if is_sound { row.to_vec() } else { vec![f32::NAN; row.len()] },
            )
            .collect()
        })
    }

    fn attend(
        &self,
        layer: &Layer,
        number: usize,
        rows: &Tensor,
        step: &Step<'_>,
        angles: &RopeAngles,
        cache: &mut Pool,
    ) -> candle_core::Result<()> {
        let DecoderSpec { heads, kv_heads, head_dim, epsilon, .. } = self.spec;
        let normal = layer.attention_norm.forward(rows)?;
        let [q, k, v] = project([&layer.q, &layer.k, &layer.v], &normal)?;
        let norm = |weight: &Option<Vec<f32>>| weight.is_some().then_some(epsilon);
        let turned = |rows: &Tensor, weight: &Option<Vec<f32>>| {
            let norm = weight.as_deref().zip(norm(weight));
            Heads { head_dim, norm, angles }.apply(rows)
        };
        turned(&q, &layer.q_norm)?;
        turned(&k, &layer.k_norm)?;
        with_elements(&k, |keys| {
            with_elements(&v, |values| cache.storage_mut().write(number, &step.slots, keys, values))
        })??;
        let shape =
            AttentionShape { heads, kv_heads, head_dim, scale: (head_dim as f32).sqrt().recip() };
        let mixed = with_elements(&q, |queries| {
            attend(queries, &step.runs, cache.storage(), number, shape)
        })?;
        let mixed = Tensor::from_vec(mixed, (step.tokens.len(), heads * head_dim), &Device::Cpu)?;
        add_into(rows, &layer.out.forward(&mixed)?)
    }
}

impl Layer {
    fn load(read: &Weights<'_>, spec: &DecoderSpec, number: usize) -> Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{number}.{part}.weight");
        let (width, hidden) = (spec.width, spec.hidden);
        let (q_width, kv_width) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let biased = |part: &str, out: usize| {
            let bias =
                if spec.has_qkv_bias { Some(format!("blk.{number}.{part}.bias")) } else { None };
            read.matrix(&name(part), out, width, bias)
        };
        let head_norm = |part: &str| {
            if spec.has_qk_norm {
                read.vector(&name(part), spec.head_dim).map(Some)
            } else {
                Ok(None)
            }
        };
        Ok(Self {
            attention_norm: read.norm(&name("attn_norm"), width, spec.epsilon)?,
            q: biased("attn_q", q_width)?,
            k: biased("attn_k", kv_width)?,
            v: biased("attn_v", kv_width)?,
            out: read.matrix(&name("attn_output"), width, q_width, None)?,
            q_norm: head_norm("attn_q_norm")?,
            k_norm: head_norm("attn_k_norm")?,
            feed_norm: read.norm(&name("ffn_norm"), width, spec.epsilon)?,
            gate: read.matrix(&name("ffn_gate"), hidden, width, None)?,
            up: read.matrix(&name("ffn_up"), hidden, width, None)?,
            down: read.matrix(&name("ffn_down"), width, hidden, None)?,
        })
    }
}

/// Reads weights, each held against the shape it must have.
struct Weights<'a> {
    file: &'a File,
    /// The names of those that the decoder has.
    taken: RefCell<HashSet<String>>,
}

/// Tensors that are read elsewhere, or hold what is computed here.
const NOT_OURS: [&str; 2] = ["rope_freqs.weight", "rope_factors"];

impl Weights<'_> {
    /// A weight that nothing uses is a part of the model that would be left out.
    fn check_all_taken(&self) -> Result<(), LoadError> {
        let taken = self.taken.borrow();
        let left = self.file.tensors().iter().map(|tensor| &tensor.name).find(|name| {
            !taken.contains(*name) && !NOT_OURS.iter().any(|known| name.starts_with(known))
        });
        match left {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().filter(char::is_ascii_graphic).take(64).collect();
                Err(LoadError::Unsupported(format!("the tensor \"{name}\"")))
            }
        }
    }

    fn check(&self, name: &str, shape: &[usize]) -> Result<(), LoadError> {
        self.taken.borrow_mut().insert(name.to_owned());
        let found = &self.file.required_tensor(name)?.shape;
        if found == shape {
            return Ok(());
        }
        let problem = format!("its shape is {found:?}, and {shape:?} is what the model needs");
        Err(LoadError::Number { key: name.to_owned(), problem })
    }

    fn matrix(
        &self,
        name: &str,
        out: usize,
        input: usize,
        bias: Option<String>,
    ) -> Result<Linear, LoadError> {
        self.check(name, &[out, input])?;
        let bias = bias.map(|name| self.tensor(&name, out)).transpose()?;
        let info = self.file.required_tensor(name)?;
        let bytes = self.file.tensor_bytes(info)?;
        if let Some(linear) = Linear::float(info.dtype, bytes, input, bias.clone()) {
            return Ok(linear);
        }
        let weight = Arc::new(self.file.qtensor(name, &Device::Cpu)?);
        Linear::quantized(weight, bias).map_err(unreadable)
    }

    fn norm(&self, name: &str, width: usize, epsilon: f32) -> Result<RmsNorm, LoadError> {
        Ok(RmsNorm::new(self.tensor(name, width)?, epsilon))
    }

    fn tensor(&self, name: &str, length: usize) -> Result<Tensor, LoadError> {
        self.check(name, &[length])?;
        let tensor = self.file.qtensor(name, &Device::Cpu)?;
        let numbers = tensor.dequantize(&Device::Cpu).map_err(unreadable)?;
        let is_finite = with_elements(&numbers, |all| all.iter().all(|x| x.is_finite()));
        if is_finite.map_err(unreadable)? {
            return Ok(numbers);
        }
        let problem = "it holds something that is not a number".to_owned();
        Err(LoadError::Number { key: name.to_owned(), problem })
    }

    fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
        self.tensor(name, length)?.to_vec1().map_err(unreadable)
    }
}

fn unreadable(error: candle_core::Error) -> LoadError {
    LoadError::File(error.to_string())
}

/// Reads the elements of a contiguous f32 tensor in place.
fn with_elements<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> candle_core::Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    let (TensorStorage::Cpu(CpuStorage::F32(data)), Some((start, end))) =
        (&*storage, layout.contiguous_offsets())
    else {
        candle_core::bail!("expected contiguous f32 on the CPU");
    };
    Ok(read(&data[start..end]))
}
