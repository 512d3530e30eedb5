//! Products of packed matrices with rows, spread over the threads.
#![expect(unsafe_code, reason = "results are written to memory that holds nothing yet")]

use std::mem::MaybeUninit;

use smallvec::SmallVec;

use super::activations::PANEL;
use super::lines::LANES;
use super::{Activations, Instructions, PackedMatrix};
use crate::engine::kernels::for_each;

/// Tiles of 16 outputs that a thread takes at a time, at least.
const PART: usize = 4;
/// Parts that a matrix is cut into at most: enough for many threads to end together.
const PARTS: usize = 256;

/// The products of several matrices with the same rows, each [rows, outputs]. The matrices have as
/// many columns as the rows.
pub(crate) fn products(
    matrices: &[&PackedMatrix],
    rows: &Activations,
    instructions: Instructions,
) -> Vec<Vec<f32>> {
    let place = |matrix: &&PackedMatrix| Box::new_uninit_slice(matrix.outputs() * rows.count());
    let mut all: Vec<Box<[MaybeUninit<f32>]>> = matrices.iter().map(place).collect();
    let mut parts = Vec::new();
    for (matrix, out) in matrices.iter().zip(&mut all) {
        assert_eq!(matrix.columns(), rows.columns(), "checked by the caller");
        parts.extend(cut(matrix, out));
    }
    for_each(parts, |part| part.multiply(rows, instructions));
    // SAFETY: the parts of `cut` together have every number of `all`, and `multiply` writes all that a
    // part has; had one of them panicked, `for_each` would have, too.
    all.into_iter().map(|out| unsafe { out.assume_init() }.into_vec()).collect()
}

/// Some tiles of a matrix, and where their results go.
struct Part<'a> {
    matrix: &'a PackedMatrix,
    /// The first tile.
    first: usize,
    /// For each row its results of these tiles.
    out: SmallVec<[&'a mut [MaybeUninit<f32>]; PANEL]>,
}

fn cut<'a>(matrix: &'a PackedMatrix, out: &'a mut [MaybeUninit<f32>]) -> Vec<Part<'a>> {
    let outputs = matrix.outputs().max(1);
    let count = out.len() / outputs;
    let tiles = matrix.tiles().div_ceil(PARTS).max(PART);
    let mut parts: Vec<Part<'_>> = (0..matrix.tiles())
        .step_by(tiles)
        .map(|first| Part { matrix, first, out: SmallVec::with_capacity(count) })
        .collect();
    for row in out.chunks_exact_mut(outputs) {
        for (part, out) in parts.iter_mut().zip(row.chunks_mut(tiles * LANES)) {
            part.out.push(out);
        }
    }
    parts
}

impl Part<'_> {
    /// Writes all results. Each panel of rows stays in the nearest cache while the tiles pass by, and
    /// the tiles in the next.
    fn multiply(&mut self, rows: &Activations, instructions: Instructions) {
        let count = self.out.first().map_or(0, |out| out.len().div_ceil(LANES));
        let tiles = self.matrix.some(self.first..self.first + count);
        for (pieces, out) in rows.panels().zip(self.out.chunks_mut(PANEL)) {
            instructions.multiply(tiles, pieces, out);
        }
    }
}
