//! The cores of the machine: how many this process may compute on, and which.

/// Physical cores that this process may use: those of its affinity, and no more than the time that
/// its control group is given. Two threads on one core share its vector unit, and are slower than one.
#[cfg(target_os = "linux")]
pub(super) fn usable() -> usize {
    // What the standard library knows of counts threads of cores, and older control groups too.
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = match linux::cores().len() {
        0 => most,
        cores => cores.min(most),
    };
    linux::quota().map_or(cores, |quota| cores.min(quota))
}

/// As many as the system says.
#[cfg(not(target_os = "linux"))]
pub(super) fn usable() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::path::Path;

    use rustix::thread::{CpuSet, sched_getaffinity};

    /// The processors of each core that this process may use, those that share a core together.
    pub(super) fn cores() -> Vec<Vec<usize>> {
        let allowed = match sched_getaffinity(None) {
            Ok(set) => (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect(),
            Err(_) => Vec::new(),
        };
        together(&allowed, |cpu| {
            let file = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            std::fs::read_to_string(file).ok()
        })
    }

    /// Puts processors with the same siblings together; one that nothing is known of is a core.
    pub(super) fn together(
        allowed: &[usize],
        siblings: impl Fn(usize) -> Option<String>,
    ) -> Vec<Vec<usize>> {
        let mut cores: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for &cpu in allowed {
            let own = siblings(cpu).unwrap_or_else(|| format!("cpu{cpu}"));
            cores.entry(own.trim().to_owned()).or_default().push(cpu);
        }
        cores.into_values().collect()
    }

    /// How many processors' time the control group (version 2) has, and those above it; none where
    /// there is no bound.
    pub(super) fn quota() -> Option<usize> {
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let root = Path::new("/sys/fs/cgroup");
        let folder = root.join(path.trim_start_matches('/'));
        let folders = folder.ancestors().take_while(|folder| folder.starts_with(root));
        let of = |folder: &Path| whole(&std::fs::read_to_string(folder.join("cpu.max")).ok()?);
        folders.filter_map(of).min()
    }

    /// What `cpu.max` says: microseconds of every so many, or "max".
    pub(super) fn whole(text: &str) -> Option<usize> {
        let (time, period) = text.trim().split_once(' ')?;
        let (time, period) = (time.parse::<usize>().ok()?, period.parse::<usize>().ok()?);
        Some(time.checked_div(period)?.max(1))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn threads_of_one_core_count_once() {
        let siblings = |cpu: usize| (cpu < 6).then(|| format!("{},{}\n", cpu % 3, cpu % 3 + 3));
        let cores = linux::together(&[0, 1, 2, 3, 5, 7], siblings);
        assert_eq!(cores, [vec![0, 3], vec![1], vec![2, 5], vec![7]]);
    }

    #[test]
    fn a_share_of_a_processor_is_one_and_no_bound_is_none() {
        assert_eq!(linux::whole("250000 100000\n"), Some(2));
        assert_eq!(linux::whole("50000 100000"), Some(1));
        for text in ["max 100000", "", "100000 0", "-1 100000", "1"] {
            assert_eq!(linux::whole(text), None, "{text}");
        }
    }

    #[test]
    fn this_process_has_a_core() {
        let most = std::thread::available_parallelism().expect("a number").get();
        assert!((1..=most).contains(&usable()));
    }
}
