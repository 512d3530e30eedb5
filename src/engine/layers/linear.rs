//! Products with the weights: candle's kernels for quantized ones, our own for the others.
//!
//! A row gives the same bits whatever rows stand beside it. Where candle's kernels do not keep
//! that, something stands here in their place: floating-point weights have a kernel of their own,
//! and a lone row of Q6_K has company.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::utils::barrier_pool;
use candle_core::{CpuStorage, CustomOp1, Layout, Module, Result, Shape, Tensor, bail};
use half::{bf16, f16};
use parking_lot::Mutex;

use super::add_into;
use super::elementwise::elements;
use crate::engine::kernels::{Float, FloatProduct, Target};

/// A matrix of weights with an optional bias: rows [tokens, in] to rows [tokens, out].
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

#[derive(Clone, Debug)]
enum Weight {
    /// Candle's kernels; `alone` says whether they take a lone row the way they take many.
    Quantized {
        weight: QMatMul,
        tensor: Arc<QTensor>,
        alone: Alone,
    },
    F32(Arc<FloatMatrix<f32>>),
    F16(Arc<FloatMatrix<f16>>),
    Bf16(Arc<FloatMatrix<bf16>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alone {
    AsMany,
    /// Candle has another kernel for one row of Q6_K, which adds up in another order.
    Differently,
}

/// Weights as the file has them.
#[derive(Debug)]
pub(crate) struct FloatMatrix<W> {
    /// [outputs, columns]
    weights: Vec<W>,
    columns: usize,
}

impl Linear {
    /// The weight is [out, in].
    pub(crate) fn quantized(weight: Arc<QTensor>, bias: Option<Tensor>) -> Result<Self> {
        let alone = match weight.dtype() {
            GgmlDType::Q6K => Alone::Differently,
            _ => Alone::AsMany,
        };
        let tensor = Arc::clone(&weight);
        let weight = Weight::Quantized { weight: QMatMul::from_arc(weight)?, tensor, alone };
        Ok(Self { weight, bias })
    }

    /// The bytes are those of [out, in] little-endian numbers of the type; none where the type is
    /// not one of floating-point numbers.
    pub(crate) fn float(
        dtype: GgmlDType,
        bytes: &[u8],
        columns: usize,
        bias: Option<Tensor>,
    ) -> Option<Self> {
        let weight = match dtype {
            GgmlDType::F32 => Weight::F32(FloatMatrix::read(bytes, columns, f32::from_le_bytes)),
            GgmlDType::F16 => Weight::F16(FloatMatrix::read(bytes, columns, f16::from_le_bytes)),
            GgmlDType::BF16 => Weight::Bf16(FloatMatrix::read(bytes, columns, bf16::from_le_bytes)),
            _ => return None,
        };
        Some(Self { weight, bias })
    }

    /// Multiplies every row.
    pub(crate) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let product = match &self.weight {
            Weight::Quantized { weight, alone: Alone::Differently, .. } if rows.dim(0)? == 1 => {
                weight.forward(&Tensor::cat(&[rows, rows], 0)?)?.narrow(0, 0, 1)?.contiguous()?
            }
            Weight::Quantized { weight, .. } => weight.forward(rows)?,
            Weight::F32(matrix) => rows.apply_op1_no_bwd(&**matrix)?,
            Weight::F16(matrix) => rows.apply_op1_no_bwd(&**matrix)?,
            Weight::Bf16(matrix) => rows.apply_op1_no_bwd(&**matrix)?,
        };
        self.biased(product)
    }

    /// Rows of the matrix itself, for an embedding that is also the output head.
    pub(crate) fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        match &self.weight {
            Weight::Quantized { tensor, .. } => tensor.embedding(ids),
            Weight::F32(matrix) => matrix.rows(ids),
            Weight::F16(matrix) => matrix.rows(ids),
            Weight::Bf16(matrix) => matrix.rows(ids),
        }
    }

    /// The quantized weight whose products candle may compute together with others.
    fn fusible(&self, rows: usize) -> Option<&QTensor> {
        match &self.weight {
            Weight::Quantized { tensor, alone, .. } if *alone == Alone::AsMany || rows > 1 => {
                Some(tensor)
            }
            _ => None,
        }
    }

    fn biased(&self, product: Tensor) -> Result<Tensor> {
        if let Some(bias) = &self.bias {
            add_into(&product, bias, 1.0)?;
        }
        Ok(product)
    }
}

/// Several products with the same rows. Where candle can, the rows are quantized once and all
/// products are one parallel region; the results are the same bits either way.
pub(crate) fn project<const N: usize>(linears: [&Linear; N], rows: &Tensor) -> Result<[Tensor; N]> {
    let count = rows.dim(0)?;
    let quantized: Vec<&QTensor> =
        linears.iter().filter_map(|linear| linear.fusible(count)).collect();
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

impl<W: Float> FloatMatrix<W> {
    fn read<const B: usize>(bytes: &[u8], columns: usize, number: fn([u8; B]) -> W) -> Arc<Self> {
        let weights = bytes.as_chunks::<B>().0.iter().map(|bytes| number(*bytes)).collect();
        Arc::new(Self { weights, columns })
    }

    fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        let ids = ids.to_vec1::<u32>()?;
        let mut out = Vec::with_capacity(ids.len() * self.columns);
        for id in &ids {
            let from = *id as usize * self.columns;
            let Some(row) = self.weights.get(from..from + self.columns) else {
                bail!("there is no row {id}");
            };
            out.extend(row.iter().map(|weight| weight.widen()));
        }
        Tensor::from_vec(out, (ids.len(), self.columns), &candle_core::Device::Cpu)
    }
}

/// Rows of weights that one thread takes at a time.
const PART: usize = 32;

impl<W: Float> CustomOp1 for FloatMatrix<W> {
    fn name(&self) -> &'static str {
        "float-product"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let rows = elements(storage, layout)?;
        let (count, columns) = layout.shape().dims2()?;
        if columns != self.columns || columns == 0 {
            bail!("a product of {columns} columns with weights of {}", self.columns);
        }
        let outputs = self.weights.len() / columns;
        let mut by_output = vec![0.0_f32; outputs * count]; // [outputs, rows]
        let parts: Vec<_> = by_output
            .chunks_mut(PART * count.max(1))
            .zip(self.weights.chunks(PART * columns))
            .map(Mutex::new)
            .collect();
        barrier_pool().execute_chunked(parts.len(), |range| {
            for index in range {
                let (out, weights) = &mut *parts[index].lock();
                Target::best().run(FloatProduct { rows, weights, columns, out });
            }
        });
        drop(parts);
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

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use candle_core::Device;
    use candle_core::quantized::QStorage;

    use super::*;

    const COLUMNS: usize = 512;
    const OUTPUTS: usize = 80;
    const TYPES: [GgmlDType; 13] = [
        GgmlDType::F32,
        GgmlDType::F16,
        GgmlDType::BF16,
        GgmlDType::Q4_0,
        GgmlDType::Q4_1,
        GgmlDType::Q5_0,
        GgmlDType::Q5_1,
        GgmlDType::Q8_0,
        GgmlDType::Q2K,
        GgmlDType::Q3K,
        GgmlDType::Q4K,
        GgmlDType::Q5K,
        GgmlDType::Q6K,
    ];

    fn tensor(rows: usize, seed: f32) -> Tensor {
        let numbers: Vec<f32> =
            (0..rows * COLUMNS).map(|at| ((at as f32 + seed) * 0.731).sin()).collect();
        Tensor::from_vec(numbers, (rows, COLUMNS), &Device::Cpu).expect("a tensor")
    }

    fn linear(dtype: GgmlDType) -> Linear {
        let weights = QTensor::quantize(&tensor(OUTPUTS, 0.5), dtype).expect("quantizes");
        let bytes = weights.data().expect("bytes");
        if let Some(linear) = Linear::float(dtype, &bytes, COLUMNS, None) {
            return linear;
        }
        let storage = QStorage::from_data(Cow::Borrowed(&bytes), &Device::Cpu, dtype);
        let weights = QTensor::new(storage.expect("storage"), (OUTPUTS, COLUMNS)).expect("tensor");
        Linear::quantized(Arc::new(weights), None).expect("a matrix")
    }

    fn bits(tensor: &Tensor) -> Vec<Vec<u32>> {
        let rows = tensor.to_vec2::<f32>().expect("rows");
        rows.into_iter().map(|row| row.into_iter().map(f32::to_bits).collect()).collect()
    }

    #[test]
    fn a_row_gives_the_same_bits_in_every_company_for_every_type() {
        let all = tensor(40, 0.0);
        for dtype in TYPES {
            let linear = linear(dtype);
            let whole = bits(&linear.forward(&all).expect("multiplies"));
            for (first, count) in
                [(0, 1), (7, 1), (3, 2), (5, 3), (1, 5), (2, 16), (4, 17), (6, 33)]
            {
                let some = all.narrow(0, first, count).expect("rows").contiguous().expect("rows");
                let part = bits(&linear.forward(&some).expect("multiplies"));
                assert!(part == whole[first..first + count], "{dtype:?}: {count} from {first}");
                let [fused, _] = project([&linear, &linear], &some).expect("multiplies");
                assert!(bits(&fused) == part, "{dtype:?}: {count} from {first}, fused");
            }
        }
    }

    #[test]
    fn products_are_those_of_the_weights_in_full() {
        let rows = tensor(5, 0.0);
        for dtype in TYPES {
            let full = QTensor::quantize(&tensor(OUTPUTS, 0.5), dtype)
                .and_then(|weights| weights.dequantize(&Device::Cpu))
                .expect("weights");
            let exact = rows.matmul(&full.t().expect("turns")).expect("multiplies");
            let ours = linear(dtype).forward(&rows).expect("multiplies");
            let off = (ours - exact).and_then(|off| off.abs()?.max_all()?.to_scalar::<f32>());
            // Candle rounds the rows to eight bits for quantized weights.
            let allowed = if dtype.block_size() == 1 { 1e-3 } else { 1.0 };
            assert!(off.expect("a number") < allowed, "{dtype:?}");
        }
    }
}
