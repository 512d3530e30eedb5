//! Products with weights that stay as the file has them, by a kernel of our own.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor, bail};

use super::elementwise::elements;
use crate::engine::kernels::{Block, FloatProduct, Target, for_each};

/// Weights as the file has them.
#[derive(Debug)]
pub(super) struct BlockMatrix<W> {
    /// [outputs, columns / columns of a block]
    weights: Vec<W>,
    columns: usize,
}

impl<W: Block> BlockMatrix<W> {
    /// Reads [outputs, columns] weights by the bytes of each.
    pub(super) fn read<const B: usize>(
        bytes: &[u8],
        columns: usize,
        number: fn([u8; B]) -> W,
    ) -> Arc<Self> {
        let weights = bytes.as_chunks::<B>().0.iter().map(|bytes| number(*bytes)).collect();
        Arc::new(Self { weights, columns })
    }

    /// Rows of the matrix itself, [ids, columns].
    pub(super) fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        let ids = ids.to_vec1::<u32>()?;
        let mut out = vec![0.0; ids.len() * self.columns];
        let width = self.columns / W::COLUMNS;
        for (id, out) in ids.iter().zip(out.chunks_exact_mut(self.columns.max(1))) {
            let from = *id as usize * width;
            let Some(row) = self.weights.get(from..from + width) else {
                bail!("there is no row {id}");
            };
            W::widen_all(row, out);
        }
        Tensor::from_vec(out, (ids.len(), self.columns), &Device::Cpu)
    }
}

/// Rows of weights that one thread takes at a time.
const PART: usize = 32;

impl<W: Block> CustomOp1 for BlockMatrix<W> {
    fn name(&self) -> &'static str {
        "block-product"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let rows = elements(storage, layout)?;
        let (count, columns) = layout.shape().dims2()?;
        if columns != self.columns || columns == 0 || columns % W::COLUMNS != 0 {
            bail!("a product of {columns} columns with weights of {}", self.columns);
        }
        let width = columns / W::COLUMNS;
        let outputs = self.weights.len() / width.max(1);
        let mut by_output = vec![0.0_f32; outputs * count]; // [outputs, rows]
        let parts =
            by_output.chunks_mut(PART * count.max(1)).zip(self.weights.chunks(PART * width));
        for_each(parts, |(out, weights)| {
            Target::best().run(FloatProduct { rows, weights, columns, out });
        });
        let out = if count == 1 { by_output } else { transposed(&by_output, outputs, count) };
        Ok((CpuStorage::F32(out), Shape::from((count, outputs))))
    }
}

/// [outputs, rows] to [rows, outputs].
fn transposed(by_output: &[f32], outputs: usize, count: usize) -> Vec<f32> {
    let mut out = vec![0.0; by_output.len()];
    for (output, values) in by_output.chunks_exact(count.max(1)).enumerate() {
        for (row, value) in values.iter().enumerate() {
            out[row * outputs + output] = *value;
        }
    }
    out
}
