//! Products of packed matrices with rows, spread over the threads.
#![expect(unsafe_code, reason = "results are written to memory that holds nothing yet")]

use std::mem::MaybeUninit;

use smallvec::SmallVec;

use super::activations::PANEL;
use super::lines::LANES;
use super::{Activations, Instructions, PackedMatrix};
use crate::engine::kernels::{for_each, threads};

/// Tiles of 16 outputs that a thread takes at a time, at least.
const PART: usize = 4;
/// The same where rows come in wide panels, and there are enough tiles for all threads: those share the
/// reading of the rows.
const WIDE_PART: usize = 8;
/// Parts that a matrix is cut into at most: enough for many threads to end together.
const PARTS: usize = 256;

/// The products of several matrices with the same rows, each [rows, outputs]. The matrices have as
/// many columns as the rows.
pub(crate) fn products(matrices: &[&PackedMatrix], rows: &Activations) -> Vec<Vec<f32>> {
    let place = |matrix: &&PackedMatrix| Box::new_uninit_slice(matrix.outputs() * rows.count());
    let mut all: Vec<Box<[MaybeUninit<f32>]>> = matrices.iter().map(place).collect();
    let mut parts = Vec::new();
    for (matrix, out) in matrices.iter().zip(&mut all) {
        assert_eq!(matrix.columns(), rows.columns(), "checked by the caller");
        parts.extend(cut(matrix, rows, threads(), out));
    }
    for_each(parts, |part| part.multiply(rows));
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

fn cut<'a>(
    matrix: &'a PackedMatrix,
    rows: &Activations,
    threads: usize,
    out: &'a mut [MaybeUninit<f32>],
) -> Vec<Part<'a>> {
    let (outputs, count) = (matrix.outputs().max(1), rows.count());
    let is_wide = rows.in_wide_panels() > 0 && matrix.tiles() >= 2 * WIDE_PART * threads;
    let least = if is_wide { WIDE_PART } else { PART };
    let tiles = matrix.tiles().div_ceil(PARTS).max(least);
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
    fn multiply(&mut self, rows: &Activations) {
        let count = self.out.first().map_or(0, |out| out.len().div_ceil(LANES));
        let tiles = self.matrix.some(self.first..self.first + count);
        Instructions::multiply_all(tiles, rows, &mut self.out);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::GgmlDType;

    use super::*;
    use crate::engine::gguf::TensorType;
    use crate::engine::kernels::Rooms;

    #[test]
    fn parts_together_have_every_output_once() {
        for (outputs, threads) in [(1, 1), (150, 2), (1_024, 2), (1_030, 64), (80_000, 2)] {
            let bytes = vec![0; outputs * 34];
            let kind = TensorType::Candle(GgmlDType::Q8_0);
            let matrix = PackedMatrix::pack(kind, &bytes, 32, &Rooms::default()).expect("packed");
            for count in [1, 40] {
                let rows = Activations::quantize(&vec![1.0; count * 32], 32, Instructions::best());
                let mut out = Box::new_uninit_slice(outputs * count);
                let begins = out.as_ptr();
                let parts = cut(&matrix, &rows, threads, &mut out);
                let mut next = 0;
                for part in &parts {
                    assert_eq!(part.first * LANES, next, "in order");
                    assert_eq!(part.out.len(), count);
                    let width = part.out[0].len();
                    for (row, out) in part.out.iter().enumerate() {
                        assert_eq!(out.len(), width);
                        assert_eq!(out.as_ptr(), begins.wrapping_add(row * outputs + next));
                    }
                    next += width;
                }
                assert_eq!(next, outputs, "all of them");
                assert!(parts.len() <= PARTS.max(outputs.div_ceil(LANES * PART)));
            }
        }
    }
}
