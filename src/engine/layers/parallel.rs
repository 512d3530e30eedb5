//! Work spread over candle's thread pool: the one pool, so that its waiting threads and ours do not
//! take each other's cores.

use candle_core::utils::barrier_pool;
use parking_lot::Mutex;

/// Below this many elements a second thread costs more than it brings.
const ELEMENTS_MIN: usize = 16 * 1024;

/// Calls `work` for every part of `data`, numbered, on all threads when there is enough to do.
pub(crate) fn for_each_part(
    data: &mut [f32],
    part: usize,
    work: impl Fn(usize, &mut [f32]) + Sync,
) {
    if part == 0 {
        return;
    }
    if data.len() < ELEMENTS_MIN {
        for (index, part) in data.chunks_mut(part).enumerate() {
            work(index, part);
        }
        return;
    }
    // Each part is locked once, by the one thread that works on it: the lock is never waited for.
    let parts: Vec<_> = data.chunks_mut(part).map(Mutex::new).collect();
    barrier_pool().execute_chunked(parts.len(), |range| {
        for index in range {
            work(index, &mut parts[index].lock());
        }
    });
}
