//! The numbers of the cache. Within a block, for each layer and head, keys lie with the tokens side
//! by side ([head_dim, tokens]) and values with the elements side by side ([tokens, head_dim]): so
//! both products of attention run along the vector unit.

use std::ops::Range;

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use smallvec::{SmallVec, smallvec};

use super::bytes::{Bytes, Lies};
use super::{BLOCK_TOKENS, BlockId};
use crate::engine::KvPrecision;
use crate::engine::kernels::{Ahead, Target, ask_for_large_pages, widen};

/// So many numbers, those of a head or two, need no memory of their own.
const FEW: usize = 256;

/// What a cache holds for each token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheShape {
    /// Layers of the model.
    pub(crate) layers: usize,
    /// Heads of keys and values.
    pub(crate) kv_heads: usize,
    /// Elements of a head.
    pub(crate) head_dim: usize,
    /// How each element is kept.
    pub(crate) precision: KvPrecision,
}

impl CacheShape {
    /// Elements of the keys, or of the values, of one head in one block.
    fn piece(&self) -> usize {
        self.head_dim * BLOCK_TOKENS
    }

    /// Elements of a block.
    fn block(&self) -> usize {
        self.pieces() * self.piece()
    }

    /// Keys, or values, of one head in a block.
    fn pieces(&self) -> usize {
        self.layers * self.kv_heads * 2
    }

    /// Bytes of a block.
    pub(crate) fn block_bytes(&self) -> usize {
        match self.precision {
            KvPrecision::F16 => self.block() * 2,
            KvPrecision::F32 => self.block() * 4,
            KvPrecision::Q8 => self.pieces() * Bytes::of_piece(self.head_dim),
        }
    }

    /// Where the keys of a head begin; its values follow them.
    fn start(&self, place: Place) -> usize {
        let Place { layer, block, head } = place;
        block as usize * self.block() + (layer * self.kv_heads + head) * 2 * self.piece()
    }
}

/// One head of one layer in one block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The layer.
    pub(crate) layer: usize,
    /// The block.
    pub(crate) block: BlockId,
    /// The head of keys and values.
    pub(crate) head: usize,
}

/// The allocation. Fresh pages come from the system only when they are first written.
pub(crate) struct Storage {
    shape: CacheShape,
    numbers: Numbers,
}

enum Numbers {
    /// The bits of f16: zeroed memory of integers is had without touching it.
    F16(Vec<u16>),
    F32(Vec<f32>),
    Q8(Bytes),
}

/// The bits of an f16: those of the largest number in the place of infinity, which would make a
/// NaN even where it is weighed with nothing. A NaN stays one, to be noticed.
fn finite(bits: u16) -> u16 {
    if bits & 0x7fff == 0x7c00 { bits - 1 } else { bits }
}

/// Rounds numbers to the bits of f16.
fn narrow(numbers: &[f32], into: &mut [u16]) {
    into.reinterpret_cast_mut::<f16>().convert_from_f32_slice(numbers);
    for bits in into {
        *bits = finite(*bits);
    }
}

/// Writes tokens, [tokens, head_dim], into a piece where they lie side by side, [head_dim, tokens].
fn put_across<T: Copy>(piece: &mut [T], offset: usize, tokens: &[T], head_dim: usize) {
    for (element, row) in piece.chunks_exact_mut(BLOCK_TOKENS).enumerate() {
        for (slot, token) in row[offset..].iter_mut().zip(tokens.chunks_exact(head_dim)) {
            *slot = token[element];
        }
    }
}

/// So many noughts, in large pages.
pub(super) fn zeros<T: Clone + Default>(count: usize) -> Vec<T> {
    let mut zeros = vec![T::default(); count];
    ask_for_large_pages(&mut zeros);
    zeros
}

impl Storage {
    /// Room for so many blocks.
    pub(super) fn new(shape: CacheShape, blocks: usize) -> Self {
        let elements = shape.block() * blocks;
        let numbers = match shape.precision {
            KvPrecision::F16 => Numbers::F16(zeros(elements)),
            KvPrecision::F32 => Numbers::F32(zeros(elements)),
            KvPrecision::Q8 => Numbers::Q8(Bytes::new(shape.head_dim, shape.pieces() * blocks)),
        };
        Self { shape, numbers }
    }

    /// Writes one layer's keys and values, [slots, kv_heads × head_dim], to places in blocks.
    pub(crate) fn write(
        &mut self,
        layer: usize,
        slots: &[(BlockId, usize)],
        keys: &[f32],
        values: &[f32],
    ) {
        let width = self.shape.kv_heads * self.shape.head_dim;
        let mut first = 0;
        while let Some(&(block, offset)) = slots.get(first) {
            let follows = |(slot, offset): &(&(BlockId, usize), usize)| **slot == (block, *offset);
            let count = slots[first..].iter().zip(offset..).take_while(follows).count();
            let of = first * width..(first + count) * width;
            for head in 0..self.shape.kv_heads {
                let place = Place { layer, block, head };
                self.write_head(place, offset, &keys[of.clone()], &values[of.clone()]);
            }
            first += count;
        }
    }

    /// Writes the keys and values of a head, out of those of all heads, for tokens of a block that follow
    /// each other: what lies side by side there is written at once.
    fn write_head(&mut self, place: Place, offset: usize, keys: &[f32], values: &[f32]) {
        let CacheShape { kv_heads, head_dim, .. } = self.shape;
        let (piece, start) = (self.shape.piece(), self.shape.start(place));
        let own = |rows: &[f32]| -> SmallVec<[f32; FEW]> {
            let mut own = SmallVec::with_capacity(rows.len() / kv_heads);
            for row in rows.chunks_exact(kv_heads * head_dim) {
                own.extend_from_slice(&row[place.head * head_dim..][..head_dim]);
            }
            own
        };
        let (keys, values) = (own(keys), own(values));
        let (keys_at, values_at) = (start..start + piece, start + piece + offset * head_dim);
        match &mut self.numbers {
            Numbers::F16(numbers) => {
                let mut narrowed: SmallVec<[u16; FEW]> = smallvec![0; keys.len()];
                narrow(&keys, &mut narrowed);
                put_across(&mut numbers[keys_at], offset, &narrowed, head_dim);
                narrow(&values, &mut numbers[values_at..values_at + values.len()]);
            }
            Numbers::F32(numbers) => {
                put_across(&mut numbers[keys_at], offset, &keys, head_dim);
                numbers[values_at..values_at + values.len()].copy_from_slice(&values);
            }
            Numbers::Q8(bytes) => {
                let tokens = keys.chunks_exact(head_dim).zip(values.chunks_exact(head_dim));
                for (token, (key, value)) in (offset..).zip(tokens) {
                    bytes.write(start / piece, token, key, value);
                }
            }
        }
    }

    /// Some elements of the keys at a place, [elements, tokens]; the first is a multiple of 32.
    pub(crate) fn keys<'a>(
        &'a self,
        place: Place,
        elements: Range<usize>,
        wide: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        self.some(self.shape.start(place), Lies::Across, elements, wide)
    }

    /// The values of some tokens at a place, [tokens, head_dim].
    pub(crate) fn values<'a>(
        &'a self,
        place: Place,
        tokens: Range<usize>,
        wide: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        self.some(self.shape.start(place) + self.shape.piece(), Lies::Along, tokens, wide)
    }

    /// The memory of the keys at a place, and that of the values.
    pub(crate) fn ahead(&self, place: Place) -> [Ahead<'_>; 2] {
        let (keys, size) = (self.shape.start(place), self.shape.piece());
        [keys, keys + size].map(|from| match &self.numbers {
            Numbers::F16(numbers) => Ahead::of(&numbers[from..from + size]),
            Numbers::F32(numbers) => Ahead::of(&numbers[from..from + size]),
            Numbers::Q8(bytes) => bytes.ahead(from / size),
        })
    }

    /// Copies a block over another one.
    pub(super) fn copy(&mut self, from: BlockId, to: BlockId) {
        let [from, to] = [from, to].map(|block| block as usize);
        let of = |each: usize| (from * each..(from + 1) * each, to * each);
        let (elements, elements_to) = of(self.shape.block());
        let (pieces, pieces_to) = of(self.shape.pieces());
        match &mut self.numbers {
            Numbers::F16(numbers) => numbers.copy_within(elements, elements_to),
            Numbers::F32(numbers) => numbers.copy_within(elements, elements_to),
            Numbers::Q8(bytes) => bytes.copy(pieces, pieces_to),
        }
    }

    /// Overwrites a block with zeros.
    pub(super) fn erase(&mut self, block: BlockId) {
        let of = |each: usize| block as usize * each..(block as usize + 1) * each;
        match &mut self.numbers {
            Numbers::F16(numbers) => numbers[of(self.shape.block())].fill(0),
            Numbers::F32(numbers) => numbers[of(self.shape.block())].fill(0.0),
            Numbers::Q8(bytes) => bytes.erase(of(self.shape.pieces())),
        }
    }

    /// Some rows of the piece that begins at a number.
    fn some<'a>(
        &'a self,
        from: usize,
        lies: Lies,
        rows: Range<usize>,
        wide: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let width = match lies {
            Lies::Across => BLOCK_TOKENS,
            Lies::Along => self.shape.head_dim,
        };
        let range = from + rows.start * width..from + rows.end * width;
        if wide.len() < range.len() {
            wide.resize(range.len(), 0.0);
        }
        let wide = &mut wide[..range.len()];
        match &self.numbers {
            Numbers::F32(numbers) => return &numbers[range],
            Numbers::F16(numbers) => widen(Target::best(), &numbers[range], wide),
            Numbers::Q8(bytes) => bytes.read(from / self.shape.piece(), lies, rows, wide),
        }
        wide
    }
}
