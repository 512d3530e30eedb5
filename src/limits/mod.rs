//! Request rates, token budgets and concurrency: how much a person, a key or a group of people may
//! use, and how much of it is used. Knows no HTTP, no role's meaning and no engine.
//!
//! A request is counted before anything is done for it (`Limiter::enter`), an estimate of its tokens
//! is taken when it is known (`Reservation::reserve`), and it is settled with what it really took.
//! What is taken stays taken until it is settled: a crash, a dropped task or a lost write can only
//! leave too much counted, never too little.

mod calendar;
mod counters;
mod limiter;
mod reservation;
mod roster;
mod store;
mod view;

pub use counters::Which;
pub use limiter::Limiter;
pub use reservation::{Reservation, ReservedFor};
pub use roster::{GROUPS_OF_ONE_MAX, Group, Roster};
pub(crate) use store::forget_in;
pub use view::{GroupUsage, Meter, Refusal, Standing, Subject, SubjectKey, Usage, Wanted, Whose};
