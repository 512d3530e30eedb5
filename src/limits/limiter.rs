//! The accounts of everybody, under one lock that is held for arithmetic alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::counters::{Bounds, Counters, Day, Now, Obstacle};
use super::store::{self, Account};
use super::view::{Meter, Refusal, Standing, Subject, Usage, Wanted};
use crate::clock::{Clock, Timestamp};
use crate::config::{LimitSet, Limits};
use crate::db::{Db, DbError};
use crate::ids::UserId;

/// How many accounts are kept in memory before idle ones are let go.
const ACCOUNTS_SOFT_MAX: usize = 65_536;

/// The limits of the server and what is used of them. A handle.
#[derive(Clone, Debug)]
pub struct Limiter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    person: LimitSet,
    key: LimitSet,
    roles: BTreeMap<String, LimitSet>,
    accounts: Mutex<HashMap<Account, Counters>>,
}

/// The accounts that a reservation was taken from; enough to write them down.
#[derive(Clone, Debug)]
pub struct ReservedFor {
    shared: Arc<Shared>,
    accounts: Vec<Account>,
}

impl Limiter {
    /// Takes up the accounts where the last process left them.
    pub fn open(db: &Db, clock: Clock, limits: &Limits) -> Result<Self, DbError> {
        let now = Now::of(&clock);
        let accounts = db.write_blocking(move |tx| store::load(tx, now))?;
        Ok(Self {
            shared: Arc::new(Shared {
                clock,
                person: limits.person,
                key: limits.key,
                roles: limits.roles.clone(),
                accounts: Mutex::new(accounts),
            }),
        })
    }

    /// Takes a request and an estimate of its tokens out of every account that it counts on, or
    /// out of none. What the limits leave bounds the estimate, where that is enough of it.
    pub fn admit(&self, subject: &Subject, wanted: Wanted) -> Result<Reservation, Refusal> {
        let now = Now::of(&self.shared.clock);
        let scopes = self.shared.scopes(subject);
        let mut accounts = self.shared.accounts.lock();
        let tokens = Self::size(&mut accounts, &scopes, wanted, now);
        Self::check(&mut accounts, &scopes, tokens, now)?;
        let take =
            |(account, _): &(Account, Bounds)| accounts.entry(*account).or_default().take(tokens);
        let marks = scopes.iter().map(take).collect();
        if accounts.len() > ACCOUNTS_SOFT_MAX {
            accounts.retain(|_, counters| !counters.is_idle(now));
        }
        let accounts = scopes.into_iter().map(|(account, _)| account).collect();
        Ok(Reservation {
            of: ReservedFor { shared: Arc::clone(&self.shared), accounts },
            marks,
            tokens,
            day: Day::of(now.date),
            is_settled: false,
        })
    }

    /// How many tokens to ask for: all that are wanted, else what there is room for now, else what
    /// is worth waiting for.
    fn size(
        accounts: &mut HashMap<Account, Counters>,
        scopes: &[(Account, Bounds)],
        wanted: Wanted,
        now: Now,
    ) -> u64 {
        let (mut room, mut ceiling) = (u64::MAX, u64::MAX);
        for (account, bounds) in scopes {
            let counters = accounts.entry(*account).or_default();
            counters.advance(now, bounds);
            room = room.min(counters.room(bounds));
            ceiling = ceiling.min(bounds.ceiling());
        }
        let worth = wanted.enough.min(ceiling).max(wanted.least);
        wanted.most.min(room.max(worth))
    }

    /// Whether a request of one token would be admitted now; for refusing before costly work.
    pub fn would_admit(&self, subject: &Subject) -> Result<(), Refusal> {
        let scopes = self.shared.scopes(subject);
        let mut accounts = self.shared.accounts.lock();
        Self::check(&mut accounts, &scopes, 1, Now::of(&self.shared.clock))
    }

    fn check(
        accounts: &mut HashMap<Account, Counters>,
        scopes: &[(Account, Bounds)],
        tokens: u64,
        now: Now,
    ) -> Result<(), Refusal> {
        let worst = scopes
            .iter()
            .filter_map(|(account, bounds)| {
                let counters = accounts.entry(*account).or_default();
                counters.advance(now, bounds);
                counters.obstacle(tokens, bounds, now)
            })
            .max_by_key(|obstacle| obstacle.wait.unwrap_or(Duration::MAX));
        worst.map_or(Ok(()), |obstacle| Err(obstacle.into()))
    }

    /// Where a subject stands, for the headers of an answer.
    pub fn standing(&self, subject: &Subject) -> Standing {
        let now = Now::of(&self.shared.clock);
        let mut accounts = self.shared.accounts.lock();
        let meters = self.shared.scopes(subject).into_iter().map(|(account, bounds)| {
            let mut counters = accounts.get(&account).copied().unwrap_or_default();
            counters.advance(now, &bounds);
            accounts.entry(account).and_modify(|kept| *kept = counters);
            Standing {
                requests: minute_meter(counters.requests, bounds.requests),
                tokens: minute_meter(counters.tokens, bounds.tokens),
            }
        });
        meters
            .reduce(|one, other| Standing {
                requests: tighter(one.requests, other.requests),
                tokens: tighter(one.tokens, other.tokens),
            })
            .expect("every subject has the account of its person")
    }

    /// What a person has used of their own limits.
    pub fn usage(&self, user: UserId, roles: &[String]) -> Usage {
        let now = Now::of(&self.shared.clock);
        let bounds = self.shared.person_bounds(roles);
        let mut counters =
            self.shared.accounts.lock().get(&Account::Person(user)).copied().unwrap_or_default();
        counters.advance(now, &bounds);
        let midnight = (Day::of(now.date) + 1).saturating_mul(86_400_000);
        Usage {
            tokens_day: Meter {
                used: counters.day.tokens,
                limit: bounds.day_tokens,
                reset: Timestamp::from_ms(midnight).since(now.date),
            },
            tokens_minute: minute_meter(counters.tokens, bounds.tokens),
            requests_day: counters.day.requests,
        }
    }
}

fn minute_meter(minute: super::counters::Minute, limit: Option<u64>) -> Meter {
    Meter {
        used: minute.used(),
        limit,
        reset: limit.map_or(Duration::ZERO, |limit| minute.reset(limit)),
    }
}

fn tighter(one: Meter, other: Meter) -> Meter {
    match (one.remaining(), other.remaining()) {
        (Some(left), Some(right)) if right < left => other,
        (None, Some(_)) => other,
        _ => one,
    }
}

impl Shared {
    fn person_bounds(&self, roles: &[String]) -> Bounds {
        let of_roles = roles.iter().filter_map(|role| self.roles.get(role));
        Bounds::tightest(std::iter::once(&self.person).chain(of_roles))
    }

    fn scopes(&self, subject: &Subject) -> Vec<(Account, Bounds)> {
        let person = (Account::Person(subject.user), self.person_bounds(&subject.roles));
        let key = subject.key.map(|key| (Account::Key(key), Bounds::tightest([&self.key])));
        std::iter::once(person).chain(key).collect()
    }
}

impl From<Obstacle> for Refusal {
    fn from(obstacle: Obstacle) -> Self {
        Self {
            which: obstacle.which,
            limit: obstacle.limit,
            remaining: obstacle.remaining,
            retry_after: obstacle.wait,
        }
    }
}

impl ReservedFor {
    /// The accounts as they stand now.
    pub(super) fn snapshot(&self) -> Vec<(Account, Counters)> {
        let accounts = self.shared.accounts.lock();
        let state = |account| accounts.get(account).copied().unwrap_or_default();
        self.accounts.iter().map(|account| (*account, state(account))).collect()
    }
}

/// What one request has taken. Dropped without a word, it counts in full.
#[derive(Debug)]
#[must_use = "a reservation that is dropped counts in full"]
pub struct Reservation {
    of: ReservedFor,
    /// By which each account knows what was taken from it.
    marks: Vec<u64>,
    tokens: u64,
    day: i64,
    is_settled: bool,
}

impl Reservation {
    /// How many tokens were taken.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The accounts it was taken from.
    pub fn reserved_for(&self) -> ReservedFor {
        self.of.clone()
    }

    /// Ends the request with the tokens that it really took; the rest is given back.
    pub fn settle(mut self, actual: u64) -> ReservedFor {
        self.finish(actual);
        self.of.clone()
    }

    fn finish(&mut self, actual: u64) {
        if self.is_settled {
            return;
        }
        self.is_settled = true;
        let mut accounts = self.of.shared.accounts.lock();
        for (account, mark) in self.of.accounts.iter().zip(&self.marks) {
            if let Some(counters) = accounts.get_mut(account) {
                counters.settle(self.tokens, actual, self.day, *mark);
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.finish(self.tokens);
    }
}

#[cfg(test)]
mod tests;
