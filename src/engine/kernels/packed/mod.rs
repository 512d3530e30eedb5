//! Quantized weights, packed for products with rows of eight bits: the only copy in memory.
//!
//! Sixteen rows of weights are interleaved. Their codes lie in lines (see `lines`), their scales
//! beside them (see `heads`); together they take what the blocks in the file take, or up to 4 % more
//! (Q3_K, Q4_K and Q5_K, whose scales are given whole bytes). The last rows are filled up to sixteen.
//!
//! Every result is added up group by group in the order of the columns, each in its own lane,
//! whatever rows stand beside it: a row gives the same bits alone and in any company.

mod activations;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod dispatch;
mod file_blocks;
mod format;
mod heads;
mod lines;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod product;
#[cfg(test)]
mod tests;
mod tile;

use std::ops::Range;

pub(crate) use activations::Activations;
use file_blocks::FileBlock;
use format::{Format, GROUP, Layout};
use lines::{LANES, Line};
pub(crate) use product::products;
pub(crate) use tile::Instructions;
use tile::Tiles;

use super::Rooms;
use super::room::{Room, bytes, bytes_mut};
use crate::engine::gguf::TensorType;

/// A matrix of packed weights, [outputs, columns].
#[derive(Debug)]
pub(crate) struct PackedMatrix {
    layout: Layout,
    outputs: usize,
    columns: usize,
    /// [tiles, groups, lines of a group]
    lines: Room,
    /// The bytes of [tiles, blocks, bytes of 16 rows by a block]. In one stream with the lines they are
    /// read more slowly than in one of their own.
    heads: Room,
}

impl PackedMatrix {
    /// Packs rows of blocks as they are in a file; none where the type is not packed. The blocks
    /// divide a row.
    pub(crate) fn pack(
        kind: TensorType,
        bytes: &[u8],
        columns: usize,
        rooms: &Rooms,
    ) -> Option<Self> {
        let format = Format::of(kind)?;
        let row_bytes = columns / format.layout.block() * format.block_bytes;
        let outputs = bytes.len().checked_div(row_bytes).unwrap_or(0);
        let (tiles, size) = (outputs.div_ceil(LANES), TileSize::of(format.layout, columns));
        let mut lines = rooms.take(tiles * size.lines);
        let mut heads = rooms.take((tiles * size.head_bytes).div_ceil(size_of::<Line>()));
        let places = lines
            .chunks_exact_mut(size.lines.max(1))
            .zip(bytes_mut(&mut heads).chunks_exact_mut(size.head_bytes.max(1)));
        // On this thread alone: files are read by several, and the computing threads may be at work
        // for a model that answers.
        for (rows, (lines, heads)) in bytes.chunks((LANES * row_bytes).max(1)).zip(places) {
            pack_tile(&format, rows, row_bytes, lines, heads);
        }
        Some(Self { layout: format.layout, outputs, columns, lines, heads })
    }

    /// How many rows there are.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// How many columns there are.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Writes a row of the matrix as f32, exactly; false where there is no such row.
    pub(crate) fn row(&self, number: usize, out: &mut [f32]) -> bool {
        if number >= self.outputs || out.len() != self.columns {
            return false;
        }
        let (layout, code, lane) = (self.layout, self.layout.code(), number % LANES);
        let tile = number / LANES;
        let tiles = self.some(tile..tile + 1);
        let blocks = tiles
            .lines
            .chunks_exact(layout.groups() * code.bits())
            .zip(tiles.heads.chunks_exact(layout.heads().bytes()));
        for ((lines, heads), out) in blocks.zip(out.chunks_exact_mut(layout.block())) {
            let of_block = heads::of_block(layout, heads).map(|lanes| lanes.0[lane]);
            let parts = out.chunks_exact_mut(GROUP / code.parts());
            for (part, out) in parts.enumerate() {
                let of_part = heads::of_part(layout, heads, part).map(|lanes| lanes.0[lane]);
                let [scale, minimum] = [0, 1].map(|which| of_block[which] * of_part[which]);
                let first = part * (GROUP / code.parts()) / 4;
                for (quad, out) in (first..).zip(out.chunks_exact_mut(4)) {
                    let lines = &lines[quad / 8 * code.lines()..][..code.lines()];
                    for (out, own) in out.iter_mut().zip(lines::codes(code, lines, quad % 8, lane))
                    {
                        *out = scale * (f32::from(own) - f32::from(code.offset())) - minimum;
                    }
                }
            }
        }
        true
    }

    /// How many times 16 rows there are.
    fn tiles(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// Some tiles.
    fn some(&self, tiles: Range<usize>) -> Tiles<'_> {
        let size = TileSize::of(self.layout, self.columns);
        Tiles {
            layout: self.layout,
            lines: &self.lines[tiles.start * size.lines..tiles.end * size.lines],
            heads: &bytes(&self.heads)[tiles.start * size.head_bytes..tiles.end * size.head_bytes],
            size,
        }
    }
}

/// What sixteen rows take.
#[derive(Clone, Copy, Debug)]
struct TileSize {
    lines: usize,
    head_bytes: usize,
}

impl TileSize {
    fn of(layout: Layout, columns: usize) -> Self {
        Self {
            lines: columns / GROUP * layout.code().lines(),
            head_bytes: columns / layout.block() * layout.heads().bytes(),
        }
    }
}

/// Bytes that a matrix takes packed; none where the type is not packed.
pub(crate) fn packed_bytes(kind: TensorType, outputs: usize, columns: usize) -> Option<usize> {
    let size = TileSize::of(Format::of(kind)?.layout, columns);
    let tiles = outputs.div_ceil(LANES);
    let heads = (tiles * size.head_bytes).next_multiple_of(size_of::<Line>());
    Some(tiles * size.lines * size_of::<Line>() + heads)
}

/// Packs up to sixteen rows.
fn pack_tile(format: &Format, rows: &[u8], row_bytes: usize, lines: &mut [Line], heads: &mut [u8]) {
    let layout = format.layout;
    let (code, of_heads) = (layout.code(), layout.heads());
    let mut whole = [[Line::ZERO; 8]; 256 / GROUP];
    let mut block = FileBlock::ZERO;
    let blocks = lines
        .chunks_exact_mut(layout.groups() * code.lines())
        .zip(heads.chunks_exact_mut(of_heads.bytes()));
    for (at, (lines, heads)) in blocks.enumerate() {
        for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
            (format.read)(&row[at * format.block_bytes..][..format.block_bytes], &mut block);
            heads::put(of_heads, &block, lane, heads);
            let quads = block.codes[..layout.block()].as_chunks::<4>().0;
            for (line, quad) in whole.as_flattened_mut().iter_mut().zip(quads) {
                line.0.as_chunks_mut::<4>().0[lane] = *quad;
            }
        }
        for (lines, whole) in lines.chunks_exact_mut(code.lines()).zip(&whole) {
            lines::pack(code, whole, lines);
        }
    }
}
