//! What a model takes of the machine's memory, and what there is.

use candle_core::quantized::GgmlDType;

use super::error::LoadError;
use super::gguf::{File, TensorInfo};

/// Refuses a model that the machine has no memory for, before any is taken. `working_bytes` are
/// those of the cache and of the logits.
pub(super) fn check(file: &File, working_bytes: u64) -> Result<(), LoadError> {
    let Some(available) = available_bytes() else { return Ok(()) };
    let weights: u64 = file.tensors().iter().map(resident_bytes).sum();
    let needed = weights.saturating_add(working_bytes);
    if needed <= available {
        return Ok(());
    }
    let mib = |bytes: u64| bytes >> 20;
    Err(LoadError::Memory { needed_mib: mib(needed), available_mib: mib(available) })
}

/// Bytes that a tensor takes once it has been used: its own, and those of the packed copy that
/// candle makes of it at the first product.
pub(super) fn resident_bytes(tensor: &TensorInfo) -> u64 {
    let bytes = tensor.bytes as u64;
    if tensor.shape.len() < 2 {
        return bytes;
    }
    bytes.saturating_add(match tensor.dtype {
        // Tiles of 16 rows and 256 columns; the file has 16 blocks for each.
        GgmlDType::Q4K => bytes / 2_304 * 3_072,
        GgmlDType::Q6K => bytes / 3_360 * 5_120,
        GgmlDType::Q8_0 => bytes / 34 * 36,
        _ => 0,
    })
}

/// What can be taken without swapping, of the machine and of the group of processes that this one
/// is bounded with.
fn available_bytes() -> Option<u64> {
    let of_machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    });
    [of_machine, available_of_group()].into_iter().flatten().min()
}

/// What a control group (version 2) leaves; none where it sets no bound.
fn available_of_group() -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let folder = std::path::Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    let number = |name: &str| {
        let text = std::fs::read_to_string(folder.join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let (most, current) = (number("memory.max")?, number("memory.current")?);
    // Cached files are given back when memory is wanted.
    let cached = std::fs::read_to_string(folder.join("memory.stat")).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("inactive_file "))?;
        line.trim().parse::<u64>().ok()
    });
    Some(most.saturating_sub(current.saturating_sub(cached.unwrap_or(0))))
}
