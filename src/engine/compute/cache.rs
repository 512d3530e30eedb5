//! Keys and values on a device: for each layer one tensor of all slots, [blocks × tokens of a
//! block, 2 × kv_heads × head_dim], the keys of a token before its values. It is written and read by
//! the numbers of slots, so that a step costs what its own tokens cost, however large the cache is.

use candle_core::{DType, Device, Result, Tensor};

use crate::engine::KvPrecision;
use crate::engine::kv::{BLOCK_TOKENS, BlockId, CacheShape};

/// Candle's kernels count the elements of a tensor in 32 bits.
const ELEMENTS_MAX: usize = u32::MAX as usize;

/// The cache.
pub(crate) struct DeviceCache {
    layers: Vec<Tensor>,
    /// What a block is overwritten with.
    zeros: Tensor,
}

/// Elements of a layer for each token.
fn width(shape: &CacheShape) -> usize {
    2 * shape.kv_heads * shape.head_dim
}

/// The most blocks a cache on a device can have.
pub(crate) fn blocks_max(shape: &CacheShape) -> usize {
    ELEMENTS_MAX / (width(shape) * BLOCK_TOKENS).max(1)
}

impl DeviceCache {
    /// Room for so many blocks, all of it taken at once.
    pub(crate) fn new(shape: &CacheShape, blocks: usize, device: &Device) -> Result<Self> {
        let dtype = match shape.precision {
            KvPrecision::F16 | KvPrecision::Q8 => DType::F16,
            KvPrecision::F32 => DType::F32,
        };
        let tensor = |slots| Tensor::zeros((slots, width(shape)), dtype, device);
        let layers = (0..shape.layers).map(|_| tensor(blocks * BLOCK_TOKENS));
        Ok(Self { layers: layers.collect::<Result<_>>()?, zeros: tensor(BLOCK_TOKENS)? })
    }

    fn layer(&self, number: usize) -> Result<&Tensor> {
        self.layers.get(number).ok_or_else(|| {
            candle_core::Error::Msg(format!("the cache of a device has no layer {number}"))
        })
    }

    /// Writes one layer's keys and values, [rows, kv_heads × head_dim] each, to `places`: the slot of
    /// each row, for every element, [rows, 2 × kv_heads × head_dim]. What is too large for f16 becomes
    /// infinite, and is noticed in the logits.
    pub(super) fn write(
        &self,
        number: usize,
        places: &Tensor,
        [keys, values]: [&Tensor; 2],
    ) -> Result<()> {
        let layer = self.layer(number)?;
        let both = Tensor::cat(&[keys, values], 1)?.to_dtype(layer.dtype())?;
        layer.scatter_set(places, &both, 0)
    }

    /// One layer's keys and values of slots, [slots, 2 × kv_heads × head_dim]. `NO_SLOT` gives zeros.
    pub(super) fn read(&self, number: usize, slots: &Tensor) -> Result<Tensor> {
        self.layer(number)?.index_select(slots, 0)
    }

    /// Copies a block over another one.
    pub(crate) fn copy(&self, from: BlockId, to: BlockId) -> Result<()> {
        let [from, to] = [from, to].map(|block| block as usize * BLOCK_TOKENS);
        self.layers.iter().try_for_each(|layer| {
            let block = layer.narrow(0, from, BLOCK_TOKENS)?.copy()?;
            layer.slice_set(&block, 0, to)
        })
    }

    /// Overwrites a block with zeros.
    pub(crate) fn erase(&self, block: BlockId) -> Result<()> {
        let from = block as usize * BLOCK_TOKENS;
        self.layers.iter().try_for_each(|layer| layer.slice_set(&self.zeros, 0, from))
    }
}

/// The slot that is none: candle gives zeros for it, on every device.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// The slot of a position of a sequence with these blocks.
pub(super) fn slot(blocks: &[BlockId], position: usize) -> u32 {
    let block = blocks.get(position / BLOCK_TOKENS);
    block.map_or(NO_SLOT, |block| block * BLOCK_TOKENS as u32 + (position % BLOCK_TOKENS) as u32)
}
