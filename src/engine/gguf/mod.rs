//! GGUF model files: maps one, checks everything, hands out typed views.
//!
//! A model file comes from somewhere else, so it is hostile until shown otherwise. Every count,
//! length, offset, alignment, type and product is checked against the bytes that are there before
//! anything is allocated for it, and no content of a file can make this module panic. Metadata
//! stays in the mapping; only the directory of keys and tensors is kept beside it.
//!
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Device;
use candle_core::quantized::QTensor;

mod cursor;
mod error;
mod limits;
mod metadata;
mod parse;
mod tensors;
pub mod testing;

pub use error::GgufError;
pub use tensors::TensorInfo;

use super::kernels::map::Map;
use metadata::Entry;

/// An opened and checked GGUF file.
#[derive(Debug)]
pub struct File {
    source: Source,
    metadata: HashMap<String, Entry>,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
}

#[derive(Debug)]
enum Source {
    Mapped(Map),
    Static(&'static [u8]),
}

impl Source {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map.bytes(),
            Self::Static(bytes) => bytes,
        }
    }
}

impl File {
    /// Maps and checks the file at `path`.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let map = Map::open(path).map_err(GgufError::Open)?;
        Self::check(Source::Mapped(map))
    }

    /// Checks a file that is inside the program.
    pub fn from_static(bytes: &'static [u8]) -> Result<Self, GgufError> {
        Self::check(Source::Static(bytes))
    }

    fn check(source: Source) -> Result<Self, GgufError> {
        let parse::Parsed { metadata, tensors } = parse::parse(source.bytes())?;
        let by_name =
            tensors.iter().enumerate().map(|(at, tensor)| (tensor.name.clone(), at)).collect();
        Ok(Self { source, metadata, tensors, by_name })
    }

    /// The size of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.bytes().len() as u64
    }

    /// Every tensor, in the order of the file's directory.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor called `name`, if the file has it.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|&at| &self.tensors[at])
    }

    /// The tensor called `name`; an error that names it where the file lacks it.
    pub fn required_tensor(&self, name: &str) -> Result<&TensorInfo, GgufError> {
        self.tensor(name).ok_or_else(|| GgufError::TensorMissing { name: name.to_owned() })
    }

    /// The bytes of a tensor of this file, as they are in the file.
    pub fn tensor_bytes(&self, tensor: &TensorInfo) -> Result<&[u8], GgufError> {
        if let Source::Mapped(map) = &self.source
            && !map.is_whole()
        {
            return Err(GgufError::Changed);
        }
        let end = tensor.offset.checked_add(tensor.bytes);
        end.and_then(|end| self.bytes().get(tensor.offset..end)).ok_or(GgufError::Changed)
    }

    /// Reads the tensor called `name` into memory of its own on `device`.
    pub fn qtensor(&self, name: &str, device: &Device) -> Result<QTensor, GgufError> {
        let tensor = self.required_tensor(name)?;
        tensors::load(tensor, self.tensor_bytes(tensor)?, device)
    }

    /// Reads rows of the tensor called `name`, the last dimension of which is a row, as a matrix.
    pub(in crate::engine) fn qtensor_rows(
        &self,
        name: &str,
        rows: std::ops::Range<usize>,
        device: &Device,
    ) -> Result<QTensor, GgufError> {
        let tensor = self.required_tensor(name)?;
        let part = tensor.rows(rows).ok_or(GgufError::Changed)?;
        tensors::load(&part, self.tensor_bytes(&part)?, device)
    }

    pub(in crate::engine) fn bytes(&self) -> &[u8] {
        self.source.bytes()
    }
}

#[cfg(test)]
mod tests;
