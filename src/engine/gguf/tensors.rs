//! The tensor directory: types, shapes and places, checked; and the way into candle.

use std::borrow::Cow;

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};

use super::GgufError;

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its shape, rows first, as candle wants it (the file has it the other way round).
    pub shape: Vec<usize>,
    /// The type of its blocks.
    pub dtype: GgmlDType,
    /// Where it starts, from the start of the file.
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

impl TensorInfo {
    /// Some rows of it as a tensor of their own; none where it has not so many.
    pub(super) fn rows(&self, rows: std::ops::Range<usize>) -> Option<Self> {
        let columns = *self.shape.last()?;
        let row_bytes = columns / self.dtype.block_size() * self.dtype.type_size();
        let bytes = rows.len().checked_mul(row_bytes)?;
        let start = rows.start.checked_mul(row_bytes)?;
        (start.checked_add(bytes)? <= self.bytes).then(|| Self {
            name: self.name.clone(),
            shape: vec![rows.len(), columns],
            dtype: self.dtype,
            offset: self.offset + start,
            bytes,
        })
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
    let Some(dtype) = dtype(code) else {
        return Err(GgufError::TensorType { found: type_name(code), name });
    };
    let mut elements = 1_usize;
    for &size in shape {
        let size = usize::try_from(size).ok().filter(|&size| size > 0);
        elements = size
            .and_then(|size| elements.checked_mul(size))
            .filter(|&elements| elements <= ELEMENTS_MAX)
            .ok_or_else(|| damaged(format!("has the impossible shape {shape:?}")))?;
    }
    let (block, row) = (dtype.block_size(), shape[0] as usize);
    if !row.is_multiple_of(block) {
        return Err(damaged(format!(
            "has rows of {row} weights, which do not divide into blocks of {block}"
        )));
    }
    // At most ELEMENTS_MAX blocks of under 300 bytes: far below the end of u64 and of usize.
    let bytes = elements / block * dtype.type_size();
    let offset = usize::try_from(offset).map_err(|_| damaged("starts beyond the file".into()))?;
    let shape = shape.iter().rev().map(|&size| size as usize).collect();
    Ok(TensorInfo { name, shape, dtype, offset, bytes })
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
        tensor.offset = start as usize; // at most the length of the mapping
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

/// Copies a tensor out of the file into memory of its own.
pub(super) fn load(
    tensor: &TensorInfo,
    bytes: &[u8],
    device: &Device,
) -> Result<QTensor, GgufError> {
    let failed = |error: candle_core::Error| GgufError::Load {
        name: tensor.name.clone(),
        reason: error.to_string(),
    };
    // Candle asserts that the bytes are aligned for the block type. A mapping is; bytes inside the
    // program, or a file with a small `general.alignment`, need not be.
    let storage = if bytes.as_ptr().align_offset(BLOCK_ALIGNMENT) == 0 {
        QStorage::from_data(Cow::Borrowed(bytes), device, tensor.dtype)
    } else {
        let mut copy = vec![0; bytes.len() + BLOCK_ALIGNMENT];
        let start = copy.as_ptr().align_offset(BLOCK_ALIGNMENT).min(BLOCK_ALIGNMENT);
        let aligned = &mut copy[start..start + bytes.len()];
        aligned.copy_from_slice(bytes);
        QStorage::from_data(Cow::Borrowed(aligned), device, tensor.dtype)
    };
    QTensor::new(storage.map_err(failed)?, tensor.shape.as_slice()).map_err(failed)
}

/// The types that can be decoded, by their number in a file.
fn dtype(code: u32) -> Option<GgmlDType> {
    Some(match code {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}

/// What a type without a decoder is called.
fn type_name(code: u32) -> String {
    let name = match code {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return format!("number {code}"),
    };
    name.to_owned()
}

/// Weights in one tensor; the largest published ones have under 2^33.
const ELEMENTS_MAX: usize = 1 << 40;
/// At least the alignment of every block type of candle (4 for F32, 2 for f16 fields).
const BLOCK_ALIGNMENT: usize = 16;
