//! The threads that compute: one pool for the whole process, so that no two of its parts take each
//! other's cores.
//!
//! Work is a number of items that any thread may take, the caller among them. Whoever comes late
//! finds less to do, and nobody waits for a thread that has not begun: beside other programs a pool
//! that shares its items out beforehand stands still as often as one of its threads is not running.
//! Between two pieces of work the threads spin for a moment, then they sleep: an idle server takes no
//! time of the processor.
#![expect(unsafe_code, reason = "threads that stay borrow the work of whoever calls them")]

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::cores;
use super::trim::keep_memory;

/// How long a thread looks for more work before it sleeps: longer than the gaps inside of a step.
const SPIN: Duration = Duration::from_micros(150);
/// Looks between two readings of the clock.
const LOOKS: usize = 64;

/// The pool of this process, made at its first use.
static POOL: OnceLock<Pool> = OnceLock::new();
/// How many threads it shall have; 0 where the machine says so.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Why the number of threads cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the number of computing threads cannot be changed once they compute")]
pub struct TooLate;

/// Sets how many threads compute, for the whole process; 0 leaves it to the machine. To be called
/// before anything is computed.
pub fn set_threads(count: usize) -> Result<(), TooLate> {
    THREADS.store(count, Ordering::Relaxed);
    match POOL.get() {
        Some(pool) if count != 0 && pool.shared.threads != count => Err(TooLate),
        _ => Ok(()),
    }
}

/// How many threads compute.
pub fn threads() -> usize {
    pool().threads()
}

/// Calls `work` for every item, on all threads.
///
/// A panic of `work` goes on in the caller, once no thread is at work any more.
pub(crate) fn for_each<T: Send>(items: impl IntoIterator<Item = T>, work: impl Fn(&mut T) + Sync) {
    // Each is locked once, by the one thread that works on it: the lock is never waited for.
    let items: Vec<_> = items.into_iter().map(Mutex::new).collect();
    pool().run(items.len(), &|next| {
        while let Some(index) = next() {
            work(&mut items[index].lock());
        }
    });
}

fn pool() -> &'static Pool {
    POOL.get_or_init(|| {
        let count = match THREADS.load(Ordering::Relaxed) {
            0 => cores::usable(),
            count => count,
        };
        keep_memory();
        Pool::start(count)
    })
}

/// What a thread does with a piece of work: it takes items until there are none.
type Work<'a> = dyn Fn(&mut dyn FnMut() -> Option<usize>) + Sync + 'a;

struct Pool {
    shared: Arc<Shared>,
    /// Those beside the caller.
    others: Vec<Other>,
    /// Held by whoever's work it is.
    turn: Mutex<()>,
}

struct Other {
    thread: Thread,
    sleeps: Arc<AtomicBool>,
}

/// What callers and threads see.
struct Shared {
    /// The number of the piece of work, whether it may be joined, and how many threads are at it. See
    /// `NUMBER`, `OPEN` and `AT_WORK`.
    state: AtomicU64,
    /// Written by the caller while nobody is at work, read by those who joined.
    piece: UnsafeCell<Piece>,
    /// The next item.
    next: AtomicUsize,
    /// How many threads there are, those that call included.
    threads: usize,
    /// The first panic of a thread.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Who waits for the last thread to leave.
    caller: Mutex<Option<Thread>>,
}

#[derive(Clone, Copy)]
struct Piece {
    count: usize,
    /// Not for so long: `Pool::run` has it from its caller.
    work: &'static Work<'static>,
}

/// One more piece of work.
const NUMBER: u64 = 1 << 32;
/// A piece of work may be joined.
const OPEN: u64 = 1 << 31;
/// How many are at work.
const AT_WORK: u64 = OPEN - 1;

// SAFETY: `piece` is written by the holder of `Pool::turn` alone, while `state` says that nobody is at
// work and none can join, and is read by those who joined alone. The work that it points to is `Sync`.
unsafe impl Sync for Shared {}

impl Pool {
    /// A pool of so many threads, the caller of the work among them.
    fn start(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            piece: UnsafeCell::new(Piece { count: 0, work: &|_: &mut dyn FnMut() -> _| {} }),
            next: AtomicUsize::new(0),
            threads,
            panic: Mutex::new(None),
            caller: Mutex::new(None),
        });
        let start = |number: usize| {
            let (shared, sleeps) = (Arc::clone(&shared), Arc::new(AtomicBool::new(false)));
            let own = Arc::clone(&sleeps);
            let thread = std::thread::Builder::new().name(format!("compute-{number}"));
            // Where the system has no more threads to give, those that are there do everything.
            let thread = thread.spawn(move || shared.serve(&own)).ok()?.thread().clone();
            Some(Other { thread, sleeps })
        };
        let others = (1..threads).map_while(start).collect();
        Self { shared, others, turn: Mutex::new(()) }
    }

    fn threads(&self) -> usize {
        self.others.len() + 1
    }

    /// Does the work for every number below `count`.
    fn run(&self, count: usize, work: &Work<'_>) {
        // While the pool is at somebody else's work, or this is part of it, the caller works alone.
        let turn = if count > 1 && !self.others.is_empty() { self.turn.try_lock() } else { None };
        let Some(_turn) = turn else {
            let mut next = 0..count;
            return work(&mut || next.next());
        };
        self.open(count, work);
        // Closes also where the work panics: the threads must not outlive what they borrow.
        let result = catch_unwind(AssertUnwindSafe(|| self.shared.take(count, work)));
        self.shared.close();
        let theirs = self.shared.panic.lock().take();
        if let Some(panic) = result.err().or(theirs) {
            resume_unwind(panic);
        }
    }

    fn open(&self, count: usize, work: &Work<'_>) {
        let shared = &self.shared;
        // SAFETY: `run` does not return before `close`, after which no thread uses the work.
        let work = unsafe { std::mem::transmute::<&Work<'_>, &'static Work<'static>>(work) };
        // SAFETY: this thread holds the turn, and the last piece of work was closed: nobody reads.
        unsafe { *shared.piece.get() = Piece { count, work } };
        shared.next.store(0, Ordering::Relaxed);
        let number = shared.state.load(Ordering::Relaxed) & !(OPEN | AT_WORK);
        // Before any look at who sleeps, as a thread says that it sleeps before its last look here.
        shared.state.store(number.wrapping_add(NUMBER) | OPEN, Ordering::SeqCst);
        for other in self.others.iter().take(count - 1) {
            if other.sleeps.load(Ordering::SeqCst) && other.sleeps.swap(false, Ordering::SeqCst) {
                other.thread.unpark();
            }
        }
    }
}

impl Shared {
    /// A thread of the pool: joins every piece of work that it comes in time for.
    fn serve(&self, sleeps: &AtomicBool) {
        let mut seen = 0;
        loop {
            let state = self.wait(seen, sleeps);
            seen = state & !(OPEN | AT_WORK);
            let joined = state + 1;
            if self
                .state
                .compare_exchange(state, joined, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
            {
                // Another joined at the same time, or the work is over.
                seen = seen.wrapping_sub(NUMBER);
                std::hint::spin_loop();
                continue;
            }
            // SAFETY: this thread has joined: nothing is written before it leaves.
            let Piece { count, work } = unsafe { *self.piece.get() };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.take(count, work))) {
                // Nobody begins anything more.
                self.next.store(count, Ordering::Relaxed);
                let mut first = self.panic.lock();
                match *first {
                    None => *first = Some(panic),
                    // What it holds may panic itself where it is dropped.
                    Some(_) => std::mem::forget(panic),
                }
            }
            self.leave();
        }
    }

    /// Waits for a piece of work that may be joined and was not seen; its state.
    fn wait(&self, seen: u64, sleeps: &AtomicBool) -> u64 {
        let is_new = |state: u64| state & OPEN != 0 && state & !(OPEN | AT_WORK) != seen;
        loop {
            let begun = Instant::now();
            while begun.elapsed() < SPIN {
                for _ in 0..LOOKS {
                    let state = self.state.load(Ordering::Acquire);
                    if is_new(state) {
                        return state;
                    }
                    std::hint::spin_loop();
                }
            }
            sleeps.store(true, Ordering::SeqCst);
            while sleeps.load(Ordering::SeqCst) {
                let state = self.state.load(Ordering::SeqCst);
                if is_new(state) {
                    sleeps.store(false, Ordering::SeqCst);
                    return state;
                }
                std::thread::park();
            }
        }
    }

    /// Takes items until there are none: many that follow one another at first, whose memory is then
    /// read from one end to the other, and fewer towards the end, so that all threads end together.
    fn take(&self, count: usize, work: &Work<'_>) {
        let mut own = 0..0;
        work(&mut || {
            if own.is_empty() {
                let claim = |next: usize| {
                    let left = count.checked_sub(next).filter(|left| *left > 0)?;
                    Some(next + (left / (2 * self.threads)).max(1))
                };
                let order = (Ordering::Relaxed, Ordering::Relaxed);
                let from = self.next.fetch_update(order.0, order.1, claim).ok()?;
                own = from..claim(from)?;
            }
            own.next()
        });
    }

    fn leave(&self) {
        // What this thread wrote is to be seen by the caller.
        let before = self.state.fetch_sub(1, Ordering::AcqRel);
        if before & OPEN == 0
            && before & AT_WORK == 1
            && let Some(caller) = &*self.caller.lock()
        {
            // It stays there: whoever comes here late may wake the caller of the next piece, which then
            // still waits for its own.
            caller.unpark();
        }
    }

    /// Lets nobody join any more, and waits until all have left.
    fn close(&self) {
        // Whatever is left, after a panic, is not begun.
        self.next.store(usize::MAX / 2, Ordering::Relaxed);
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let is_left = || self.state.load(Ordering::Acquire) & AT_WORK == 0;
        let begun = Instant::now();
        while begun.elapsed() < SPIN {
            for _ in 0..LOOKS {
                if is_left() {
                    return;
                }
                std::hint::spin_loop();
            }
        }
        // Somebody else has the core of the thread that is waited for, and may have use for this one.
        *self.caller.lock() = Some(std::thread::current());
        while !is_left() {
            std::thread::park();
        }
        self.caller.lock().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(pool: &Pool, count: usize) -> usize {
        let sum = AtomicUsize::new(0);
        pool.run(count, &|next| {
            while let Some(index) = next() {
                sum.fetch_add(index + 1, Ordering::Relaxed);
            }
        });
        sum.into_inner()
    }

    #[test]
    fn every_item_is_worked_on_once_whatever_the_threads() {
        for threads in [1, 2, 3, 8] {
            let pool = Pool::start(threads);
            assert_eq!(pool.threads(), threads);
            for count in (0..40).chain([1_000, 100_000]) {
                assert_eq!(sum(&pool, count), count * (count + 1) / 2, "{count} on {threads}");
            }
        }
    }

    #[test]
    fn threads_that_sleep_wake_for_the_next_work() {
        let pool = Pool::start(3);
        for _ in 0..20 {
            assert_eq!(sum(&pool, 64), 64 * 65 / 2);
            let asleep = || pool.others.iter().all(|other| other.sleeps.load(Ordering::SeqCst));
            let begun = Instant::now();
            while !asleep() {
                assert!(begun.elapsed() < Duration::from_mins(1), "idle threads sleep");
                std::thread::yield_now();
            }
        }
        // Two items that wait for each other need two threads.
        let both = std::sync::Barrier::new(2);
        pool.run(2, &|next| {
            while next().is_some() {
                both.wait();
            }
        });
    }

    #[test]
    fn a_caller_that_was_woken_too_early_is_woken_again() {
        let pool = Pool::start(2);
        let (caller, entered) = (std::thread::current(), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            // Until the caller waits for the other thread, which sleeps in its item.
            scope.spawn(|| {
                let begun = Instant::now();
                while pool.shared.caller.lock().is_none() {
                    assert!(begun.elapsed() < Duration::from_mins(1), "the caller waits");
                    std::thread::yield_now();
                }
                caller.unpark();
            });
            pool.run(2, &|next| {
                while next().is_some() {
                    entered.wait();
                    if std::thread::current().id() != caller.id() {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
            });
        });
        assert_eq!(sum(&pool, 100), 5_050);
    }

    #[test]
    fn many_callers_and_work_inside_of_work_come_to_an_end() {
        let pool = Pool::start(4);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for count in 0..300 {
                        assert_eq!(sum(&pool, count), count * (count + 1) / 2);
                    }
                });
            }
        });
        let total = AtomicUsize::new(0);
        pool.run(10, &|next| {
            while next().is_some() {
                total.fetch_add(sum(&pool, 10), Ordering::Relaxed);
            }
        });
        assert_eq!(total.into_inner(), 550);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::start(3);
        for at in [0, 1, 57, 99] {
            let work = || {
                pool.run(100, &|next| {
                    while let Some(index) = next() {
                        assert_ne!(index, at, "the item that fails");
                    }
                });
            };
            assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
            assert_eq!(sum(&pool, 100), 5_050);
        }
    }

    #[test]
    fn every_item_is_changed_once() {
        let mut items = vec![0; 1_000];
        for_each(items.iter_mut().enumerate(), |(index, item)| **item += *index);
        assert!(items.iter().enumerate().all(|(index, item)| *item == index));
        assert!(threads() >= 1);
    }
}
