//! Makes things on a few threads, such as the layers of a model out of its file.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::engine::error::LoadError;

/// Enough to keep a disk busy, and the memory; each more costs memory for what is under way.
pub(in crate::engine) const READERS: usize = 4;

/// Makes `count` things, each by its number; where one fails no more are begun, and its error is
/// given.
pub(super) fn in_parallel<T: Send>(
    count: usize,
    make: impl Fn(usize) -> Result<T, LoadError> + Sync,
) -> Result<Vec<T>, LoadError> {
    let (next, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut made = Vec::new();
        while !has_failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            let one = make(number);
            has_failed.fetch_or(one.is_err(), Ordering::Relaxed);
            made.push((number, one));
        }
        made
    };
    let mut made = std::thread::scope(|scope| {
        let start = |_| {
            let name = "model-reader".to_owned();
            std::thread::Builder::new().name(name).spawn_scoped(scope, work)
        };
        // This thread works too: where the system has no threads to give, it does everything.
        let others: Vec<_> = (1..READERS.min(count)).map_while(|at| start(at).ok()).collect();
        let mut made = work();
        for other in others {
            match other.join() {
                Ok(more) => made.extend(more),
                Err(_) => made.push((0, Err(LoadError::Thread("a reader ended".to_owned())))),
            }
        }
        made
    });
    made.sort_by_key(|(number, _)| *number);
    made.into_iter().map(|(_, one)| one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_made_in_their_order() {
        for count in [0, 1, 2, 3, 50] {
            let made = in_parallel(count, |number| Ok(number * 2)).expect("all");
            assert_eq!(made, (0..count).map(|number| number * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn one_that_fails_ends_the_work_with_its_error() {
        let begun = AtomicUsize::new(0);
        let made: Result<Vec<()>, _> = in_parallel(1_000_000, |number| {
            begun.fetch_add(1, Ordering::Relaxed);
            if number == 7 { Err(LoadError::Cancelled) } else { Ok(()) }
        });
        assert!(matches!(made, Err(LoadError::Cancelled)));
        assert!(begun.into_inner() < 1_000_000);
    }
}
