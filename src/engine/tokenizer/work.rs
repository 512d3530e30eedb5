//! Counts the steps that a tokenizer takes, in tests alone: how they grow with a text is a claim that
//! can be held without a clock.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// One step: a look-up, or an entry that is taken out of a queue.
#[inline]
pub(super) fn step() {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

/// The steps that a piece of work takes on this thread.
#[cfg(test)]
pub(super) fn counted(work: impl FnOnce()) -> u64 {
    let before = STEPS.with(std::cell::Cell::get);
    work();
    STEPS.with(std::cell::Cell::get) - before
}
