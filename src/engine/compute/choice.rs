//! Which device computes, and what memory it has.

use candle_core::utils::{cuda_is_available, metal_is_available};
use candle_core::{Device, DeviceLocation, Result};

use super::Compute;
use crate::engine::error::LoadError;

/// Which device is to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first that answers, else the processor.
    Auto,
    /// The processor.
    #[default]
    Cpu,
    /// The NVIDIA device of this number.
    Cuda(usize),
    /// The graphics processor of a Mac.
    Metal,
    /// The processor, by the operations of a device.
    #[cfg(test)]
    StandIn,
}

/// Whether the chosen device answers; to be asked before anything is loaded.
pub fn check_device(choice: DeviceChoice) -> std::result::Result<(), LoadError> {
    choice.open().map(drop)
}

impl DeviceChoice {
    /// Opens the device. An error where one was asked for that is not there.
    pub(crate) fn open(self) -> std::result::Result<Compute, LoadError> {
        let opened = match self {
            Self::Cpu => return Ok(Compute::Host),
            Self::Auto => return Ok(first()),
            Self::Cuda(_) if !cuda_is_available() => Err("this program is built without CUDA"),
            Self::Metal if !metal_is_available() => Err("this program is built without Metal"),
            Self::Cuda(number) => Ok(Device::new_cuda(number)),
            Self::Metal => Ok(Device::new_metal(0)),
            #[cfg(test)]
            Self::StandIn => Ok(Ok(Device::Cpu)),
        };
        let failed = |reason: String| LoadError::Device { device: self.to_string(), reason };
        let opened = opened.map_err(|reason| failed(reason.to_owned()))?;
        opened.map(Compute::Device).map_err(|error| failed(first_line(&error)))
    }
}

impl std::fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
            Self::Metal => formatter.write_str("metal"),
            #[cfg(test)]
            Self::StandIn => formatter.write_str("stand-in"),
        }
    }
}

/// The first device that answers, else the processor.
fn first() -> Compute {
    let opened: Option<Result<Device>> = if cuda_is_available() {
        Some(Device::new_cuda(0))
    } else if metal_is_available() {
        Some(Device::new_metal(0))
    } else {
        None
    };
    match opened {
        Some(Ok(device)) => Compute::Device(device),
        Some(Err(error)) => {
            let cause = first_line(&error);
            tracing::info!(cause, "no device answers: the model computes on the CPU");
            Compute::Host
        }
        None => {
            tracing::debug!("this program is built for the CPU alone");
            Compute::Host
        }
    }
}

/// How the drivers of CUDA, its libraries and Metal say that there is no memory left.
const FULL: [&str; 4] =
    ["out of memory", "alloc failed", "outofmemory", "failed to create metal resource"];

/// The error itself, without what was said on its way.
fn root(error: &candle_core::Error) -> &candle_core::Error {
    use candle_core::Error;
    match error {
        Error::Context { inner, .. }
        | Error::WithPath { inner, .. }
        | Error::WithBacktrace { inner, .. } => root(inner),
        own => own,
    }
}

/// What an error says, without the calls that led to it.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

impl Compute {
    /// What is free of a memory that the device has for itself; none where it has none, or does not
    /// tell.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Device(Device::Cuda(device)) => {
                let (free, _) = device.cuda_stream().context().mem_get_info().ok()?;
                Some(free as u64)
            }
            Self::Host | Self::Device(_) => None,
        }
    }

    /// Why weights or a cache could not be put where they are to be. What a device says of itself is no
    /// fault of the file.
    pub(crate) fn cannot_place(&self, error: &candle_core::Error) -> LoadError {
        let device = match self.device().location() {
            DeviceLocation::Cuda { gpu_id } => DeviceChoice::Cuda(gpu_id),
            DeviceLocation::Metal { .. } => DeviceChoice::Metal,
            DeviceLocation::Cpu => DeviceChoice::Cpu,
        };
        let error = root(error);
        let (device, reason) = (device.to_string(), first_line(error));
        // Candle passes on what the drivers say; there is no other name for it.
        let said = reason.to_lowercase().replace('_', " ");
        match (self, error) {
            (Self::Device(_), _) if FULL.iter().any(|words| said.contains(words)) => {
                LoadError::DeviceFull { device, reason }
            }
            (Self::Device(_), candle_core::Error::Cuda(_) | candle_core::Error::Metal(_)) => {
                LoadError::Device { device, reason }
            }
            _ => LoadError::File(reason),
        }
    }

    /// Why a cache of so many bytes could not be made. No file has a part in it.
    pub(crate) fn cannot_hold(&self, bytes: usize, error: &candle_core::Error) -> LoadError {
        match self.cannot_place(error) {
            LoadError::File(reason) => LoadError::Cache { mib: bytes >> 20, reason },
            told => told,
        }
    }

    /// Whether what lies on the device is taken of the machine's memory.
    pub(crate) fn shares_memory(&self) -> bool {
        !matches!(self, Self::Device(Device::Cuda(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_this_program_is_not_built_for_is_refused_with_the_reason() {
        for (choice, is_there, words) in [
            (DeviceChoice::Cuda(0), cuda_is_available(), "`cuda:0`: this program is built without"),
            (DeviceChoice::Metal, metal_is_available(), "`metal`: this program is built without"),
        ] {
            if !is_there {
                let error = check_device(choice).expect_err("refused").to_string();
                assert!(error.contains(words), "{error}");
            }
        }
        assert!(check_device(DeviceChoice::Cuda(4_000)).is_err());
    }

    #[test]
    fn a_device_that_is_full_is_told_apart_from_a_damaged_file() {
        use candle_core::Error;
        let full = |error: Error| Compute::Device(Device::Cpu).cannot_place(&error);
        for words in [
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "CublasError(CUBLAS_STATUS_ALLOC_FAILED)",
        ] {
            for error in [Error::Cuda(words.into()), Error::Cuda(words.into()).context("a layer")] {
                let told = full(error);
                assert!(matches!(told, LoadError::DeviceFull { .. }), "{told}");
            }
        }
        let metal = Error::Metal("Failed to create metal resource: Buffer".to_owned().into());
        assert!(matches!(full(metal), LoadError::DeviceFull { .. }));
        let broken = full(Error::Cuda("DriverError(CUDA_ERROR_ECC_UNCORRECTABLE)".into()));
        assert!(matches!(broken, LoadError::Device { .. }), "{broken}");
        let of_file = full(Error::Msg("a block is cut short".to_owned()));
        assert!(matches!(of_file, LoadError::File(_)), "{of_file}");
        let on_host = Compute::Host.cannot_place(&Error::Msg("out of memory".to_owned()));
        assert!(matches!(on_host, LoadError::File(_)), "{on_host}");
    }

    #[test]
    fn a_cache_that_cannot_be_made_is_no_fault_of_the_file() {
        use candle_core::Error;
        for compute in [Compute::Host, Compute::Device(Device::Cpu)] {
            let told = compute.cannot_hold(3 << 20, &Error::Msg("no room".to_owned()));
            assert_eq!(told.to_string(), "the cache of 3 MiB cannot be made: no room");
        }
        let full = Error::Cuda("DriverError(CUDA_ERROR_OUT_OF_MEMORY)".into());
        let told = Compute::Device(Device::Cpu).cannot_hold(3 << 20, &full);
        assert!(matches!(told, LoadError::DeviceFull { .. }), "{told}");
    }

    #[test]
    fn auto_always_finds_something_that_computes() {
        let compute = DeviceChoice::Auto.open().expect("opens");
        if !cuda_is_available() && !metal_is_available() {
            assert!(matches!(compute, Compute::Host));
        }
    }
}
