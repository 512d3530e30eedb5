//! Where a model goes: what computes, and how large its cache is there.

use super::EngineOptions;
use super::LoadProgress;
use super::compute::{Compute, DeviceChoice, bytes_on_device};
use super::error::LoadError;
use super::gguf::File;
use super::memory;

/// Memory of a device that is left for what a step makes on its way, and for other programs.
const RESERVE_BYTES: u64 = 1 << 30;

/// Where a model goes.
pub(super) struct Home {
    /// What computes.
    pub(super) compute: Compute,
    /// What keys and values may take.
    pub(super) cache_bytes: usize,
}

/// What a model needs beside its weights.
#[derive(Clone, Copy)]
pub(super) struct Needs {
    /// The smallest cache that is of any use.
    pub(super) cache_least: usize,
    /// The largest one that is.
    pub(super) cache_useful: usize,
    /// The logits of a step.
    pub(super) logits: usize,
    /// Memory of the machine for what computes on the processor wherever the model does.
    pub(super) beside: u64,
}

impl Home {
    fn is_device(&self) -> bool {
        matches!(self.compute, Compute::Device(_))
    }
}

/// Finds a place for a model, before any memory is taken, and has `load` fill it. Where the choice is
/// left to the machine and the device has no room, or fails while it is filled, the model computes on
/// the processor.
pub(super) fn settle<T>(
    file: &File,
    options: &EngineOptions,
    needs: Needs,
    progress: &LoadProgress,
    load: impl Fn(&Home) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    settle_on(options.device.open()?, (file, options, needs, progress), load)
}

/// What a place is found for, and by what rules.
type Guest<'a> = (&'a File, &'a EngineOptions, Needs, &'a LoadProgress);

fn settle_on<T>(
    compute: Compute,
    guest: Guest<'_>,
    load: impl Fn(&Home) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let (_, options, ..) = guest;
    let home = find(compute, guest)?;
    match load(&home) {
        Err(
            error @ (LoadError::DeviceFull { .. }
            | LoadError::Device { .. }
            | LoadError::Cache { .. }),
        ) if home.is_device() && options.device == DeviceChoice::Auto => {
            tracing::warn!(cause = %error, "the model computes on the CPU");
            load(&on_host(guest)?)
        }
        loaded => loaded,
    }
}

fn find(compute: Compute, guest: Guest<'_>) -> Result<Home, LoadError> {
    let (file, options, needs, progress) = guest;
    if let Compute::Device(_) = compute {
        match cache_on_device(file, options, needs, compute.free_bytes()) {
            Ok(cache_bytes) => {
                let working = needs.beside.saturating_add(needs.logits as u64);
                let there = weights_on_device(file) + cache_bytes as u64;
                let shared = if compute.shares_memory() { there } else { 0 };
                memory::check_passing(file, shared.saturating_add(working), progress)?;
                return Ok(Home { compute, cache_bytes });
            }
            Err(error) if options.device == DeviceChoice::Auto => {
                tracing::warn!(cause = %error, "the model computes on the CPU");
            }
            Err(error) => return Err(error),
        }
    }
    on_host(guest)
}

fn on_host((file, options, needs, progress): Guest<'_>) -> Result<Home, LoadError> {
    let working = needs.beside.saturating_add(needs.logits as u64);
    let cache_bytes = options.kv_budget_bytes.min(needs.cache_useful);
    memory::check(file, (cache_bytes as u64).saturating_add(working), progress)?;
    Ok(Home { compute: Compute::Host, cache_bytes })
}

fn weights_on_device(file: &File) -> u64 {
    file.tensors().iter().map(bytes_on_device).sum()
}

/// What the cache may take on a device with so much free memory, where it tells.
fn cache_on_device(
    file: &File,
    options: &EngineOptions,
    needs: Needs,
    free: Option<u64>,
) -> Result<usize, LoadError> {
    let Needs { cache_least, cache_useful, logits, beside: _ } = needs;
    let Some(free) = free else {
        let most = options.device_kv_budget_bytes.unwrap_or(options.kv_budget_bytes);
        return Ok(most.min(cache_useful));
    };
    let taken = weights_on_device(file) + RESERVE_BYTES + logits as u64;
    let left = free.saturating_sub(taken);
    if left < cache_least as u64 {
        let needed = taken.saturating_add(cache_least as u64);
        return Err(LoadError::DeviceMemory { needed_mib: needed >> 20, free_mib: free >> 20 });
    }
    let most = options.device_kv_budget_bytes.unwrap_or(usize::MAX);
    Ok(most.min(cache_useful).min(usize::try_from(left).unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const NEEDS: Needs =
        Needs { cache_least: MIB, cache_useful: 4_096 * MIB, logits: 10 * MIB, beside: 0 };

    #[test]
    fn the_cache_of_a_device_takes_what_weights_and_reserve_leave() {
        let guide = include_bytes!("../../models/guide/guide.gguf");
        let file = File::from_static(guide).expect("a sound model");
        let taken = weights_on_device(&file) as usize + 1_024 * MIB + 10 * MIB;
        let cache = |free: usize, budget: Option<usize>| {
            let options =
                EngineOptions { device_kv_budget_bytes: budget, ..EngineOptions::default() };
            cache_on_device(&file, &options, NEEDS, Some(free as u64))
        };
        assert_eq!(cache(taken + 300 * MIB, None).ok(), Some(300 * MIB));
        assert_eq!(cache(taken + 300 * MIB, Some(100 * MIB)).ok(), Some(100 * MIB));
        assert_eq!(cache(taken + 9_000 * MIB, None).ok(), Some(4_096 * MIB));
        assert_eq!(cache(taken + MIB, None).ok(), Some(MIB));
        for free in [taken + MIB - 1, taken, 0] {
            assert!(matches!(cache(free, None), Err(LoadError::DeviceMemory { .. })), "{free}");
        }
    }

    #[test]
    fn a_device_that_fails_while_it_is_filled_gives_way_to_the_processor_under_auto() {
        let guide = include_bytes!("../../models/guide/guide.gguf");
        let file = File::from_static(guide).expect("a sound model");
        let full = || LoadError::DeviceFull { device: "cuda:0".into(), reason: "full".into() };
        let settled = |device: DeviceChoice, error: fn() -> LoadError| {
            let options = EngineOptions { device, ..EngineOptions::default() };
            let tried = std::cell::Cell::new(0);
            let stand_in = Compute::Device(candle_core::Device::Cpu);
            let guest = (&file, &options, NEEDS, &LoadProgress::new());
            let place = settle_on(stand_in, guest, |home| {
                tried.set(tried.get() + 1);
                if home.is_device() { Err(error()) } else { Ok("the processor") }
            });
            (place, tried.get())
        };
        assert!(matches!(settled(DeviceChoice::Auto, full), (Ok("the processor"), 2)));
        let lost = || LoadError::Device { device: "cuda:0".into(), reason: "lost".into() };
        assert!(matches!(settled(DeviceChoice::Auto, lost), (Ok("the processor"), 2)));
        // A device that was named is told of, and a file that is damaged is so everywhere.
        let named = settled(DeviceChoice::StandIn, full);
        assert!(matches!(named, (Err(LoadError::DeviceFull { .. }), 1)));
        let damaged = settled(DeviceChoice::Auto, || LoadError::File("cut short".into()));
        assert!(matches!(damaged, (Err(LoadError::File(_)), 1)));
    }

    #[test]
    fn a_device_that_does_not_tell_its_memory_has_the_budget_of_the_settings() {
        let guide = include_bytes!("../../models/guide/guide.gguf");
        let file = File::from_static(guide).expect("a sound model");
        let mut options = EngineOptions { kv_budget_bytes: 7 * MIB, ..EngineOptions::default() };
        assert_eq!(cache_on_device(&file, &options, NEEDS, None).ok(), Some(7 * MIB));
        options.device_kv_budget_bytes = Some(9 * MIB);
        assert_eq!(cache_on_device(&file, &options, NEEDS, None).ok(), Some(9 * MIB));
    }
}
