//! Delays after failed attempts, kept across restarts: so that a guesser is slowed down, and a
//! stranger can keep nobody out.
//!
//! Sign-ins, and whoever gives their password once more, count in three ways:
//!
//! - person and address together: from the sixth failure on, growing;
//! - the address alone: from the twenty-first on, whoever it tries, growing;
//! - the person alone, from addresses that have never signed in as them: from the fifty-first on.
//!   That count is in anybody's hands, so it must not shut out anybody: it does not make a wait
//!   grow, it puts every neighbourhood of addresses (/24, /64) on an allowance of its own for this
//!   person, three attempts and then one every five minutes. Whoever comes from a new place finds
//!   the allowance of their own neighbourhood untouched, however many strangers try elsewhere; and
//!   who comes from where they signed in before does not meet the rule at all.
//!
//! One-time links count by address alone.

use std::net::IpAddr;
use std::time::Duration;

use super::{AccountError, store};
use crate::access::registry::SecretHash;
use crate::clock::Timestamp;
use crate::db::Connection;
use crate::vault::{BlindPurpose, Vault};
use crate::web::network::{household, neighbourhood};

const DELAY_MAX: Duration = Duration::from_mins(15);
/// After this long without a failure, a count starts again.
const FORGET: Duration = Duration::from_hours(24);

const PAIR_FREE: i64 = 5;
const ADDRESS_FREE: i64 = 20;
const PERSON_FREE: i64 = 50;
/// What a neighbourhood may try for a person who is under attack, and how soon again after that.
const ALLOWED: i64 = 3;
const ALLOWED_EVERY: Duration = Duration::from_mins(5);
const LINK_FREE: i64 = 10;

/// One attempt, by the counts that it touches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// The counts that grow into delays, each with what is free of them.
    growing: [Option<(SecretHash, i64)>; 2],
    crowd: Option<Crowd>,
}

/// The rule for a person who many try.
#[derive(Clone, Copy, Debug)]
struct Crowd {
    person: SecretHash,
    /// The person from this neighbourhood.
    neighbours: SecretHash,
    /// The person from this address; known where it has signed in.
    pair: SecretHash,
}

/// What was counted for an attempt, so that it can be taken back.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted(Vec<(SecretHash, Option<Timestamp>)>);

impl Attempt {
    /// An attempt at a password.
    pub(super) fn at_password(
        vault: &Vault,
        username: &str,
        address: Option<IpAddr>,
    ) -> Result<Self, AccountError> {
        let hash = |text: String| vault.blind(BlindPurpose::Throttle, text.as_bytes());
        let (near, around) = (household(address), neighbourhood(address));
        let pair = hash(format!("pair\n{username}\n{near}"))?;
        let address = hash(format!("address\n{near}"))?;
        let person = hash(format!("person\n{username}"))?;
        let neighbours = hash(format!("neighbours\n{username}\n{around}"))?;
        Ok(Self {
            growing: [Some((pair, PAIR_FREE)), Some((address, ADDRESS_FREE))],
            crowd: Some(Crowd { person, neighbours, pair }),
        })
    }

    /// An attempt at a one-time link.
    pub(super) fn at_link(vault: &Vault, address: Option<IpAddr>) -> Result<Self, AccountError> {
        let text = format!("link\n{}", household(address));
        let source = vault.blind(BlindPurpose::Throttle, text.as_bytes())?;
        Ok(Self { growing: [Some((source, LINK_FREE)), None], crowd: None })
    }
}

/// Counts an attempt before it is made, so that many at once cannot slip through; refuses it where
/// it comes too early.
pub(super) fn begin(
    db: &Connection,
    attempt: &Attempt,
    now: Timestamp,
) -> Result<Counted, AccountError> {
    let crowd = match attempt.crowd {
        Some(crowd) if !store::is_known(db, &crowd.pair)? => Some(crowd),
        Some(_) | None => None,
    };
    let mut wait = Duration::ZERO;
    for (source, free) in attempt.growing.iter().flatten() {
        if let Some((failures, last_at)) = store::failures(db, source)? {
            wait = wait.max(delay(failures - free).saturating_sub(now.since(last_at)));
        }
    }
    if let Some(crowd) = crowd
        && store::failures(db, &crowd.person)?.is_some_and(|(failures, _)| failures >= PERSON_FREE)
        && let Some((tried, last_at)) = store::failures(db, &crowd.neighbours)?
        && tried >= ALLOWED
    {
        wait = wait.max(ALLOWED_EVERY.saturating_sub(now.since(last_at)));
    }
    if wait > Duration::ZERO {
        return Err(AccountError::Throttled(wait));
    }
    store::forget_failures_before(db, now.minus(FORGET))?;
    let growing = attempt.growing.iter().flatten().map(|(source, _)| *source);
    let of_crowd = crowd.into_iter().flat_map(|crowd| [crowd.person, crowd.neighbours]);
    let mut counted = Counted::default();
    for source in growing.chain(of_crowd) {
        counted.0.push((source, store::failures(db, &source)?.map(|(_, last_at)| last_at)));
        store::add_failure(db, &source, now)?;
    }
    Ok(counted)
}

/// Takes back what was counted for an attempt that was not made after all.
pub(super) fn take_back(db: &Connection, counted: &Counted) -> Result<(), AccountError> {
    for (source, before) in &counted.0 {
        store::take_failure_back(db, source, *before)?;
    }
    Ok(())
}

/// Forgets what was counted for a person and address that have shown the right password.
pub(super) fn succeed(
    db: &Connection,
    attempt: &Attempt,
    counted: &Counted,
    now: Timestamp,
) -> Result<(), AccountError> {
    take_back(db, counted)?;
    let Some(Crowd { pair, .. }) = attempt.crowd else { return Ok(()) };
    store::forget_failures(db, &pair)?;
    Ok(store::put_known(db, &pair, now)?)
}

/// Takes up the counts of the process before. Where it was ahead of this one's clock, they count as
/// of now: nobody waits for the clock to catch up.
pub(super) fn resume(db: &Connection, now: Timestamp) -> Result<(), AccountError> {
    Ok(store::date_failures_by(db, now)?)
}

/// Doubles from one second on, up to a quarter of an hour.
fn delay(beyond: i64) -> Duration {
    match u32::try_from(beyond) {
        Ok(0) | Err(_) => Duration::ZERO,
        Ok(beyond) => Duration::from_secs(1 << (beyond - 1).min(12)).min(DELAY_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Connection {
        let db = Connection::open_in_memory().expect("opens");
        db.execute_batch(include_str!("../db/migrations/0002_accounts.sql")).expect("tables");
        db
    }

    /// Olga's account, tried from the address of this number in the neighbourhood of that one.
    fn from(neighbourhood: u8, address: u8) -> Attempt {
        let (pair, near) = ([1, neighbourhood, address], [2, neighbourhood, address]);
        let (person, neighbours) = ([3, 0, 0], [4, neighbourhood, 0]);
        let hash = |parts: [u8; 3]| {
            let mut hash = [0; 32];
            hash[..3].copy_from_slice(&parts);
            hash
        };
        let (pair, near) = (hash(pair), hash(near));
        Attempt {
            growing: [Some((pair, PAIR_FREE)), Some((near, ADDRESS_FREE))],
            crowd: Some(Crowd { person: hash(person), neighbours: hash(neighbours), pair }),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_ms(1_000_000 + seconds * 1_000)
    }

    #[test]
    fn delays_grow_and_stay_bounded() {
        let seconds: Vec<u64> = (-1..13).map(|beyond| delay(beyond).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
    }

    #[test]
    fn strangers_everywhere_do_not_keep_a_person_out_of_a_new_place() {
        let db = open();
        for stranger in 0..200 {
            let _ = begin(&db, &from(stranger, 1), at(0));
        }
        let first = begin(&db, &from(250, 1), at(1)).expect("from a new place, at once");
        succeed(&db, &from(250, 1), &first, at(1)).expect("forgets");
        for _ in 0..5 {
            begin(&db, &from(250, 1), at(2)).expect("from where they signed in, as ever");
        }
    }

    #[test]
    fn each_neighbourhood_has_a_steady_allowance_for_a_person_under_attack() {
        let db = open();
        for stranger in 0..50 {
            begin(&db, &from(stranger, 1), at(0)).expect("one each");
        }
        // Other addresses of the neighbourhood share what it may.
        for address in 0..3 {
            begin(&db, &from(99, address), at(10)).expect("within the allowance");
        }
        for round in 0..4 {
            let now = 10 + 300 * round;
            let refused = begin(&db, &from(99, 7), at(now)).map(drop);
            assert!(
                matches!(refused, Err(AccountError::Throttled(wait)) if wait.as_secs() == 300),
                "{refused:?}"
            );
            begin(&db, &from(99, 8 + round as u8), at(now + 300)).expect("one in five minutes");
        }
    }

    #[test]
    fn an_attempt_that_was_not_made_is_not_counted() {
        let db = open();
        for _ in 0..6 {
            begin(&db, &from(1, 1), at(0)).expect("free");
        }
        let counted = begin(&db, &from(1, 1), at(5)).expect("the wait is over");
        take_back(&db, &counted).expect("taken back");
        begin(&db, &from(1, 1), at(5)).expect("as if it had not been");
    }

    #[test]
    fn a_count_from_the_future_is_taken_as_of_now() {
        let db = open();
        for _ in 0..6 {
            begin(&db, &from(1, 1), at(86_400)).expect("free");
        }
        resume(&db, at(0)).expect("put right");
        assert!(begin(&db, &from(1, 1), at(0)).is_err());
        begin(&db, &from(1, 1), at(1)).expect("a second later, as ever");
    }
}
