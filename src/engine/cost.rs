//! What a token costs a model, by its file alone: weights that are multiplied, bytes that are read.
//! Knows nothing of how the engine computes, so that what it does can be held against it.

use super::embedding;
use super::error::LoadError;
use super::families;
use super::gguf::TensorInfo;
use super::kv::BLOCK_TOKENS;
use super::load;
use super::{KvPrecision, Weights};

/// What a token costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// The longest prompt and answer together.
    pub context_tokens: usize,
    /// What every token goes through in the layers.
    layers: Matrices,
    /// Experts, all of them.
    experts: Matrices,
    /// The share of the experts that a token goes through.
    share: f64,
    /// What makes logits of a row.
    head: Matrices,
    /// Bytes of keys and values of one token in one layer.
    cache_bytes: usize,
    /// How many positions each layer sees, where it does not see all.
    windows: Vec<Option<usize>>,
}

/// Some matrices together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Matrices {
    weights: f64,
    bytes: f64,
}

impl Matrices {
    fn add(&mut self, tensor: &TensorInfo) {
        // Biases and norms are read and not multiplied with a row.
        self.weights += if tensor.shape.len() > 1 { tensor.elements() as f64 } else { 0.0 };
        self.bytes += tensor.bytes as f64;
    }
}

impl Cost {
    /// Reads it from a model's file, for a cache of this precision. None for models that make vectors and do not write.
    pub fn of(weights: Weights, precision: KvPrecision) -> Result<Option<Self>, LoadError> {
        let file = load::open(weights)?;
        if embedding::is_embedding(&file)? {
            return Ok(None);
        }
        let spec = families::spec(&file, None)?;
        let [mut layers, mut experts, mut head] = [Matrices::default(); 3];
        let block = spec.cache_shape(precision).block_bytes();
        let own_head = file.tensor("output.weight");
        for tensor in file.tensors().iter().filter(|tensor| tensor.name.starts_with("blk.")) {
            if tensor.shape.len() == 3 { experts.add(tensor) } else { layers.add(tensor) }
        }
        // Without a head of its own, the embedding is the head too.
        head.add(own_head.map_or_else(|| file.required_tensor("token_embd.weight"), Ok)?);
        Ok(Some(Self {
            context_tokens: spec.context,
            layers,
            experts,
            share: spec.experts.map_or(0.0, |experts| experts.used as f64 / experts.count as f64),
            head,
            cache_bytes: block / BLOCK_TOKENS / spec.layers.len(),
            windows: spec.layers.iter().map(|layer| layer.window).collect(),
        }))
    }

    /// Weights that one token of a prompt is multiplied with: those of the layers. The head sees only
    /// the last.
    pub fn prompt_weights(&self) -> f64 {
        self.layers.weights + self.share * self.experts.weights
    }

    /// Weights that one token of an answer is multiplied with.
    pub fn answer_weights(&self) -> f64 {
        self.prompt_weights() + self.head.weights
    }

    /// Bytes of weights that a step reads which makes one token for each of so many streams. Each
    /// stream chooses its experts for itself: this is how many are read where they choose by chance.
    pub fn step_bytes(&self, streams: usize) -> f64 {
        let missed = (1.0 - self.share).powi(streams.min(1 << 16) as i32);
        self.layers.bytes + self.head.bytes + (1.0 - missed) * self.experts.bytes
    }

    /// Bytes of keys and values that a token reads which has so many before it.
    pub fn cache_bytes(&self, tokens: usize) -> f64 {
        let seen = |window: &Option<usize>| window.map_or(tokens, |most| tokens.min(most));
        self.windows.iter().map(seen).sum::<usize>() as f64 * self.cache_bytes as f64
    }

    /// Bytes of the cache that a token takes, whatever its layers see later.
    pub fn token_bytes(&self) -> usize {
        self.cache_bytes * self.windows.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(name: &str) -> Cost {
        let path = crate::testing::root().join(format!("tests/engine/golden/{name}.gguf"));
        Cost::of(Weights::File(path), KvPrecision::F16).expect("a sound file").expect("it writes")
    }

    /// Layers, width, hidden; the head is as wide as the vocabulary of 256.
    fn by_hand(layers: f64, width: f64, hidden: f64) -> f64 {
        // Queries and output are as wide as a row, keys and values half of that.
        layers * (3.0 * width * width + 3.0 * width * hidden)
    }

    #[test]
    fn the_weights_are_those_that_the_shape_says() {
        let cost = golden("llama");
        assert_eq!(cost.prompt_weights(), by_hand(4.0, 64.0, 96.0));
        assert_eq!(cost.answer_weights() - cost.prompt_weights(), 64.0 * 256.0);
        // Tied: no head in the file, and the same cost.
        let tied = golden("llama3");
        assert_eq!(tied.answer_weights(), cost.answer_weights());
        assert_eq!((cost.context_tokens, cost.token_bytes()), (512, 4 * 2 * 2 * 16 * 2));
        assert_eq!(cost.cache_bytes(10), 10.0 * cost.token_bytes() as f64);
        assert_eq!(cost.step_bytes(1), cost.step_bytes(16));
    }

    #[test]
    fn of_experts_a_token_sees_few_and_a_crowd_nearly_all() {
        let cost = golden("mixtral");
        let dense = by_hand(4.0, 64.0, 0.0) + 4.0 * 4.0 * 64.0;
        assert_eq!(cost.prompt_weights(), dense + 4.0 * 2.0 * 3.0 * 64.0 * 96.0);
        let (one, two, many) = (cost.step_bytes(1), cost.step_bytes(2), cost.step_bytes(64));
        let experts = cost.experts.bytes;
        assert!((two - one - experts / 4.0).abs() < 1.0, "half, and half of the other half");
        assert!(one < two && two < many && many <= cost.layers.bytes + cost.head.bytes + experts);
    }

    #[test]
    fn a_window_bounds_what_is_read_and_not_what_is_kept() {
        let cost = golden("gemma2");
        let whole = cost.token_bytes() as f64;
        assert_eq!(cost.cache_bytes(8), 8.0 * whole);
        assert_eq!(cost.cache_bytes(100), 108.0 / 2.0 * whole);
    }

    #[test]
    fn models_that_make_vectors_have_none() {
        let folder = crate::testing::root().join("tests/engine/embeddings");
        let path = folder.join("bert-mean.gguf");
        assert_eq!(Cost::of(Weights::File(path), KvPrecision::F16).expect("a sound file"), None);
    }
}
