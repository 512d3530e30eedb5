//! Memory in large pages. Weights are read from one end to the other for every token: with pages of
//! four kilobytes, looking up where they are takes a part of the time.

/// Less room gains nothing, and the system counts every piece of memory that is another than the one
/// beside it: a model of many small experts would have more than it allows (`vm.max_map_count`).
#[cfg(target_os = "linux")]
const LEAST: usize = 8 << 20;

/// Asks for large pages for room that nothing was written to yet. What the system cannot give so, it
/// gives as always.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the system is told about a range of memory")]
pub(crate) fn ask_for_large_pages<T>(room: &mut Vec<T>) {
    use rustix::mm::{Advice, madvise};

    if room.capacity() * size_of::<T>() < LEAST {
        return;
    }
    let page = rustix::param::page_size();
    let start = room.as_mut_ptr();
    let bytes = room.capacity() * size_of::<T>();
    let skipped = start.cast::<u8>().align_offset(page); // to the first whole page
    let Some(whole) = bytes.checked_sub(skipped).map(|rest| rest / page * page) else { return };
    // SAFETY: the range lies inside the memory of `room`, and the advice changes nothing in it
    // (madvise(2), MADV_HUGEPAGE).
    let asked =
        unsafe { madvise(start.cast::<u8>().add(skipped).cast(), whole, Advice::LinuxHugepage) };
    // A system that has none says so, and is as good as any other.
    asked.ok();
}

/// Asks for large pages. Only Linux is asked.
#[cfg(not(target_os = "linux"))]
pub(crate) fn ask_for_large_pages<T>(_room: &mut Vec<T>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_stays_as_it_is() {
        for bytes in [0, 1, 5_000, 9 << 20] {
            let mut room: Vec<u8> = Vec::with_capacity(bytes);
            ask_for_large_pages(&mut room);
            room.extend((0..bytes).map(|at| at as u8));
            assert!(room.iter().enumerate().all(|(at, byte)| *byte == at as u8));
        }
    }
}
