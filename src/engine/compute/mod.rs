//! Where a model computes: on the processor, by the engine's own kernels, or on a device, by
//! candle's operations on tensors. The decoder says what is done; here it is done one way or the
//! other. Knows no family and no request.

mod attention;
mod cache;
mod choice;
mod matrix;
mod operations;
mod step;

use candle_core::{CpuStorage, Device, Result, Storage, Tensor};

use super::layers::{Activation, activate, activate_alone, add_into, scale_by};
pub(crate) use cache::{DeviceCache, blocks_max};
pub use choice::{DeviceChoice, check_device};
pub(crate) use matrix::{DeviceMatrix, bytes_on_device};
pub(crate) use operations::normalised;
pub(crate) use step::{AttentionWork, HeadWork, Prepared};

/// What computes.
#[derive(Clone, Debug)]
pub(crate) enum Compute {
    /// The processor, in place.
    Host,
    /// A device. The processor can stand in for one: so the tests run what a graphics card runs.
    Device(Device),
}

impl Compute {
    /// Where tensors lie.
    pub(crate) fn device(&self) -> &Device {
        match self {
            Self::Host => &Device::Cpu,
            Self::Device(device) => device,
        }
    }

    /// Numbers of rows or tokens, as a tensor.
    pub(crate) fn ids(&self, ids: &[u32]) -> Result<Tensor> {
        Tensor::new(ids, self.device())
    }

    /// `sum + terms * scale`. The processor writes it where `sum` was.
    pub(crate) fn add(&self, sum: Tensor, terms: &Tensor, scale: f32) -> Result<Tensor> {
        match self {
            Self::Host => add_into(&sum, terms, scale).map(|()| sum),
            Self::Device(_) if scale == 1.0 => sum + terms,
            Self::Device(_) => sum + terms.affine(f64::from(scale), 0.0)?,
        }
    }

    /// `rows * by`. The processor writes it where they were.
    pub(crate) fn scale(&self, rows: Tensor, by: f32) -> Result<Tensor> {
        match self {
            Self::Host => scale_by(&rows, by).map(|()| rows),
            Self::Device(_) if by == 1.0 => Ok(rows),
            Self::Device(_) => rows.affine(f64::from(by), 0.0),
        }
    }

    /// `activation(gate) * up`. The processor writes it where `gate` was.
    pub(crate) fn activate(
        &self,
        gate: Tensor,
        up: &Tensor,
        activation: Activation,
    ) -> Result<Tensor> {
        match self {
            Self::Host => activate(&gate, up, activation).map(|()| gate),
            Self::Device(_) => operations::gated(&gate, up, activation),
        }
    }

    /// `activation(rows)`, for the units without a gate. The processor writes it where they were.
    pub(crate) fn activate_alone(&self, rows: Tensor, activation: Activation) -> Result<Tensor> {
        match self {
            Self::Host => activate_alone(&rows, activation).map(|()| rows),
            Self::Device(_) => operations::activated(&rows, activation),
        }
    }
}

/// Reads the elements of an f32 tensor: in place where they lie contiguous in the memory of the
/// processor, else as a copy.
pub(crate) fn with_elements<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
    {
        let (storage, layout) = tensor.storage_and_layout();
        if let (Storage::Cpu(CpuStorage::F32(data)), Some((start, end))) =
            (&*storage, layout.contiguous_offsets())
        {
            return Ok(read(&data[start..end]));
        }
    }
    Ok(read(&tensor.flatten_all()?.to_vec1::<f32>()?))
}
