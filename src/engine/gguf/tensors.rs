//! The tensor directory: types, shapes and places, checked; and the way into candle.

use std::borrow::Cow;

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};

use super::{GgufError, TensorType};
use crate::engine::kernels::{Block, Iq4Nl, Iq4Xs, Mxfp4};

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its shape, rows first, as candle wants it (the file has it the other way round).
    pub shape: Vec<usize>,
    /// The type of its blocks.
    pub kind: TensorType,
    /// Which of the model's files it is in.
    pub part: usize,
    /// Where it starts, from the start of that file.
    pub offset: usize,
    /// How many bytes it takes.
    pub bytes: usize,
}

impl TensorInfo {
    /// How many weights it has.
    pub fn elements(&self) -> usize {
        self.shape.iter().product() // checked in `describe`
    }
}

/// Checks type and shape of one directory entry. `shape` is in the file's order.
pub(super) fn describe(
    name: String,
    shape: &[u64],
    code: u32,
    offset: u64,
) -> Result<TensorInfo, GgufError> {
    let damaged = |problem: String| GgufError::damaged(format!("the tensor \"{name}\""), problem);
    let kind = match TensorType::from_code(code) {
        Ok(kind) => kind,
        Err(found) => return Err(GgufError::TensorType { found, name }),
    };
    let mut elements = 1_usize;
    for &size in shape {
        let size = usize::try_from(size).ok().filter(|&size| size > 0);
        elements = size
            .and_then(|size| elements.checked_mul(size))
            .filter(|&elements| elements <= ELEMENTS_MAX)
            .ok_or_else(|| damaged(format!("has the impossible shape {shape:?}")))?;
    }
    let (block, row) = (kind.block_size(), shape[0] as usize);
    if !row.is_multiple_of(block) {
        return Err(damaged(format!(
            "has rows of {row} weights, which do not divide into blocks of {block}"
        )));
    }
    // At most ELEMENTS_MAX blocks of under 300 bytes: far below the end of u64 and of usize.
    let bytes = elements / block * kind.block_bytes();
    let offset = usize::try_from(offset).map_err(|_| damaged("starts beyond the file".into()))?;
    let shape = shape.iter().rev().map(|&size| size as usize).collect();
    Ok(TensorInfo { name, shape, kind, part: 0, offset, bytes })
}

/// Turns offsets relative to the data into offsets in the file, and checks them: aligned, inside
/// the file, and no two tensors in one place.
pub(super) fn place(
    mut tensors: Vec<TensorInfo>,
    data: u64,
    alignment: u64,
    file_bytes: u64,
) -> Result<Vec<TensorInfo>, GgufError> {
    for tensor in &mut tensors {
        let place = format!("the tensor \"{}\"", tensor.name);
        let relative = tensor.offset as u64;
        if !relative.is_multiple_of(alignment) {
            let problem = format!("starts at {relative}, not at a multiple of {alignment}");
            return Err(GgufError::damaged(place, problem));
        }
        let start = relative.checked_add(data);
        let end = start.and_then(|start| start.checked_add(tensor.bytes as u64));
        let (Some(start), Some(end)) = (start, end) else {
            return Err(GgufError::damaged(place, "starts beyond the file"));
        };
        if end > file_bytes {
            return Err(GgufError::Truncated { place, missing: end - file_bytes });
        }
        tensor.offset = start as usize; // at most the size of the file, which is that of a usize here
    }
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.offset);
    for pair in order.windows(2) {
        if pair[0].offset + pair[0].bytes > pair[1].offset {
            let place = format!("the tensor \"{}\"", pair[1].name);
            return Err(GgufError::damaged(place, format!("overlaps \"{}\"", pair[0].name)));
        }
    }
    Ok(tensors)
}

/// Copies blocks into a tensor of candle's. Their number is that of the shape.
pub(in crate::engine) fn candle_tensor(
    dtype: GgmlDType,
    shape: &[usize],
    bytes: &[u8],
    device: &Device,
) -> candle_core::Result<QTensor> {
    // Candle asserts that the bytes are aligned for the block type. Bytes inside the program, or a
    // part of a buffer, need not be.
    let storage = if bytes.as_ptr().align_offset(BLOCK_ALIGNMENT) == 0 {
        QStorage::from_data(Cow::Borrowed(bytes), device, dtype)
    } else {
        let mut copy = vec![0; bytes.len() + BLOCK_ALIGNMENT];
        let start = copy.as_ptr().align_offset(BLOCK_ALIGNMENT).min(BLOCK_ALIGNMENT);
        let aligned = &mut copy[start..start + bytes.len()];
        aligned.copy_from_slice(bytes);
        QStorage::from_data(Cow::Borrowed(aligned), device, dtype)
    };
    QTensor::new(storage?, shape)
}

/// The weights of a tensor in full; `bytes` are all of it.
pub(super) fn numbers(tensor: &TensorInfo, bytes: &[u8]) -> Result<Vec<f32>, GgufError> {
    widened(tensor.kind, bytes)
        .map_err(|error| GgufError::Load { name: tensor.name.clone(), reason: error.to_string() })
}

/// Weights of a type in full; whole blocks of them.
pub(in crate::engine) fn widened(kind: TensorType, bytes: &[u8]) -> candle_core::Result<Vec<f32>> {
    let dtype = match kind {
        TensorType::Candle(dtype) => dtype,
        TensorType::Iq4Nl => return Ok(widened_blocks::<Iq4Nl, 18>(bytes)),
        TensorType::Iq4Xs => return Ok(widened_blocks::<Iq4Xs, 136>(bytes)),
        TensorType::Mxfp4 => return Ok(widened_blocks::<Mxfp4, 17>(bytes)),
    };
    let count = bytes.len() / kind.block_bytes() * kind.block_size();
    candle_tensor(dtype, &[count], bytes, &Device::Cpu)?.dequantize(&Device::Cpu)?.to_vec1()
}

fn widened_blocks<B: Block + From<[u8; N]>, const N: usize>(bytes: &[u8]) -> Vec<f32> {
    let blocks: Vec<B> = bytes.as_chunks::<N>().0.iter().map(|bytes| B::from(*bytes)).collect();
    let mut wide = vec![0.0; blocks.len() * B::COLUMNS];
    B::widen_all(&blocks, &mut wide);
    wide
}

/// Weights in one tensor; the largest published ones have under 2^33.
const ELEMENTS_MAX: usize = 1 << 40;
/// At least the alignment of every block type of candle (4 for F32, 2 for f16 fields).
const BLOCK_ALIGNMENT: usize = 16;
