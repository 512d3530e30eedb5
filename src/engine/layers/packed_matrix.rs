//! Packed weights among candle's tensors.

use candle_core::{Device, Result, Tensor, bail};

use crate::engine::compute::with_elements;
use crate::engine::kernels::packed::{Activations, Instructions, PackedMatrix, products};

/// The products of matrices with the same rows, [rows, columns], each [rows, outputs].
pub(super) fn packed_products(matrices: &[&PackedMatrix], rows: &Tensor) -> Result<Vec<Tensor>> {
    let (count, columns) = rows.dims2()?;
    if let Some(other) = matrices.iter().find(|matrix| matrix.columns() != columns) {
        bail!("a product of {columns} columns with weights of {}", other.columns());
    }
    let best = Instructions::best();
    let rows = with_elements(rows, |rows| Activations::quantize(rows, columns, best))?;
    products(matrices, &rows)
        .into_iter()
        .zip(matrices)
        .map(|(product, matrix)| Tensor::from_vec(product, (count, matrix.outputs()), &Device::Cpu))
        .collect()
}

/// Rows of a matrix itself, [ids, columns].
pub(super) fn packed_rows(matrix: &PackedMatrix, ids: &Tensor) -> Result<Tensor> {
    let ids = ids.to_vec1::<u32>()?;
    let mut out = vec![0.0; ids.len() * matrix.columns()];
    for (id, out) in ids.iter().zip(out.chunks_exact_mut(matrix.columns().max(1))) {
        if !matrix.row(*id as usize, out) {
            bail!("there is no row {id}");
        }
    }
    Tensor::from_vec(out, (ids.len(), matrix.columns()), &Device::Cpu)
}
