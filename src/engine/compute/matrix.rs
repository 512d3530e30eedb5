//! Products with weights on a device: candle's kernels for the quantized types it has kernels for,
//! plain products for the others, which are widened when they are read.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Module, Result, Tensor};

use crate::engine::gguf::{TensorInfo, TensorType, candle_tensor, widened};

/// A matrix of weights, [outputs, columns].
#[derive(Clone, Debug)]
pub(crate) enum DeviceMatrix {
    /// In the blocks of the file.
    Quantized { product: QMatMul, tensor: Arc<QTensor> },
    /// In numbers.
    Plain(Tensor),
}

/// In which numbers weights are kept that candle has no quantized product for; none where it has.
/// BF16 holds those of MXFP4 exactly, and those of the others with 8 bits of their mantissa, which is
/// more than they have. F16 has a range that rows do not always keep to, so its weights become F32.
fn plain_type(kind: TensorType) -> Option<DType> {
    match kind {
        TensorType::Candle(GgmlDType::F32 | GgmlDType::F16) => Some(DType::F32),
        TensorType::Candle(GgmlDType::BF16)
        | TensorType::Iq4Nl
        | TensorType::Iq4Xs
        | TensorType::Mxfp4 => Some(DType::BF16),
        TensorType::Candle(_) => None,
    }
}

/// Bytes that a tensor takes on a device.
pub(crate) fn bytes_on_device(tensor: &TensorInfo) -> u64 {
    let bytes = match plain_type(tensor.kind) {
        _ if tensor.shape.len() < 2 => tensor.elements() * size_of::<f32>(),
        Some(dtype) => tensor.elements() * dtype.size_in_bytes(),
        None => tensor.bytes,
    };
    bytes as u64
}

impl DeviceMatrix {
    /// The bytes are those of [outputs, columns] weights of a type, whose blocks divide a row.
    pub(crate) fn new(
        kind: TensorType,
        bytes: &[u8],
        columns: usize,
        device: &Device,
    ) -> Result<Self> {
        let shape = [bytes.len() / kind.row_bytes(columns).max(1), columns];
        match (kind, plain_type(kind)) {
            (TensorType::Candle(dtype), None) => {
                let tensor = Arc::new(candle_tensor(dtype, &shape, bytes, device)?);
                let product = QMatMul::from_arc(Arc::clone(&tensor))?;
                Ok(Self::Quantized { product, tensor })
            }
            (_, dtype) => {
                let numbers = Tensor::from_vec(widened(kind, bytes)?, &shape, &Device::Cpu)?;
                let numbers = numbers.to_dtype(dtype.unwrap_or(DType::F32))?;
                numbers.to_device(device).map(Self::Plain)
            }
        }
    }

    /// Multiplies every row: [rows, columns] to [rows, outputs].
    pub(crate) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        match self {
            Self::Quantized { product, .. } => product.forward(rows),
            Self::Plain(weights) => {
                let rows = rows.to_dtype(weights.dtype())?;
                rows.matmul(&weights.t()?)?.to_dtype(DType::F32)
            }
        }
    }

    /// Rows of the matrix itself.
    pub(crate) fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        match self {
            Self::Quantized { tensor, .. } => tensor.embedding(ids),
            Self::Plain(weights) => weights.index_select(ids, 0)?.to_dtype(DType::F32),
        }
    }
}
