//! Keys and values in eight bits, with a scale for every 32 elements of a head.

use std::ops::Range;

use smallvec::{SmallVec, smallvec};

use super::BLOCK_TOKENS;
use super::storage::zeros;
use crate::engine::kernels::{Ahead, SHARED, Target, ToBytes, Widen, widen};

/// How a piece lies: keys with the tokens side by side, values with the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lies {
    Across,
    Along,
}

/// Pieces: the keys, or the values, of one head in one block.
pub(super) struct Bytes {
    head_dim: usize,
    /// [pieces, head_dim, tokens] where keys are, [pieces, tokens, head_dim] where values are.
    codes: Vec<u8>,
    /// The bits of f16, [pieces, groups, tokens] or [pieces, tokens, groups].
    scales: Vec<u16>,
}

const _: () = assert!(BLOCK_TOKENS == SHARED, "the tokens of a block are read side by side");

impl Bytes {
    /// Room for so many pieces.
    pub(super) fn new(head_dim: usize, pieces: usize) -> Self {
        let codes = zeros(pieces * head_dim * BLOCK_TOKENS);
        let scales = zeros(pieces * scales_of(head_dim));
        Self { head_dim, codes, scales }
    }

    /// Bytes of a piece.
    pub(super) fn of_piece(head_dim: usize) -> usize {
        head_dim * BLOCK_TOKENS + scales_of(head_dim) * size_of::<u16>()
    }

    /// Writes the key of a token into a piece, and its value into the next one.
    pub(super) fn write(&mut self, piece: usize, token: usize, key: &[f32], value: &[f32]) {
        let groups = self.head_dim.div_ceil(SHARED);
        let (mut codes, mut scales) = (vec![0; self.head_dim], vec![0; groups]);
        let (of_codes, of_scales) = self.ranges(piece..piece + 1);
        Target::best().run(ToBytes { numbers: key, codes: &mut codes, scales: &mut scales });
        let column = self.codes[of_codes].iter_mut().skip(token).step_by(BLOCK_TOKENS);
        column.zip(codes).for_each(|(place, code)| *place = code);
        let column = self.scales[of_scales].iter_mut().skip(token).step_by(BLOCK_TOKENS);
        column.zip(scales).for_each(|(place, scale)| *place = scale);
        let (of_codes, of_scales) = self.ranges(piece + 1..piece + 2);
        Target::best().run(ToBytes {
            numbers: value,
            codes: &mut self.codes[of_codes][token * self.head_dim..][..self.head_dim],
            scales: &mut self.scales[of_scales][token * groups..][..groups],
        });
    }

    /// The numbers of some rows of a piece, as it lies; of keys the first is a multiple of `SHARED`.
    pub(super) fn read(&self, piece: usize, lies: Lies, rows: Range<usize>, wide: &mut [f32]) {
        let (codes, scales) = self.ranges(piece..piece + 1);
        let (codes, scales, width) = (&self.codes[codes], &self.scales[scales], self.head_dim);
        let widened = |scales: &[u16]| {
            let mut wide: SmallVec<[f32; 256]> = smallvec![0.0; scales.len()];
            widen(Target::best(), scales, &mut wide);
            wide
        };
        match lies {
            Lies::Across => {
                let groups = rows.start / SHARED..rows.end.div_ceil(SHARED);
                let codes = &codes[rows.start * BLOCK_TOKENS..rows.end * BLOCK_TOKENS];
                let scales =
                    widened(&scales[groups.start * BLOCK_TOKENS..groups.end * BLOCK_TOKENS]);
                Widen { codes, scales: &scales, wide }.across(Target::best());
            }
            Lies::Along => {
                let groups = width.div_ceil(SHARED);
                let codes = &codes[rows.start * width..rows.end * width];
                let scales = widened(&scales[rows.start * groups..rows.end * groups]);
                Widen { codes, scales: &scales, wide }.along(Target::best(), width);
            }
        }
    }

    /// The memory of the codes of a piece; its scales are few.
    pub(super) fn ahead(&self, piece: usize) -> Ahead<'_> {
        Ahead::of(&self.codes[self.ranges(piece..piece + 1).0])
    }

    /// Copies pieces to where others are.
    pub(super) fn copy(&mut self, from: Range<usize>, to: usize) {
        let (codes, scales) = self.ranges(from);
        let (codes_to, scales_to) = self.ranges(to..to);
        self.codes.copy_within(codes, codes_to.start);
        self.scales.copy_within(scales, scales_to.start);
    }

    /// Overwrites pieces with zeros.
    pub(super) fn erase(&mut self, pieces: Range<usize>) {
        let (codes, scales) = self.ranges(pieces);
        self.codes[codes].fill(0);
        self.scales[scales].fill(0);
    }

    fn ranges(&self, pieces: Range<usize>) -> (Range<usize>, Range<usize>) {
        let of = |each: usize| pieces.start * each..pieces.end * each;
        (of(self.head_dim * BLOCK_TOKENS), of(scales_of(self.head_dim)))
    }
}

/// Scales of a piece.
fn scales_of(head_dim: usize) -> usize {
    head_dim.div_ceil(SHARED) * BLOCK_TOKENS
}
