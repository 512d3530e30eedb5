//! Asking for memory before it is used.
#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "memory is asked for by address"))]

/// Asks for what lies so many bytes behind the beginning of `what`, as much as `what` is: into the second
/// of the caches. Into the first, a core has few requests under way at a time, and what computes would
/// wait for them.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn bring<T>(what: &[T], behind: usize) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

    const LINE: usize = 64;
    let start = what.as_ptr().cast::<i8>().wrapping_add(behind);
    for line in 0..size_of_val(what).div_ceil(LINE) {
        // SAFETY: SSE is a part of x86-64; asking for memory is no access to it, and any address may
        // be named.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(start.wrapping_add(line * LINE)) };
    }
}

/// Does nothing: only x86-64 is asked.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(crate) fn bring<T>(_what: &[T], _behind: usize) {}
