//! Products of packed matrices with rows, spread over the threads.

use super::activations::{PANEL, Piece};
use super::lines::{LANES, Lanes};
use super::{Activations, Instructions, PackedMatrix};
use crate::engine::kernels::for_each;

/// Tiles of 16 outputs that a thread takes at a time, at least.
const PART: usize = 4;
/// Parts that a matrix is cut into at most: enough for many threads to end together.
const PARTS: usize = 256;
/// Bytes of activations that stay in the nearer caches while the tiles of a part pass by.
const NEAR: usize = 384 << 10;

/// The products of several matrices with the same rows, each [rows, outputs]. The matrices have as
/// many columns as the rows.
pub(crate) fn products(
    matrices: &[&PackedMatrix],
    rows: &Activations,
    instructions: Instructions,
) -> Vec<Vec<f32>> {
    let mut all: Vec<Vec<f32>> =
        matrices.iter().map(|matrix| vec![0.0; matrix.outputs() * rows.count()]).collect();
    let mut parts = Vec::new();
    for (matrix, out) in matrices.iter().zip(&mut all) {
        assert_eq!(matrix.columns(), rows.columns(), "checked by the caller");
        parts.extend(cut(matrix, out));
    }
    for_each(parts, |part| part.multiply(rows, instructions));
    all
}

/// Some tiles of a matrix, and where their results go.
struct Part<'a> {
    matrix: &'a PackedMatrix,
    /// The first tile.
    first: usize,
    /// For each row its results of these tiles.
    out: Vec<&'a mut [f32]>,
}

fn cut<'a>(matrix: &'a PackedMatrix, out: &'a mut [f32]) -> Vec<Part<'a>> {
    let outputs = matrix.outputs().max(1);
    let count = out.len() / outputs;
    let tiles = matrix.tiles().div_ceil(PARTS).max(PART);
    let mut parts: Vec<Part<'_>> = (0..matrix.tiles())
        .step_by(tiles)
        .map(|first| Part { matrix, first, out: Vec::with_capacity(count) })
        .collect();
    for row in out.chunks_exact_mut(outputs) {
        for (part, out) in parts.iter_mut().zip(row.chunks_mut(tiles * LANES)) {
            part.out.push(out);
        }
    }
    parts
}

impl Part<'_> {
    fn multiply(&mut self, rows: &Activations, instructions: Instructions) {
        let panel_bytes = PANEL * rows.columns() / 32 * size_of::<Piece>();
        let near = (NEAR / panel_bytes.max(1)).max(1);
        let tiles = self.out.first().map_or(0, |out| out.len().div_ceil(LANES));
        let panels: Vec<&[Piece]> = rows.panels().collect();
        for (panels, out) in panels.chunks(near).zip(self.out.chunks_mut(near * PANEL)) {
            for at in 0..tiles {
                let tile = self.matrix.tile(self.first + at);
                for (pieces, out) in panels.iter().zip(out.chunks_mut(PANEL)) {
                    let mut lanes = [Lanes::ZERO; PANEL];
                    let lanes = &mut lanes[..out.len()];
                    instructions.multiply(tile, pieces, lanes);
                    for (lanes, out) in lanes.iter().zip(out) {
                        let out = &mut out[at * LANES..];
                        let width = out.len().min(LANES);
                        out[..width].copy_from_slice(&lanes.0[..width]);
                    }
                }
            }
        }
    }
}
