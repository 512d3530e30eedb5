//! Gives freed memory back to the system. The C library keeps what lies between pieces that are in
//! use; a model that was unloaded leaves gigabytes there.

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
