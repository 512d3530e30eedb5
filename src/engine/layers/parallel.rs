//! Elements in parts, on as many threads as pay.

use crate::engine::kernels::for_each;

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
    let parts = data.chunks_mut(part).enumerate();
    for_each(parts, |(index, part)| work(*index, part));
}
