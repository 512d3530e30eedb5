//! Products with the weights, by candle's kernels.

use std::sync::Arc;

use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{Module, Result, Tensor};

use super::add_into;

/// A matrix of weights with an optional bias: rows [tokens, in] to rows [tokens, out].
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    weight: QMatMul,
    bias: Option<Tensor>,
}

impl Linear {
    /// The weight is [out, in]. Weights in f32, f16 or bf16 are multiplied as f32.
    pub(crate) fn new(weight: Arc<QTensor>, bias: Option<Tensor>) -> Result<Self> {
        Ok(Self { weight: QMatMul::from_arc(weight)?, bias })
    }

    /// Multiplies every row.
    pub(crate) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        self.biased(self.weight.forward(rows)?)
    }

    /// Rows of the matrix itself, for an embedding that is also the output head.
    pub(crate) fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        self.weight.embedding(ids)
    }

    /// Bytes in memory, without the packed copy that candle makes.
    pub(crate) fn bytes(&self) -> usize {
        match &self.weight {
            QMatMul::QTensor(weight) => weight.storage_size_in_bytes(),
            QMatMul::Tensor(weight) | QMatMul::TensorF16(weight) => {
                weight.elem_count() * weight.dtype().size_in_bytes()
            }
        }
    }

    fn biased(&self, product: Tensor) -> Result<Tensor> {
        if let Some(bias) = &self.bias {
            add_into(&product, bias)?;
        }
        Ok(product)
    }
}

/// Several products with the same rows. Where candle can, the rows are quantized once and all
/// products are one parallel region; the results are the same bits either way.
pub(crate) fn project<const N: usize>(linears: [&Linear; N], rows: &Tensor) -> Result<[Tensor; N]> {
    let quantized: Vec<&QTensor> = linears
        .iter()
        .filter_map(|linear| match &linear.weight {
            QMatMul::QTensor(weight) => Some(weight.as_ref()),
            QMatMul::Tensor(_) | QMatMul::TensorF16(_) => None,
        })
        .collect();
    let fused =
        if quantized.len() == N { QTensor::gemv_fused_shared_lhs(&quantized, rows)? } else { None };
    let products = match fused {
        Some(products) => products
            .into_iter()
            .zip(linears)
            .map(|(product, linear)| linear.biased(product))
            .collect::<Result<Vec<_>>>()?,
        None => linears.iter().map(|linear| linear.forward(rows)).collect::<Result<Vec<_>>>()?,
    };
    <[Tensor; N]>::try_from(products).map_err(|products| {
        candle_core::Error::Msg(format!("{} products instead of {N}", products.len()))
    })
}
