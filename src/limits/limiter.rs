//! The accounts of everybody, under one lock that is held for arithmetic alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::calendar::{Period, Span};
use super::counters::{Bounds, Counters, Minute, Now, Obstacle};
use super::reservation::Reservation;
use super::roster::Roster;
use super::store::{self, Account};
use super::view::{GroupUsage, Meter, Refusal, Standing, Subject, Usage, Whose};
use crate::clock::Clock;
use crate::config::{LimitSet, Limits};
use crate::db::{Db, DbError};
use crate::ids::{GroupId, UserId};

/// How many accounts are kept in memory before idle ones are let go.
const ACCOUNTS_SOFT_MAX: usize = 65_536;

/// The limits of the server and what is used of them. A handle.
#[derive(Clone, Debug)]
pub struct Limiter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    person: LimitSet,
    key: LimitSet,
    roles: BTreeMap<String, LimitSet>,
    weights: BTreeMap<String, u8>,
    roster: Roster,
    pub(super) accounts: Mutex<HashMap<Account, Counters>>,
}

impl Limiter {
    /// Takes up the accounts where the last process left them. Groups are told to its roster.
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
                roster: Roster::default(),
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
        Ok(Reservation::new(subject.user, &self.shared, scopes))
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
        self.usage_of(Account::Person(user), &self.shared.person_bounds(roles))
    }

    /// What was used of the budget of every group that a person is in.
    pub fn usage_of_groups(&self, user: UserId) -> Vec<GroupUsage> {
        let groups = self.shared.roster.names_of(user).into_iter();
        let usage = |(id, name, limits): (GroupId, String, LimitSet)| GroupUsage {
            id,
            name,
            usage: self.usage_of_group(id, &limits),
        };
        groups.map(usage).collect()
    }

    /// What was used of the budget of one group.
    pub fn usage_of_group(&self, id: GroupId, limits: &LimitSet) -> Usage {
        self.usage_of(Account::Group(id), &Bounds::tightest([limits]))
    }

    /// Who is in which group. Whoever keeps groups tells it of every change.
    pub fn roster(&self) -> &Roster {
        &self.shared.roster
    }

    /// Forgets a group, and what was used of it: what still runs on it counts elsewhere.
    pub fn forget_group(&self, id: GroupId) {
        self.shared.roster.remove(id);
        self.shared.accounts.lock().remove(&Account::Group(id));
    }

    fn usage_of(&self, account: Account, bounds: &Bounds) -> Usage {
        let now = Now::of(&self.shared.clock);
        let known = self.shared.accounts.lock().get(&account).cloned();
        let mut counters = known.unwrap_or_default();
        counters.advance(now, bounds);
        let meter = |span: Span, period: &Period, used, limit| Meter {
            used,
            limit,
            reset: span.until_next(period.number, now.date),
        };
        let (day, month) = (&counters.day, &counters.month);
        Usage {
            tokens_day: meter(Span::Day, day, day.tokens, bounds.day_tokens),
            tokens_month: meter(Span::Month, month, month.tokens, bounds.month_tokens),
            tokens_minute: minute_meter(counters.tokens, bounds.tokens),
            requests_day: meter(Span::Day, day, day.requests, bounds.day_requests),
            requests_month: meter(Span::Month, month, month.requests, bounds.month_requests),
        }
    }
}

/// Brings the accounts up to the present, and refuses by the limit that stands longest in the way.
pub(super) fn check(
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
            obstacle(counters, bounds).map(|obstacle| (*account, obstacle))
        })
        .max_by_key(|(_, obstacle)| obstacle.waiting());
    worst.map_or(Ok(()), |(account, obstacle)| Err(refusal(account, obstacle)))
}

fn refusal(account: Account, obstacle: Obstacle) -> Refusal {
    let whose = match account {
        Account::Person(_) => Whose::Person,
        Account::Key(_) => Whose::Key,
        Account::Group(group) => Whose::Group(group),
        Account::Model(..) => Whose::Model,
    };
    let Obstacle { which, limit, remaining, wait } = obstacle;
    Refusal { which, whose, limit, remaining, retry_after: wait }
}

/// What a person may use of one model.
pub(super) fn of_model(user: UserId, model: &str, limits: &LimitSet) -> (Account, Bounds) {
    (Account::of_model(user, model), Bounds::tightest([limits]))
}

fn minute_meter(minute: Minute, limit: Option<u64>) -> Meter {
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
        let key = subject
            .key
            .map(|key| (Account::Key(key.id), Bounds::tightest([&self.key, &key.limits])));
        let groups = self.roster.limits_of(subject.user);
        let group = |(id, limits)| (Account::Group(id), Bounds::tightest([&limits]));
        std::iter::once(person).chain(key).chain(groups.into_iter().map(group)).collect()
    }
}

#[cfg(test)]
mod tests;
