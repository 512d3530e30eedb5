//! GGUF model files: opens one, or all parts of one, checks everything, hands out typed views.
//!
//! A model file comes from somewhere else, so it is hostile until shown otherwise. Every count,
//! length, offset, alignment, type and product is checked against the bytes that are there before
//! anything is allocated for it, and no content of a file can make this module panic. Metadata
//! and the directory of tensors are read into memory; the tensors when they are asked for.
//!
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

mod cursor;
mod error;
mod limits;
mod metadata;
mod parse;
mod source;
mod split;
mod tensors;
pub mod testing;
mod types;

pub use error::GgufError;
pub use split::{ModelFiles, model_name, part_paths};
pub use tensors::TensorInfo;
pub(in crate::engine) use tensors::{candle_tensor, widened};
pub use types::TensorType;

use limits::TENSORS_MAX;
use metadata::Entry;
use source::Source;

/// An opened and checked model: a GGUF file, or all parts of one.
#[derive(Debug)]
pub struct File {
    parts: Vec<Source>,
    /// Of the first part, with the values of the metadata.
    header: Cow<'static, [u8]>,
    metadata: HashMap<String, Entry>,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
}

impl File {
    /// Opens and checks the file at `path`, with the other parts of its model.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        Self::from_files(ModelFiles::open(path)?)
    }

    /// Checks files that were opened.
    pub fn from_files(files: ModelFiles) -> Result<Self, GgufError> {
        let (names, sources) = files.into_sources();
        let count = sources.len();
        let mut whole: Option<Self> = None;
        for (at, (source, name)) in sources.into_iter().zip(&names).enumerate() {
            let part = Self::check(source)?;
            split::check_part(&part, name, (at, count))?;
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => whole.add(part, name)?,
            }
        }
        let whole = whole.ok_or(GgufError::NotGguf)?;
        split::check_tensors(&whole, &names[0], whole.tensors.len())?;
        Ok(whole)
    }

    /// Checks a file that is inside the program.
    pub fn from_static(bytes: &'static [u8]) -> Result<Self, GgufError> {
        Self::check(Source::Memory(Cow::Borrowed(bytes)))
    }

    /// Checks a file that is in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, GgufError> {
        Self::check(Source::Memory(Cow::Owned(bytes)))
    }

    fn check(source: Source) -> Result<Self, GgufError> {
        let (header, parse::Header { metadata, tensors, alignment, end }) = source.header()?;
        let data = (end as u64).next_multiple_of(alignment);
        let tensors = tensors::place(tensors, data, alignment, source.bytes())?;
        let by_name =
            tensors.iter().enumerate().map(|(at, tensor)| (tensor.name.clone(), at)).collect();
        Ok(Self { parts: vec![source], header, metadata, tensors, by_name })
    }

    /// Adds the tensors of another part, which is in the file called `name`.
    fn add(&mut self, part: Self, name: &str) -> Result<(), GgufError> {
        let number = self.parts.len();
        let found = (self.tensors.len() + part.tensors.len()) as u64;
        if found > TENSORS_MAX {
            let place = "the number of tensors in all parts".to_owned();
            return Err(GgufError::TooLarge { place, found, limit: TENSORS_MAX });
        }
        for mut tensor in part.tensors {
            tensor.part = number;
            let tensor_name = tensor.name.clone();
            if self.by_name.insert(tensor_name, self.tensors.len()).is_some() {
                let problem = format!("has the tensor \"{}\" of another part again", tensor.name);
                return Err(GgufError::Part { name: name.to_owned(), problem });
            }
            self.tensors.push(tensor);
        }
        self.parts.extend(part.parts);
        Ok(())
    }

    /// The size of the file, or of all parts together, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.parts.iter().map(Source::bytes).sum()
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

    /// Fills `into` with bytes of a tensor of this model, from the one numbered `from` on.
    pub fn read(&self, tensor: &TensorInfo, from: usize, into: &mut [u8]) -> Result<(), GgufError> {
        let end = from.checked_add(into.len()).filter(|end| *end <= tensor.bytes);
        let source = self.parts.get(tensor.part).ok_or(GgufError::Changed)?;
        end.and_then(|_| tensor.offset.checked_add(from))
            .ok_or(GgufError::Changed)
            .and_then(|offset| source.read_at(into, offset))
    }

    /// The bytes of the tensor called `name`.
    pub fn tensor_bytes(&self, name: &str) -> Result<Vec<u8>, GgufError> {
        let tensor = self.required_tensor(name)?;
        let mut bytes = vec![0; tensor.bytes];
        self.read(tensor, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// An error where somebody wrote to the model's files since they were opened.
    pub fn check_unchanged(&self) -> Result<(), GgufError> {
        let is_unchanged = self.parts.iter().all(Source::is_unchanged);
        if is_unchanged { Ok(()) } else { Err(GgufError::Changed) }
    }

    /// The weights of the tensor called `name`, in full.
    pub(in crate::engine) fn numbers(&self, name: &str) -> Result<Vec<f32>, GgufError> {
        let bytes = self.tensor_bytes(name)?;
        let tensor = self.required_tensor(name)?;
        tensors::numbers(tensor, &bytes)
    }

    fn bytes(&self) -> &[u8] {
        &self.header
    }
}

#[cfg(test)]
mod split_tests;
#[cfg(test)]
mod tests;
