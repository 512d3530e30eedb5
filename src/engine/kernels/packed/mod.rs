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
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod file_blocks;
mod format;
mod heads;
mod lines;
mod portable;
mod product;
#[cfg(test)]
mod tests;
mod tile;

pub(crate) use activations::Activations;
use file_blocks::FileBlock;
use format::{Format, GROUP};
use lines::{LANES, Lanes, Line};
pub(crate) use product::products;
pub(crate) use tile::Instructions;
use tile::Tile;

use super::{ask_for_large_pages, for_each};
use crate::engine::gguf::TensorType;

/// A matrix of packed weights, [outputs, columns].
#[derive(Debug)]
pub(crate) struct PackedMatrix {
    format: Format,
    outputs: usize,
    columns: usize,
    /// [tiles, groups, lines of a group]
    lines: Vec<Line>,
    /// [tiles, blocks, bytes of 16 rows by a block]
    heads: Vec<u8>,
}

impl PackedMatrix {
    /// Packs rows of blocks as they are in a file; none where the type is not packed. The blocks
    /// divide a row.
    pub(crate) fn pack(kind: TensorType, bytes: &[u8], columns: usize) -> Option<Self> {
        let format = Format::of(kind)?;
        let row_bytes = columns / format.block * format.block_bytes;
        let outputs = bytes.len() / row_bytes.max(1);
        let (tiles, size) = (outputs.div_ceil(LANES), TileSize::of(&format, columns));
        let mut lines = Vec::with_capacity(tiles * size.lines);
        ask_for_large_pages(&mut lines);
        lines.resize(tiles * size.lines, Line::ZERO);
        let mut heads = vec![0; tiles * size.head_bytes];
        let places = lines
            .chunks_exact_mut(size.lines.max(1))
            .zip(heads.chunks_exact_mut(size.head_bytes.max(1)));
        let parts = bytes.chunks((LANES * row_bytes).max(1)).zip(places);
        for_each(
            parts,
            || (),
            |(), (rows, (lines, heads))| {
                pack_tile(&format, rows, row_bytes, lines, heads);
            },
        );
        Some(Self { format, outputs, columns, lines, heads })
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
    pub(crate) fn row(&self, number: usize, scratch: &mut Scales, out: &mut [f32]) -> bool {
        if number >= self.outputs || out.len() != self.columns {
            return false;
        }
        let (code, lane) = (self.format.code, number % LANES);
        let tile = self.tile(number / LANES, scratch, Instructions::best());
        let parts = code.parts();
        for (group, (lines, out)) in
            tile.lines.chunks_exact(code.lines()).zip(out.chunks_exact_mut(GROUP)).enumerate()
        {
            for (quad, out) in out.chunks_exact_mut(4).enumerate() {
                let part = group * parts + quad * parts / 8;
                let scale = tile.scales[part].0[lane];
                let minimum = tile.minima.get(part).map_or(0.0, |minima| minima.0[lane]);
                for (out, own) in out.iter_mut().zip(lines::codes(code, lines, quad, lane)) {
                    *out = scale * (f32::from(own) - f32::from(code.offset())) - minimum;
                }
            }
        }
        true
    }

    /// How many times 16 rows there are.
    fn tiles(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// Sixteen rows, their scales widened into `scratch`.
    fn tile<'a>(&'a self, number: usize, scratch: &'a mut Scales, with: Instructions) -> Tile<'a> {
        let (code, size) = (self.format.code, TileSize::of(&self.format, self.columns));
        let scales = self.columns / GROUP * code.parts();
        let minima = if code.has_minima() { scales } else { 0 };
        scratch.0.resize(scales + minima, Lanes::ZERO);
        let (scales, minima) = scratch.0.split_at_mut(scales);
        let bytes = &self.heads[number * size.head_bytes..][..size.head_bytes];
        heads::widen(self.format.heads, bytes, scales, minima, with);
        Tile { code, lines: &self.lines[number * size.lines..][..size.lines], scales, minima }
    }
}

/// What sixteen rows take.
#[derive(Clone, Copy, Debug)]
struct TileSize {
    lines: usize,
    head_bytes: usize,
}

impl TileSize {
    fn of(format: &Format, columns: usize) -> Self {
        Self {
            lines: columns / GROUP * format.code.lines(),
            head_bytes: columns / format.block * format.heads.bytes(),
        }
    }
}

/// Bytes that a matrix takes packed; none where the type is not packed.
pub(crate) fn packed_bytes(kind: TensorType, outputs: usize, columns: usize) -> Option<usize> {
    let size = TileSize::of(&Format::of(kind)?, columns);
    Some(outputs.div_ceil(LANES) * (size.lines * size_of::<Line>() + size.head_bytes))
}

/// Whether weights are packed. On ARM candle has kernels for its vectors, and these have none.
pub(crate) const PACKS: bool = !cfg!(target_arch = "aarch64");

/// Room for the scales of sixteen rows as f32.
#[derive(Debug, Default)]
pub(crate) struct Scales(Vec<Lanes>);

/// Packs up to sixteen rows.
fn pack_tile(format: &Format, rows: &[u8], row_bytes: usize, lines: &mut [Line], heads: &mut [u8]) {
    let mut whole = [[Line::ZERO; 8]; 256 / GROUP];
    let mut block = FileBlock::ZERO;
    let blocks = lines
        .chunks_exact_mut(format.block / GROUP * format.code.lines())
        .zip(heads.chunks_exact_mut(format.heads.bytes()));
    for (at, (lines, heads)) in blocks.enumerate() {
        for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
            (format.read)(&row[at * format.block_bytes..][..format.block_bytes], &mut block);
            heads::put(format.heads, &block, lane, heads);
            let quads = block.codes[..format.block].as_chunks::<4>().0;
            for (line, quad) in whole.as_flattened_mut().iter_mut().zip(quads) {
                line.0.as_chunks_mut::<4>().0[lane] = *quad;
            }
        }
        for (lines, whole) in lines.chunks_exact_mut(format.code.lines()).zip(&whole) {
            lines::pack(format.code, whole, lines);
        }
    }
}
