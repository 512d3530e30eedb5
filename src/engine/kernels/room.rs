//! Memory for weights: many matrices lie in one piece of it, in large pages where the system has them.
//!
//! Weights are read from one end to the other for every token. With pages of four kilobytes, looking
//! up where they are takes a part of the time; and matrices that each ask for large pages of their own
//! would be as many pieces to the system, which allows so many and no more (`vm.max_map_count`).
#![expect(unsafe_code, reason = "parts of one allocation have different owners")]

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use parking_lot::Mutex;

/// Bytes of a piece of memory. The C library gives back to the system whatever is larger than 32 MiB.
const PIECE: usize = 64 << 20;

/// The unit of all room, as wide as the vector unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; 64]);

impl Line {
    pub(crate) const ZERO: Self = Self([0; 64]);
}

/// Gives room to the matrices of one model.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    /// How many lines all of them will take together, as far as that is known.
    expected: usize,
    /// What room is taken from, and how many of its lines are taken.
    open: Mutex<Option<(Arc<Memory>, usize)>>,
}

/// Lines that belong to nobody else.
#[derive(Debug)]
pub(crate) struct Room {
    memory: Arc<Memory>,
    from: usize,
    lines: usize,
}

impl Rooms {
    /// For matrices that take about so many bytes together.
    pub(crate) fn for_bytes(expected: usize) -> Self {
        Self { expected: expected / size_of::<Line>(), open: Mutex::default() }
    }

    /// Room for so many lines, all of them nought.
    pub(crate) fn take(&self, lines: usize) -> Room {
        let room = self.place(lines);
        let start = room.memory.start();
        // SAFETY: these lines are inside of the allocation and belong to this room alone; noughts make
        // lines.
        unsafe { start.add(room.from).write_bytes(0, lines) };
        room
    }

    fn place(&self, lines: usize) -> Room {
        let mut open = self.open.lock();
        if let Some((memory, taken)) = &mut *open
            && memory.lines() - *taken >= lines
        {
            let from = *taken;
            *taken += lines;
            return Room { memory: Arc::clone(memory), from, lines };
        }
        // What was left of the last piece was not touched, and takes no memory.
        let size = self.expected.min(PIECE / size_of::<Line>());
        let is_large = lines > size / 2;
        let memory = Arc::new(Memory::new(if is_large { lines } else { size }));
        if !is_large {
            *open = Some((Arc::clone(&memory), lines));
        }
        Room { memory, from: 0, lines }
    }
}

/// An allocation. Its rooms do not overlap, and it lives as long as one of them.
#[derive(Debug)]
struct Memory(NonNull<[MaybeUninit<Line>]>);

// SAFETY: what it points to is reached through rooms alone, each of which has lines of its own,
// and bytes may be used by any thread.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(lines: usize) -> Self {
        let room = Box::leak(Box::new_uninit_slice(lines));
        ask_for_large_pages(room);
        Self(NonNull::from(room))
    }

    fn lines(&self) -> usize {
        self.0.len()
    }

    fn start(&self) -> *mut Line {
        self.0.as_ptr().cast()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it comes from the box that `new` leaked, and no room is left that uses it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Deref for Room {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        // SAFETY: `place` gave these lines, inside of the allocation, to this room alone, and `take`
        // filled them before it gave the room away.
        unsafe { std::slice::from_raw_parts(self.memory.start().add(self.from), self.lines) }
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [Line] {
        let start = self.memory.start();
        // SAFETY: as for `deref`; and whoever changes the room has the only reference to it.
        unsafe { std::slice::from_raw_parts_mut(start.add(self.from), self.lines) }
    }
}

/// The bytes of lines.
pub(crate) fn bytes(lines: &[Line]) -> &[u8] {
    // SAFETY: a line is an array of bytes, and as large as it is aligned: there is nothing between two.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
}

/// The bytes of lines, to be changed.
pub(crate) fn bytes_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: as above; any bytes make a line.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
}

/// Asks for large pages for room that nothing was written to yet. What the system cannot give so, it
/// gives as always.
#[cfg(target_os = "linux")]
pub(crate) fn ask_for_large_pages<T>(room: &mut [T]) {
    use rustix::mm::{Advice, madvise};

    /// Less room gains nothing.
    const LEAST: usize = 4 << 20;

    let bytes = size_of_val(room);
    if bytes < LEAST {
        return;
    }
    let page = rustix::param::page_size();
    let start = room.as_mut_ptr();
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
pub(crate) fn ask_for_large_pages<T>(_room: &mut [T]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_empty_and_do_not_overlap() {
        for expected in [0, 1 << 20, 200 << 20] {
            let rooms = Rooms::for_bytes(expected);
            let sizes = [1, 5_000, 0, 70, 9_000, 3, 600_000, 12];
            let mut all: Vec<Room> = sizes.iter().map(|lines| rooms.take(*lines)).collect();
            for (number, (room, lines)) in (1..).zip(all.iter_mut().zip(sizes)) {
                assert_eq!((room.len(), room.as_ptr().align_offset(64)), (lines, 0));
                assert!(room.iter().all(|line| *line == Line::ZERO), "{lines} of {expected}");
                room.fill(Line([number; 64]));
            }
            // Whatever order they go in.
            for keep in [2, 5, 1] {
                drop(all.swap_remove(keep));
                for room in &all {
                    let first = room.first().copied().unwrap_or(Line::ZERO);
                    assert!(room.iter().all(|line| *line == first));
                }
            }
        }
    }

    #[test]
    fn matrices_of_one_model_lie_in_one_piece() {
        let rooms = Rooms::for_bytes(1 << 20);
        let (first, second) = (rooms.take(10), rooms.take(20));
        assert!(Arc::ptr_eq(&first.memory, &second.memory));
        assert_eq!((first.from, second.from, first.memory.lines()), (0, 10, 16_384));
        // One that is large has its own, and what was begun goes on.
        let large = rooms.take(16_384);
        assert_eq!((large.from, large.memory.lines()), (0, 16_384));
        assert_eq!(rooms.take(1).from, 30);
    }

    #[test]
    fn threads_have_rooms_of_their_own() {
        let rooms = Rooms::for_bytes(8 << 20);
        std::thread::scope(|scope| {
            for thread in 1..5 {
                let rooms = &rooms;
                scope.spawn(move || {
                    let mut own: Vec<Room> = (0..50).map(|at| rooms.take(at * 3)).collect();
                    for room in &mut own {
                        room.fill(Line([thread; 64]));
                    }
                    assert!(own.iter().all(|room| room.iter().all(|line| line.0 == [thread; 64])));
                });
            }
        });
    }

    #[test]
    fn lines_are_their_bytes() {
        let mut lines = [Line([1; 64]), Line([2; 64])];
        bytes_mut(&mut lines)[70] = 9;
        assert_eq!((lines[0], lines[1].0[6], bytes(&lines).len()), (Line([1; 64]), 9, 128));
        assert_eq!((bytes(&lines)[63], bytes(&lines)[64], bytes(&lines)[70]), (1, 2, 9));
    }

    #[test]
    fn what_is_written_stays_as_it_is() {
        for bytes in [0, 1, 5_000, 9 << 20] {
            let mut room = vec![0; bytes];
            ask_for_large_pages(&mut room);
            assert!(room.iter().all(|byte| *byte == 0));
            for (at, byte) in room.iter_mut().enumerate() {
                *byte = at as u8;
            }
            assert!(room.iter().enumerate().all(|(at, byte)| *byte == at as u8));
        }
    }
}
