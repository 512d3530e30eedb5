//! What computes, as `engine.device` says it.

/// A device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The first that answers, else the processor.
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA device, by its number.
    Cuda(u16),
    /// The graphics processor of a Mac.
    Metal,
}

/// What a device may be called, in words.
pub(super) const DEVICE_RULE: &str = "must be \"auto\", \"cpu\", \"metal\", or \"cuda:\" and the number of a device, such as \"cuda:0\"";

impl Device {
    /// The device of this name.
    pub fn parse(raw: &str) -> Option<Self> {
        match raw {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "metal" => Some(Self::Metal),
            _ => {
                let number = raw.strip_prefix("cuda:")?;
                let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
                is_number.then(|| number.parse().ok().map(Self::Cuda)).flatten()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_known_by_their_names() {
        for (raw, device) in [
            ("auto", Device::Auto),
            ("cpu", Device::Cpu),
            ("metal", Device::Metal),
            ("cuda:0", Device::Cuda(0)),
            ("cuda:7", Device::Cuda(7)),
        ] {
            assert_eq!(Device::parse(raw), Some(device), "{raw}");
        }
        for raw in [
            "",
            "gpu",
            "CPU",
            "cuda",
            "cuda:",
            "cuda:+1",
            "cuda:-1",
            "cuda: 0",
            "cuda:99999",
            "cuda:x",
        ] {
            assert_eq!(Device::parse(raw), None, "{raw}");
        }
    }
}
