//! Asking for memory before it is used.
#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(unsafe_code, reason = "memory is asked for by address")
)]

use std::marker::PhantomData;

/// Bytes that come at once.
const LINE: usize = 64;

/// Memory that will be read soon. It is asked for line by line, at the pace at which something else is
/// computed: all of it at once is more than a processor takes on.
///
/// It comes into the second of the caches. Into the first, a core has few requests under way at a time, and
/// what computes would wait for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead<'a> {
    start: *const i8,
    lines: usize,
    what: PhantomData<&'a [u8]>,
}

impl<'a> Ahead<'a> {
    /// Nothing.
    pub(crate) const NOTHING: Self = Self { start: std::ptr::null(), lines: 0, what: PhantomData };

    /// All of these.
    #[inline]
    pub(crate) fn of<T>(what: &'a [T]) -> Self {
        Self {
            start: what.as_ptr().cast(),
            lines: size_of_val(what).div_ceil(LINE),
            what: PhantomData,
        }
    }

    /// Asks for one line, where there are so many.
    #[inline]
    pub(crate) fn bring(self, line: usize) {
        if line < self.lines {
            ask(self.start.wrapping_add(line * LINE));
        }
    }
}

/// Asks for what lies so many bytes behind the beginning of `what`, as much as `what` is.
#[inline]
pub(crate) fn bring_behind<T>(what: &[T], behind: usize) {
    let start = what.as_ptr().cast::<i8>().wrapping_add(behind);
    for line in 0..size_of_val(what).div_ceil(LINE) {
        ask(start.wrapping_add(line * LINE));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn ask(address: *const i8) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

    // SAFETY: SSE is a part of x86-64; asking for memory is no access to it, and any address may be named.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address) };
}

#[cfg(target_arch = "aarch64")]
#[inline]
fn ask(address: *const i8) {
    // SAFETY: asking for memory is no access to it, and any address may be named.
    unsafe {
        std::arch::asm!(
            "prfm pldl2keep, [{address}]",
            address = in(reg) address,
            options(nostack, preserves_flags, readonly),
        );
    }
}

/// Other machines are not asked.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline]
fn ask(_address: *const i8) {}
