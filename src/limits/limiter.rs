//! The accounts of everybody, under one lock that is held for arithmetic alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::counters::{Bounds, Counters, Day, Now, Obstacle, Taken};
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
    weights: BTreeMap<String, u8>,
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
                weights: limits.weights.clone(),
                accounts: Mutex::new(accounts),
            }),
        })
    }

    /// Takes a request and a place among those that run out of every account that they count on, or
    /// out of none. What they will cost in tokens is reserved when it is known; whoever has none
    /// left is not let in.
    pub fn enter(&self, subject: &Subject) -> Result<Reservation, Refusal> {
        let now = Now::of(&self.shared.clock);
        let scopes = self.shared.scopes(subject);
        let mut accounts = self.shared.accounts.lock();
        check(&mut accounts, &scopes, now, |counters, bounds| {
            counters.obstacle_to_entry(bounds, now)
        })?;
        for (account, _) in &scopes {
            accounts.entry(*account).or_default().enter();
        }
        if accounts.len() > ACCOUNTS_SOFT_MAX {
            accounts.retain(|_, counters| !counters.is_idle(now));
        }
        drop(accounts);
        let accounts = scopes.iter().map(|(account, _)| *account).collect();
        Ok(Reservation {
            user: subject.user,
            of: ReservedFor { shared: Arc::clone(&self.shared), accounts },
            scopes,
            taken: Vec::new(),
            is_settled: false,
        })
    }

    /// How much whoever holds these roles gets beside others: the greatest weight of them, else 1.
    pub fn weight(&self, roles: &[String]) -> u8 {
        let weights = roles.iter().filter_map(|role| self.shared.weights.get(role));
        weights.copied().max().unwrap_or(1)
    }

    /// Where a subject stands, for the headers of an answer; with what its person may use of a model
    /// where one is named.
    pub fn standing(&self, subject: &Subject, model: Option<(&str, &LimitSet)>) -> Standing {
        let now = Now::of(&self.shared.clock);
        let of_model = model.map(|(name, limits)| of_model(subject.user, name, limits));
        let scopes = self.shared.scopes(subject).into_iter().chain(of_model);
        let mut accounts = self.shared.accounts.lock();
        let meters = scopes.map(|(account, bounds)| {
            let mut none = Counters::default();
            let counters = accounts.get_mut(&account).unwrap_or(&mut none);
            counters.advance(now, &bounds);
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
            self.shared.accounts.lock().get(&Account::Person(user)).cloned().unwrap_or_default();
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

/// Brings the accounts up to the present, and refuses by the limit that stands longest in the way.
fn check(
    accounts: &mut HashMap<Account, Counters>,
    scopes: &[(Account, Bounds)],
    now: Now,
    obstacle: impl Fn(&Counters, &Bounds) -> Option<Obstacle>,
) -> Result<(), Refusal> {
    let worst = scopes
        .iter()
        .filter_map(|(account, bounds)| {
            let counters = accounts.entry(*account).or_default();
            counters.advance(now, bounds);
            obstacle(counters, bounds)
        })
        .max_by_key(Obstacle::waiting);
    worst.map_or(Ok(()), |obstacle| Err(obstacle.into()))
}

/// How many tokens to ask for: all that are wanted, else what there is room for now, else what is
/// worth waiting for.
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

/// What a person may use of one model.
fn of_model(user: UserId, model: &str, limits: &LimitSet) -> (Account, Bounds) {
    (Account::of_model(user, model), Bounds::tightest([limits]))
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
        let state = |account| accounts.get(account).cloned().unwrap_or_default();
        self.accounts.iter().map(|account| (*account, state(account))).collect()
    }
}

/// What one request has taken. Dropped without a word, it counts in full.
#[derive(Debug)]
#[must_use = "a reservation that is dropped counts in full"]
pub struct Reservation {
    user: UserId,
    of: ReservedFor,
    scopes: Vec<(Account, Bounds)>,
    /// The tokens, by account; none until they are reserved.
    taken: Vec<(Account, Taken)>,
    is_settled: bool,
}

impl Reservation {
    /// How many tokens were taken.
    pub fn tokens(&self) -> u64 {
        self.taken.first().map_or(0, |(_, taken)| taken.tokens)
    }

    /// The accounts it was taken from.
    pub fn reserved_for(&self) -> ReservedFor {
        self.of.clone()
    }

    /// Counts the request on what its person may use of one model too; what it reserves from then
    /// on is taken there as well. Where the model has no limit, nothing is counted.
    pub fn narrow(&mut self, model: &str, limits: &LimitSet) -> Result<(), Refusal> {
        debug_assert!(self.taken.is_empty(), "before tokens are reserved");
        let scope = of_model(self.user, model, limits);
        if scope.1 == Bounds::default() {
            return Ok(());
        }
        let now = Now::of(&self.of.shared.clock);
        let mut accounts = self.of.shared.accounts.lock();
        check(&mut accounts, &[scope], now, |counters, bounds| {
            counters.obstacle_to_entry(bounds, now)
        })?;
        accounts.entry(scope.0).or_default().enter();
        drop(accounts);
        self.of.accounts.push(scope.0);
        self.scopes.push(scope);
        Ok(())
    }

    /// Takes an estimate of tokens out of every account, or out of none; once for a request. What
    /// the limits leave bounds the estimate, where that is enough of it.
    pub fn reserve(&mut self, wanted: Wanted) -> Result<(), Refusal> {
        debug_assert!(self.taken.is_empty(), "tokens are reserved once");
        let now = Now::of(&self.of.shared.clock);
        let mut accounts = self.of.shared.accounts.lock();
        let tokens = size(&mut accounts, &self.scopes, wanted, now);
        check(&mut accounts, &self.scopes, now, |counters, bounds| {
            counters.obstacle_to_tokens(tokens, bounds, now)
        })?;
        for (account, _) in &self.scopes {
            self.taken.push((*account, accounts.entry(*account).or_default().take(tokens)));
        }
        Ok(())
    }

    /// Ends the request with the tokens that it really took; the rest is given back.
    pub fn settle(mut self, actual: u64) -> ReservedFor {
        self.finish(Some(actual));
        self.of.clone()
    }

    /// `None`: what was taken is what was used.
    fn finish(&mut self, actual: Option<u64>) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        let mut accounts = self.of.shared.accounts.lock();
        for account in &self.of.accounts {
            accounts.entry(*account).and_modify(Counters::leave);
        }
        for (account, taken) in &self.taken {
            let settle = |counters: &mut Counters| {
                counters.settle(*taken, actual.unwrap_or(taken.tokens));
            };
            accounts.entry(*account).and_modify(settle);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.finish(None);
    }
}

#[cfg(test)]
mod tests;
