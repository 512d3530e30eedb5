//! Products with the weights: on the CPU with kernels of our own, elsewhere with candle's.
//!
//! On the CPU a row gives the same bits whatever rows stand beside it.

use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use candle_core::{Device, Result, Tensor, bail};
use half::{bf16, f16};

use super::add_into;
use super::block_matrix::BlockMatrix;
use super::packed_matrix::{packed_products, packed_rows};
use crate::engine::compute::DeviceMatrix;
use crate::engine::gguf::TensorType;
use crate::engine::kernels::Rooms;
use crate::engine::kernels::packed::PackedMatrix;

/// A matrix of weights with an optional bias: rows [tokens, in] to rows [tokens, out].
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

#[derive(Clone, Debug)]
enum Weight {
    Packed(Arc<PackedMatrix>),
    F32(Arc<BlockMatrix<f32>>),
    F16(Arc<BlockMatrix<f16>>),
    Bf16(Arc<BlockMatrix<bf16>>),
    /// On a device.
    Device(DeviceMatrix),
}

impl Linear {
    /// The bytes are those of [out, columns] weights of a type, whose blocks divide a row; they lie in
    /// `rooms` where they are packed.
    pub(crate) fn new(
        kind: TensorType,
        bytes: &[u8],
        columns: usize,
        bias: Option<Tensor>,
        rooms: &Rooms,
    ) -> Result<Self> {
        let weight = match PackedMatrix::pack(kind, bytes, columns, rooms) {
            Some(packed) => Weight::Packed(Arc::new(packed)),
            None => Weight::new(kind, bytes, columns)?,
        };
        Ok(Self { weight, bias })
    }

    /// The same on a device, where the bias lies too.
    pub(crate) fn on_device(
        kind: TensorType,
        bytes: &[u8],
        columns: usize,
        bias: Option<Tensor>,
        device: &Device,
    ) -> Result<Self> {
        check_pairs(kind, columns)?;
        let weight = Weight::Device(DeviceMatrix::new(kind, bytes, columns, device)?);
        Ok(Self { weight, bias })
    }

    /// Multiplies every row.
    pub(crate) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let product = match &self.weight {
            Weight::Packed(matrix) => packed_products(&[matrix], rows)?.remove(0),
            Weight::F32(matrix) => rows.apply_op1_no_bwd(&**matrix)?,
            Weight::F16(matrix) => rows.apply_op1_no_bwd(&**matrix)?,
            Weight::Bf16(matrix) => rows.apply_op1_no_bwd(&**matrix)?,
            Weight::Device(matrix) => matrix.forward(rows)?,
        };
        self.biased(product)
    }

    /// Rows of the matrix itself, for an embedding that is also the output head.
    pub(crate) fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        match &self.weight {
            Weight::Packed(matrix) => packed_rows(matrix, ids),
            Weight::F32(matrix) => matrix.rows(ids),
            Weight::F16(matrix) => matrix.rows(ids),
            Weight::Bf16(matrix) => matrix.rows(ids),
            Weight::Device(matrix) => matrix.rows(ids),
        }
    }

    /// The weights whose products are computed together with others.
    fn packed(&self) -> Option<&PackedMatrix> {
        match &self.weight {
            Weight::Packed(matrix) => Some(matrix),
            _ => None,
        }
    }

    fn biased(&self, product: Tensor) -> Result<Tensor> {
        match (&self.bias, &self.weight) {
            (None, _) => Ok(product),
            (Some(bias), Weight::Device(_)) => product.broadcast_add(bias),
            (Some(bias), _) => add_into(&product, bias, 1.0).map(|()| product),
        }
    }
}

impl Weight {
    /// Weights that are not packed.
    fn new(kind: TensorType, bytes: &[u8], columns: usize) -> Result<Self> {
        Ok(match kind {
            TensorType::Candle(GgmlDType::F32) => {
                Self::F32(BlockMatrix::read(bytes, columns, f32::from_le_bytes))
            }
            TensorType::Candle(GgmlDType::F16) => {
                Self::F16(BlockMatrix::read(bytes, columns, f16::from_le_bytes))
            }
            TensorType::Candle(GgmlDType::BF16) => {
                Self::Bf16(BlockMatrix::read(bytes, columns, bf16::from_le_bytes))
            }
            _ => bail!("there is no product with weights in {}", kind.name()),
        })
    }
}

/// Candle's products of some types take two blocks at a time, and assert it.
fn check_pairs(kind: TensorType, columns: usize) -> Result<()> {
    let in_pairs = [GgmlDType::Q4_1, GgmlDType::Q5_0, GgmlDType::Q5_1].map(TensorType::Candle);
    if in_pairs.contains(&kind) && !(columns / kind.block_size()).is_multiple_of(2) {
        bail!("rows of {columns} weights in {} are an odd number of blocks", kind.name());
    }
    Ok(())
}

/// Several products with the same rows. Where it can be, the rows are quantized once and all
/// products are one parallel region; the results are the same bits either way.
pub(crate) fn project<const N: usize>(linears: [&Linear; N], rows: &Tensor) -> Result<[Tensor; N]> {
    let products = match together(&linears, rows)? {
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

/// The products without biases; none where they cannot be computed together.
fn together(linears: &[&Linear], rows: &Tensor) -> Result<Option<Vec<Tensor>>> {
    let packed: Vec<&PackedMatrix> = linears.iter().filter_map(|linear| linear.packed()).collect();
    if packed.len() < linears.len() {
        return Ok(None);
    }
    packed_products(&packed, rows).map(Some)
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::QTensor;

    use super::*;

    const COLUMNS: usize = 512;
    const OUTPUTS: usize = 80;
    const TYPES: [TensorType; 16] = [
        TensorType::Candle(GgmlDType::F32),
        TensorType::Candle(GgmlDType::F16),
        TensorType::Candle(GgmlDType::BF16),
        TensorType::Candle(GgmlDType::Q4_0),
        TensorType::Candle(GgmlDType::Q4_1),
        TensorType::Candle(GgmlDType::Q5_0),
        TensorType::Candle(GgmlDType::Q5_1),
        TensorType::Candle(GgmlDType::Q8_0),
        TensorType::Candle(GgmlDType::Q2K),
        TensorType::Candle(GgmlDType::Q3K),
        TensorType::Candle(GgmlDType::Q4K),
        TensorType::Candle(GgmlDType::Q5K),
        TensorType::Candle(GgmlDType::Q6K),
        TensorType::Iq4Nl,
        TensorType::Iq4Xs,
        TensorType::Mxfp4,
    ];

    fn tensor(rows: usize, seed: f32) -> Tensor {
        let numbers: Vec<f32> =
            (0..rows * COLUMNS).map(|at| ((at as f32 + seed) * 0.731).sin()).collect();
        Tensor::from_vec(numbers, (rows, COLUMNS), &Device::Cpu).expect("a tensor")
    }

    /// The blocks of a matrix [OUTPUTS, COLUMNS]. Candle makes those of its own types; of the others
    /// any bits are sound, with scales of a size that makes sense.
    fn blocks(kind: TensorType) -> Vec<u8> {
        if let TensorType::Candle(dtype) = kind {
            let weights = QTensor::quantize(&tensor(OUTPUTS, 0.5), dtype).expect("quantizes");
            return weights.data().expect("bytes").into_owned();
        }
        let width = kind.block_bytes();
        let mut bytes: Vec<u8> = (0..OUTPUTS * COLUMNS / kind.block_size() * width)
            .map(|at| (at * at / 7 + at * 31) as u8)
            .collect();
        for block in bytes.chunks_exact_mut(width) {
            match kind {
                TensorType::Mxfp4 => block[0] = 125,
                TensorType::Iq4Xs => block[..2].copy_from_slice(&f16::from_f32(5e-4).to_le_bytes()),
                _ => block[..2].copy_from_slice(&f16::from_f32(1e-2).to_le_bytes()),
            }
        }
        bytes
    }

    fn linear(kind: TensorType) -> Linear {
        Linear::new(kind, &blocks(kind), COLUMNS, None, &Rooms::default()).expect("a matrix")
    }

    /// Every type by what it is computed with.
    fn all() -> impl Iterator<Item = (TensorType, Linear)> {
        TYPES.into_iter().map(|kind| (kind, linear(kind)))
    }

    /// The quantized types that candle has, by its kernels.
    fn by_candle() -> impl Iterator<Item = (TensorType, Linear)> {
        let on_device = |kind| {
            let bytes = blocks(kind);
            let linear = Linear::on_device(kind, &bytes, COLUMNS, None, &Device::Cpu);
            (kind, linear.expect("a matrix"))
        };
        TYPES.into_iter().map(on_device).filter(|(_, linear)| {
            matches!(linear.weight, Weight::Device(DeviceMatrix::Quantized { .. }))
        })
    }

    fn bits(tensor: &Tensor) -> Vec<Vec<u32>> {
        let rows = tensor.to_vec2::<f32>().expect("rows");
        rows.into_iter().map(|row| row.into_iter().map(f32::to_bits).collect()).collect()
    }

    #[test]
    fn a_row_gives_the_same_bits_in_every_company_for_every_type() {
        let rows = tensor(40, 0.0);
        for (kind, linear) in all() {
            let whole = bits(&linear.forward(&rows).expect("multiplies"));
            for (first, count) in
                [(0, 1), (7, 1), (3, 2), (5, 3), (1, 5), (2, 16), (4, 17), (6, 33)]
            {
                let some = rows.narrow(0, first, count).expect("rows").contiguous().expect("rows");
                let part = bits(&linear.forward(&some).expect("multiplies"));
                assert!(part == whole[first..first + count], "{kind:?}: {count} from {first}");
                let [fused, _] = project([&linear, &linear], &some).expect("multiplies");
                assert!(bits(&fused) == part, "{kind:?}: {count} from {first}, fused");
            }
        }
    }

    #[test]
    fn a_device_multiplies_as_the_processor_does() {
        let rows = tensor(5, 0.0);
        for kind in TYPES {
            let (bytes, host) = (blocks(kind), linear(kind));
            let device = Linear::on_device(kind, &bytes, COLUMNS, None, &Device::Cpu);
            let device = device.expect("a matrix");
            let ids = Tensor::new(&[3_u32, 79, 0], &Device::Cpu).expect("ids");
            for (ours, theirs) in
                [(host.forward(&rows), device.forward(&rows)), (host.rows(&ids), device.rows(&ids))]
            {
                let (ours, theirs) = (ours.expect("a product"), theirs.expect("a product"));
                let off = (&ours - theirs).and_then(|off| off.abs()?.max_all()?.to_scalar::<f32>());
                let largest = ours.abs().and_then(|all| all.max_all()?.to_scalar::<f32>());
                // Some types become BF16, which has 8 bits.
                let share = off.expect("a number") / largest.expect("a number");
                assert!(share < 1e-2, "{kind:?}: {share}");
            }
        }
    }

    #[test]
    fn rows_that_candle_cannot_take_are_refused() {
        for (dtype, bytes) in [(GgmlDType::Q4_1, 20), (GgmlDType::Q5_0, 22), (GgmlDType::Q5_1, 24)]
        {
            let kind = TensorType::Candle(dtype);
            let on_device = |blocks: usize| {
                let zeros = vec![0; blocks * bytes];
                Linear::on_device(kind, &zeros, blocks * 32, None, &Device::Cpu)
            };
            assert!(on_device(3).is_err() && on_device(4).is_ok(), "{dtype:?}");
        }
    }

    /// The root of the mean of the squares of what products are off, as a share of those of the
    /// products.
    fn share_off(linear: &Linear, rows: &Tensor) -> f32 {
        let ids = Tensor::arange(0, OUTPUTS as u32, &Device::Cpu).expect("ids");
        let full = linear.rows(&ids).expect("weights");
        let exact = rows.matmul(&full.t().expect("turns")).expect("multiplies");
        let off = (linear.forward(rows).expect("multiplies") - &exact).expect("a difference");
        let [off, all] = [off, exact].map(|numbers| {
            let mean = numbers.sqr().and_then(|squares| squares.mean_all()?.to_scalar::<f32>());
            mean.expect("a number").sqrt()
        });
        off / all
    }

    #[test]
    fn packed_products_are_no_further_off_than_those_of_candle() {
        let rows = tensor(64, 0.25);
        for (kind, candle) in by_candle() {
            let (ours, theirs) = (share_off(&linear(kind), &rows), share_off(&candle, &rows));
            assert!(ours < theirs * 1.02, "{kind:?}: {ours} and {theirs}");
        }
    }

    #[test]
    fn products_are_those_of_the_weights_in_full() {
        let rows = tensor(5, 0.0);
        for (kind, linear) in all() {
            let ids: Vec<u32> = (0..OUTPUTS as u32).collect();
            let ids = Tensor::new(ids, &Device::Cpu).expect("ids");
            let full = linear.rows(&ids).expect("weights");
            let exact = rows.matmul(&full.t().expect("turns")).expect("multiplies");
            let ours = linear.forward(&rows).expect("multiplies");
            let off = (ours - exact).and_then(|off| off.abs()?.max_all()?.to_scalar::<f32>());
            // With quantized weights the rows are rounded to eight bits.
            let is_exact = !matches!(linear.weight, Weight::Packed(_));
            let allowed = if is_exact { 1e-3 } else { 1.0 };
            assert!(off.expect("a number") < allowed, "{kind:?}");
        }
    }
}
