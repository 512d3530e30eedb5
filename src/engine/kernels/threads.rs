//! How many threads compute. Candle makes one pool for the process, at its first use, and takes its
//! size from the environment alone.
#![expect(unsafe_code, reason = "setting a variable of the environment is unsafe beside threads")]

/// Why the number cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the number of computing threads can only be set while the process has one thread")]
pub struct TooLate;

/// Sets how many threads compute, for the whole process; 0 leaves it to the machine. To be called
/// before anything else runs.
pub fn set_threads(count: usize) -> Result<(), TooLate> {
    if count == 0 {
        return Ok(());
    }
    if running() != Some(1) {
        return Err(TooLate);
    }
    // SAFETY: the process has one thread, this one, so nobody reads the environment meanwhile.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", count.to_string()) };
    Ok(())
}

/// Threads of this process; none where the system does not tell.
fn running() -> Option<usize> {
    std::fs::read_dir("/proc/self/task").ok().map(Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_other_threads_nothing_is_set() {
        assert_eq!(set_threads(0), Ok(()));
        std::thread::scope(|scope| {
            // This test runs beside the one that started it.
            let (_open, closed) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || {
                assert_eq!(set_threads(3), Err(TooLate));
                drop(closed);
            });
        });
    }
}
