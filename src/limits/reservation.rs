//! What one request has taken out of the accounts that it counts on, until it is settled.

use std::collections::HashMap;
use std::sync::Arc;

use super::counters::{Bounds, Counters, Now, Taken};
use super::limiter::{Shared, check, of_model};
use super::store::Account;
use super::view::{Refusal, Wanted};
use crate::config::LimitSet;
use crate::ids::UserId;

/// The accounts that a reservation was taken from; enough to write them down.
#[derive(Clone, Debug)]
pub struct ReservedFor {
    shared: Arc<Shared>,
    accounts: Vec<Account>,
}

impl ReservedFor {
    /// The accounts as they stand now. What is on disk of one that was let go meanwhile stays.
    pub(super) fn snapshot(&self) -> Vec<(Account, Counters)> {
        let accounts = self.shared.accounts.lock();
        let state = |account: &Account| Some((*account, accounts.get(account)?.clone()));
        self.accounts.iter().filter_map(state).collect()
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
    /// Of a request that has entered these accounts.
    pub(super) fn new(user: UserId, shared: &Arc<Shared>, scopes: Vec<(Account, Bounds)>) -> Self {
        let accounts = scopes.iter().map(|(account, _)| *account).collect();
        let of = ReservedFor { shared: Arc::clone(shared), accounts };
        Self { user, of, scopes, taken: Vec::new(), is_settled: false }
    }

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
