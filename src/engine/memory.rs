//! What a model takes of the machine's memory, and what there is.

use super::decoder::READERS;
use super::error::LoadError;
use super::gguf::{File, TensorInfo};
use super::kernels::packed::packed_bytes;
use super::progress::LoadProgress;

/// Refuses a model that there is no memory for, before any is taken: whoever watches the load says
/// so, else the machine. `working_bytes` are those of the cache and of the logits.
pub(super) fn check(
    file: &File,
    working_bytes: u64,
    progress: &LoadProgress,
) -> Result<(), LoadError> {
    check_free(weights(file).saturating_add(working_bytes), progress)
}

/// The same for a model whose weights only pass through the machine's memory.
pub(super) fn check_passing(
    file: &File,
    working_bytes: u64,
    progress: &LoadProgress,
) -> Result<(), LoadError> {
    check_free(passing(file).saturating_add(working_bytes), progress)
}

fn check_free(needed: u64, progress: &LoadProgress) -> Result<(), LoadError> {
    if let Some(answer) = progress.admit(needed) {
        return answer;
    }
    let Some(available) = available_bytes() else { return Ok(()) };
    if needed <= available {
        return Ok(());
    }
    let mib = |bytes: u64| bytes >> 20;
    Err(LoadError::Memory { needed_mib: mib(needed), available_mib: mib(available) })
}

/// Bytes that the weights take at most: while they are read.
pub(super) fn weights(file: &File) -> u64 {
    let resident: u64 = file.tensors().iter().map(resident_bytes).sum();
    resident.saturating_add(passing(file))
}

/// Bytes of the memory that pieces of tensors pass through on their way: one for each reader, the
/// largest among them.
fn passing(file: &File) -> u64 {
    let piece = |tensor: &TensorInfo| match tensor.shape.as_slice() {
        // Experts are read one after the other.
        [experts, _, _] => tensor.bytes / experts,
        _ => tensor.bytes,
    };
    let of_layers = file.tensors().iter().filter(|tensor| tensor.name.starts_with("blk."));
    let of_layers = of_layers.map(piece).max().unwrap_or(0) * (READERS - 1);
    let largest = file.tensors().iter().map(piece).max().unwrap_or(0);
    largest.saturating_add(of_layers) as u64
}

/// Bytes that a tensor takes: as it is packed, or as it is in the file.
pub(super) fn resident_bytes(tensor: &TensorInfo) -> u64 {
    let packed = match tensor.shape.as_slice() {
        [matrices @ .., outputs, columns] => {
            let matrices: usize = matrices.iter().product();
            packed_bytes(tensor.kind, *outputs, *columns).map(|bytes| bytes * matrices)
        }
        _ => None,
    };
    packed.unwrap_or(tensor.bytes) as u64
}

/// What can be taken without swapping, of the machine and of the group of processes that this one
/// is bounded with.
pub fn available_bytes() -> Option<u64> {
    let of_machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    });
    [of_machine, available_of_group()].into_iter().flatten().min()
}

/// What this process has taken for itself, files that it only reads not counted.
pub fn own_bytes() -> Option<u64> {
    of_status("RssAnon:")
}

/// The most memory that this process ever had, pages of files included.
pub fn peak_bytes() -> Option<u64> {
    of_status("VmHWM:")
}

fn of_status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// What a control group (version 2) leaves; none where it sets no bound.
fn available_of_group() -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let root = std::path::Path::new("/sys/fs/cgroup");
    let folder = root.join(path.trim_start_matches('/'));
    // A group has no more than those that it is part of.
    let groups = folder.ancestors().take_while(|folder| folder.starts_with(root));
    groups.filter_map(left_in_group).min()
}

fn left_in_group(folder: &std::path::Path) -> Option<u64> {
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
