//! The plan of memory: nothing is loaded that there is no room for, whatever else is being loaded.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::{available_bytes, own_bytes};

/// What is set aside for models, and what may be. A handle.
#[derive(Clone)]
pub(super) struct Plan {
    shared: Arc<Shared>,
}

struct Shared {
    /// What all models together may take, where that is bounded.
    ceiling: Option<u64>,
    machine: fn() -> Machine,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    next: u64,
    bytes: BTreeMap<u64, u64>,
}

/// What the machine says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Machine {
    /// What can be taken without swapping.
    pub(super) available: Option<u64>,
    /// What this process has taken.
    pub(super) own: Option<u64>,
}

impl Machine {
    fn look() -> Self {
        Self { available: available_bytes(), own: own_bytes() }
    }
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "It needs about {} MiB of memory with its cache, and {} MiB are left ({} MiB are set aside for other models).",
    needed >> 20, left >> 20, held >> 20
)]
pub(super) struct Shortage {
    /// What the model needs.
    pub(super) needed: u64,
    /// What is left.
    pub(super) left: u64,
    /// What is set aside for other models.
    pub(super) held: u64,
}

impl Shortage {
    /// How much is missing.
    pub(super) fn missing(&self) -> u64 {
        self.needed.saturating_sub(self.left)
    }
}

impl Plan {
    /// A plan over this machine.
    pub(super) fn new(ceiling: Option<u64>) -> Self {
        Self::over(ceiling, Machine::look)
    }

    fn over(ceiling: Option<u64>, machine: fn() -> Machine) -> Self {
        let shared = Shared { ceiling, machine, held: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Sets memory aside, or says what is missing. One after the other: two that fit alone and not
    /// together do not both pass.
    pub(super) fn reserve(&self, bytes: u64) -> Result<Reservation, Shortage> {
        let mut held = self.shared.held.lock();
        self.check(&held, bytes)?;
        held.next += 1;
        let number = held.next;
        held.bytes.insert(number, bytes);
        Ok(Reservation { number, shared: Arc::clone(&self.shared) })
    }

    /// Whether so much could be set aside now.
    pub(super) fn would_fit(&self, bytes: u64) -> Result<(), Shortage> {
        self.check(&self.shared.held.lock(), bytes)
    }

    fn check(&self, held: &Held, needed: u64) -> Result<(), Shortage> {
        let held: u64 = held.bytes.values().sum();
        let machine = (self.shared.machine)();
        let of_ceiling = self.shared.ceiling.map(|most| most.saturating_sub(held));
        // Caches fill as they are used: what is set aside and not taken yet is not there for
        // others, though the machine still counts it as free.
        let untouched = held.saturating_sub(machine.own.unwrap_or(0));
        let of_machine = machine.available.map(|free| free.saturating_sub(untouched));
        match of_ceiling.into_iter().chain(of_machine).min() {
            Some(left) if needed > left => Err(Shortage { needed, left, held }),
            _ => Ok(()),
        }
    }
}

/// Memory that is set aside, until this is dropped.
pub(super) struct Reservation {
    number: u64,
    shared: Arc<Shared>,
}

impl Reservation {
    /// How much it is.
    pub(super) fn bytes(&self) -> u64 {
        self.shared.held.lock().bytes.get(&self.number).copied().unwrap_or(0)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.held.lock().bytes.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn models_together_stay_below_the_ceiling() {
        let plan = Plan::over(Some(100 * MIB), Machine::default);
        let first = plan.reserve(60 * MIB).expect("fits");
        let refused = plan.reserve(60 * MIB).err().expect("does not fit beside it");
        assert_eq!((refused.left, refused.missing()), (40 * MIB, 20 * MIB));
        let words = refused.to_string();
        assert!(words.contains("60 MiB") && words.contains("40 MiB are left"), "{words}");
        assert_eq!(plan.would_fit(41 * MIB).err().map(|it| it.held), Some(60 * MIB));
        assert_eq!(first.bytes(), 60 * MIB);
        drop(first);
        assert!(plan.reserve(100 * MIB).is_ok());
        assert!(plan.reserve(101 * MIB).is_err());
        assert!(plan.reserve(u64::MAX).is_err());
    }

    #[test]
    fn what_is_set_aside_and_not_taken_yet_is_not_free() {
        let machine = || Machine { available: Some(1_000 * MIB), own: Some(100 * MIB) };
        let plan = Plan::over(None, machine);
        let _first = plan.reserve(700 * MIB).expect("fits");
        // 600 of the 700 are still counted as free.
        assert_eq!(plan.would_fit(401 * MIB).err().map(|it| it.left), Some(400 * MIB));
        assert!(plan.would_fit(400 * MIB).is_ok());
    }

    #[test]
    fn of_two_at_once_that_do_not_fit_together_one_passes() {
        let plan = Plan::over(Some(100 * MIB), Machine::default);
        let reserve = || {
            let plan = plan.clone();
            std::thread::spawn(move || plan.reserve(60 * MIB).ok())
        };
        let both: Vec<_> = [reserve(), reserve(), reserve()].into();
        let passed: Vec<_> = both.into_iter().filter_map(|one| one.join().expect("ends")).collect();
        assert_eq!(passed.len(), 1);
    }

    #[test]
    fn without_a_ceiling_and_a_machine_that_says_nothing_all_is_let_through() {
        assert!(Plan::over(None, Machine::default).reserve(u64::MAX / 2).is_ok());
    }
}
