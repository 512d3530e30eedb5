//! What is entered when an exchange ends: who, with what, how much, and what it cost at the prices of
//! that moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cost::{Cost, Tokens};
use super::span::Width;
use crate::clock::{Clock, Timestamp};
use crate::config::Prices;
use crate::ids::{KeyId, UserId};

/// How the server itself is named among people.
pub(crate) const SYSTEM: &str = "system";

/// Makes entries. A handle.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    clock: Clock,
    prices: Arc<BTreeMap<String, Prices>>,
}

/// Who used a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    /// None: the server itself.
    pub(crate) person: Option<UserId>,
    /// None: the web app, or the server itself.
    pub(crate) key: Option<KeyId>,
}

/// One exchange, as it is to be entered.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(super) at: Timestamp,
    pub(super) user: String,
    pub(super) key: String,
    pub(super) model: String,
    pub(super) kind: &'static str,
    pub(super) tokens: Tokens,
    pub(super) cost: Cost,
}

impl Ledger {
    /// With these prices, by the models' names.
    pub(crate) fn new(clock: &Clock, prices: &BTreeMap<String, Prices>) -> Self {
        Self { clock: clock.clone(), prices: Arc::new(prices.clone()) }
    }

    /// Makes the entry of an exchange that has just ended.
    pub(crate) fn entry(
        &self,
        user: User,
        model: &str,
        kind: &'static str,
        tokens: Tokens,
    ) -> Entry {
        let prices = self.prices.get(model).copied().unwrap_or_default();
        Entry {
            at: self.clock.now(),
            user: user.person.map_or_else(|| SYSTEM.to_owned(), |person| person.to_string()),
            key: user.key.map(|key| key.to_string()).unwrap_or_default(),
            model: model.to_owned(),
            kind,
            tokens,
            cost: Cost::of(tokens, &prices),
        }
    }
}

impl Entry {
    /// The slot that it belongs to.
    pub(super) fn slot(&self, width: Width) -> i64 {
        width.slot(self.at.ms().div_euclid(1_000))
    }
}
