//! When freed memory goes back to the system. The C library keeps what lies between pieces that are in
//! use; a model that was unloaded leaves gigabytes there. What a step frees, the next one wants again.

/// A piece from this size on goes back at once: the most that mallopt(3) takes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: std::ffi::c_int = 32 << 20;
/// So many free bytes at the end of the heap are kept.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: std::ffi::c_int = 256 << 20;

/// Has the C library keep what steps free. Left to itself it gives megabytes back after each product, and
/// every page that is had anew is a fault, and zeroed by the system. Does nothing where it has no way to.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library's own function is called")]
pub(super) fn keep_memory() {
    use std::ffi::c_int;

    const TRIM_THRESHOLD: c_int = -1;
    const MMAP_THRESHOLD: c_int = -3;
    unsafe extern "C" {
        /// `int mallopt(int param, int value)`, mallopt(3).
        fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }
    // SAFETY: it takes any numbers and refuses those that are none of its own; it takes the allocator's
    // own locks (mallopt(3): MT-Unsafe init, that is, beside another call of its own: there is none).
    unsafe {
        mallopt(MMAP_THRESHOLD, LARGE);
        mallopt(TRIM_THRESHOLD, KEPT);
    }
}

/// Has the C library keep what steps free. Does nothing where it has no way to.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn keep_memory() {}

/// Gives back what is free. Does nothing where the C library has no way to.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library's own function is called")]
pub fn give_back_memory() {
    unsafe extern "C" {
        /// `int malloc_trim(size_t pad)`, malloc_trim(3).
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: it takes any number, touches only memory that is free, and takes the allocator's own
    // locks (malloc_trim(3): MT-Safe).
    unsafe { malloc_trim(0) };
}

/// Gives back what is free. Does nothing where the C library has no way to.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back_memory() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_as_it_is() {
        let kept: Vec<Vec<u8>> = (0..200_u8).map(|n| vec![n; 20_000]).collect();
        let freed: Vec<Vec<u8>> = (0..200_u8).map(|n| vec![n; 20_000]).collect();
        drop(freed);
        give_back_memory();
        assert!(kept.iter().zip(0..).all(|(one, n)| one.iter().all(|byte| *byte == n)));
    }
}
