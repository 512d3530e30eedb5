//! Reads weights, each held against the shape it must have.

use std::collections::HashSet;
use std::ops::Range;

use candle_core::Tensor;
use parking_lot::Mutex;

use crate::engine::LoadProgress;
use crate::engine::compute::Compute;
use crate::engine::error::LoadError;
use crate::engine::families::DecoderSpec;
use crate::engine::gguf::{File, TensorInfo};
use crate::engine::kernels::Rooms;
use crate::engine::layers::{Linear, Norm, NormKind};

/// The weights of a file. Several threads may read them at once.
pub(in crate::engine) struct Weights<'a> {
    file: &'a File,
    progress: &'a LoadProgress,
    /// Where they go.
    compute: Compute,
    /// The names of those that the decoder has.
    taken: Mutex<HashSet<String>>,
    /// Where packed weights lie.
    rooms: Rooms,
    /// Memory that bytes are read into, kept for the next reading.
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// The least size of a buffer. What is larger than 32 MiB glibc gives back to the system when it is
/// freed, and what is smaller it may keep; pages that were not written to take no memory.
const BUFFER_BYTES_MIN: usize = (32 << 20) + 1;

/// Bytes that are read between two looks at whether somebody wants the reading to end.
const PIECE: usize = 16 << 20;

/// Tensors that are read elsewhere.
const NOT_OURS: [&str; 3] =
    ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];

impl<'a> Weights<'a> {
    pub(in crate::engine) fn new(file: &'a File, progress: &'a LoadProgress) -> Self {
        Self::on(Compute::Host, file, progress)
    }

    /// The weights of a file, for what is to compute with them.
    pub(in crate::engine) fn on(
        compute: Compute,
        file: &'a File,
        progress: &'a LoadProgress,
    ) -> Self {
        let bytes: usize = file.tensors().iter().map(|tensor| tensor.bytes).sum();
        progress.begin(bytes as u64);
        let (taken, buffers) = (Mutex::default(), Mutex::default());
        Self { file, progress, compute, taken, rooms: Rooms::for_bytes(bytes), buffers }
    }

    /// Whether the file has a tensor of this whole name.
    pub(in crate::engine) fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_some()
    }

    /// A weight that nothing uses is a part of the model that would be left out.
    pub(in crate::engine) fn check_all_taken(&self) -> Result<(), LoadError> {
        let taken = self.taken.lock();
        let mut names = self.file.tensors().iter().map(|tensor| tensor.name.as_str());
        match names.find(|name| !taken.contains(*name) && !NOT_OURS.contains(name)) {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().filter(char::is_ascii_graphic).take(64).collect();
                Err(LoadError::Unsupported(format!("the tensor \"{name}\"")))
            }
        }
    }

    fn check(&self, name: &str, shape: &[usize]) -> Result<(), LoadError> {
        self.taken.lock().insert(name.to_owned());
        let found = &self.file.required_tensor(name)?.shape;
        if found == shape {
            return Ok(());
        }
        let problem = format!("its shape is {found:?}, and {shape:?} is what the model needs");
        Err(LoadError::Number { key: name.to_owned(), problem })
    }

    /// The matrix [out, input] called `NAME.weight`, with `NAME.bias` where that is there.
    pub(in crate::engine) fn matrix(
        &self,
        name: &str,
        out: usize,
        input: usize,
    ) -> Result<Linear, LoadError> {
        let [whole] = self.fused(name, [out], input)?;
        Ok(whole)
    }

    /// Matrices that lie over one another in one tensor, each so many rows high.
    pub(in crate::engine) fn fused<const N: usize>(
        &self,
        name: &str,
        heights: [usize; N],
        input: usize,
    ) -> Result<[Linear; N], LoadError> {
        let weight = format!("{name}.weight");
        let height = heights.iter().sum();
        self.check(&weight, &[height, input])?;
        let bias = format!("{name}.bias");
        let bias = self.has(&bias).then(|| self.tensor(&bias, height)).transpose()?;
        let mut from = 0;
        let parts: Vec<Linear> = heights
            .iter()
            .map(|height| {
                let rows = from..from + height;
                from = rows.end;
                let cut = |bias: &Tensor| bias.narrow(0, rows.start, rows.len())?.copy();
                let bias = bias
                    .as_ref()
                    .map(cut)
                    .transpose()
                    .map_err(|error| self.compute.cannot_place(&error))?;
                self.rows(&weight, rows, input, bias)
            })
            .collect::<Result<_, LoadError>>()?;
        <[Linear; N]>::try_from(parts).map_err(|_| LoadError::File("a part is missing".into()))
    }

    /// The matrices [out, input] of all experts, which lie over one another in one tensor.
    pub(in crate::engine) fn experts(
        &self,
        name: &str,
        count: usize,
        out: usize,
        input: usize,
    ) -> Result<Vec<Linear>, LoadError> {
        let weight = format!("{name}.weight");
        self.check(&weight, &[count, out, input])?;
        let bias = format!("{name}.bias");
        let biases = self.has(&bias).then(|| self.numbers(&bias, &[count, out])).transpose()?;
        let biases = biases.unwrap_or_default();
        let mut biases = biases.chunks_exact(out);
        (0..count)
            .map(|at| {
                let bias = biases.next().map(|bias| Tensor::new(bias, self.compute.device()));
                let bias = bias.transpose().map_err(|error| self.compute.cannot_place(&error))?;
                self.rows(&weight, at * out..(at + 1) * out, input, bias)
            })
            .collect()
    }

    fn rows(
        &self,
        name: &str,
        rows: Range<usize>,
        input: usize,
        bias: Option<Tensor>,
    ) -> Result<Linear, LoadError> {
        let info = self.file.required_tensor(name)?;
        let row_bytes = info.kind.row_bytes(input);
        let bytes = rows.start * row_bytes..rows.end * row_bytes; // inside the shape: see `check`
        self.read(info, bytes, |bytes| {
            let read = match &self.compute {
                Compute::Host => Linear::new(info.kind, bytes, input, bias, &self.rooms),
                Compute::Device(device) => Linear::on_device(info.kind, bytes, input, bias, device),
            };
            read.map_err(|error| self.compute.cannot_place(&error))
        })
    }

    /// Hands bytes of a tensor to `take`.
    fn read<T>(
        &self,
        info: &TensorInfo,
        range: Range<usize>,
        take: impl FnOnce(&[u8]) -> Result<T, LoadError>,
    ) -> Result<T, LoadError> {
        let buffer = self.buffers.lock().pop();
        let mut buffer = buffer.unwrap_or_else(|| vec![0; BUFFER_BYTES_MIN]);
        if buffer.len() < range.len() {
            buffer.resize(range.len(), 0);
        }
        let bytes = &mut buffer[..range.len()];
        for (number, piece) in bytes.chunks_mut(PIECE).enumerate() {
            self.file.read(info, range.start + number * PIECE, piece)?;
            self.progress.advance(piece.len() as u64)?;
        }
        let taken = take(bytes);
        self.buffers.lock().push(buffer);
        taken
    }

    /// The norm called `NAME.weight`, with `NAME.bias` where that is there.
    pub(in crate::engine) fn norm(
        &self,
        name: &str,
        width: usize,
        spec: &DecoderSpec,
    ) -> Result<Norm, LoadError> {
        self.norm_of(name, width, spec.norm, spec.epsilon)
    }

    /// As `norm`, of this kind.
    pub(in crate::engine) fn norm_of(
        &self,
        name: &str,
        width: usize,
        kind: NormKind,
        epsilon: f32,
    ) -> Result<Norm, LoadError> {
        let weight = self.tensor(&format!("{name}.weight"), width)?;
        let bias = format!("{name}.bias");
        let bias = self.has(&bias).then(|| self.tensor(&bias, width)).transpose()?;
        Ok(Norm::new(kind, weight, bias, epsilon, self.compute.clone()))
    }

    /// The vector of this whole name.
    pub(in crate::engine) fn tensor(&self, name: &str, length: usize) -> Result<Tensor, LoadError> {
        let numbers = self.numbers(name, &[length])?;
        Tensor::from_vec(numbers, length, self.compute.device())
            .map_err(|error| self.compute.cannot_place(&error))
    }

    /// The numbers of the tensor of this whole name, each of which is one.
    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        self.check(name, shape)?;
        let numbers = self.file.numbers(name)?;
        self.progress.advance(self.file.required_tensor(name)?.bytes as u64)?;
        if numbers.iter().all(|x| x.is_finite()) {
            return Ok(numbers);
        }
        let problem = "it holds something that is not a number".to_owned();
        Err(LoadError::Number { key: name.to_owned(), problem })
    }
}
