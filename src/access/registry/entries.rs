//! What the registry holds: people, sessions, keys, and a table of bearer secrets by hash and by id.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::SecretHash;
use crate::access::networks::Networks;
use crate::access::permission::{BuiltinRole, PermissionSet};
use crate::clock::Timestamp;
use crate::config::LimitSet;
use crate::ids::{KeyId, SessionId, UserId};

/// A person or service account.
#[derive(Clone, Debug)]
pub(crate) struct PersonEntry {
    /// The sign-in name.
    pub(crate) username: String,
    /// The roles held.
    pub(crate) roles: Vec<BuiltinRole>,
    /// Whether the account is switched off.
    pub(crate) is_disabled: bool,
}

impl PersonEntry {
    /// What the roles add up to.
    pub(crate) fn permissions(&self) -> PermissionSet {
        let none = PermissionSet::default();
        self.roles.iter().fold(none, |sum, role| sum.or(role.permissions()))
    }
}

/// A signed-in browser.
#[derive(Debug)]
pub(crate) struct SessionEntry {
    /// The session.
    pub(crate) id: SessionId,
    /// Who signed in.
    pub(crate) user: UserId,
    pub(super) begun_at: Timestamp,
    /// When it ends in any case.
    pub(crate) expires_at: Timestamp,
    pub(super) seen_at: AtomicI64,
    /// What `seen_at` is on disk.
    pub(super) kept_at: AtomicI64,
}

impl SessionEntry {
    /// A session that lasts from the one moment to the other, and was last used at `seen_at`.
    pub(crate) fn new(
        id: SessionId,
        user: UserId,
        (begun_at, expires_at): (Timestamp, Timestamp),
        seen_at: Timestamp,
    ) -> Self {
        let (seen_at, kept_at) = (AtomicI64::new(seen_at.ms()), AtomicI64::new(seen_at.ms()));
        Self { id, user, begun_at, expires_at, seen_at, kept_at }
    }

    /// When it was last used.
    pub(crate) fn seen_at(&self) -> Timestamp {
        Timestamp::from_ms(self.seen_at.load(Ordering::Relaxed))
    }

    /// Whether its time is up.
    pub(super) fn is_over(&self, now: Timestamp, idle: Duration) -> bool {
        now >= self.expires_at || now.since(self.seen_at()) >= idle
    }

    /// Whether it begins in the future: it would last longer than any may.
    pub(super) fn is_early(&self, now: Timestamp) -> bool {
        self.begun_at.is_ahead_of(now)
    }
}

/// What a key may be used for.
#[derive(Clone, Debug)]
pub(crate) struct KeyTerms {
    /// Permissions.
    pub(crate) scopes: PermissionSet,
    /// Names of models; none means all that its owner may use.
    pub(crate) models: Option<Vec<String>>,
    /// Its own limits.
    pub(crate) limits: LimitSet,
    /// From where it is let in.
    pub(crate) networks: Networks,
    /// When it stops working.
    pub(crate) expires_at: Option<Timestamp>,
}

/// A good key that was not let in, as it came from outside of its networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TurnedAway {
    /// When that was.
    pub(crate) at: Timestamp,
    /// Where it came from.
    pub(crate) address: Option<IpAddr>,
}

/// An API key.
#[derive(Debug)]
pub(crate) struct KeyEntry {
    /// The key.
    pub(crate) id: KeyId,
    /// Its owner.
    pub(crate) user: UserId,
    /// What it may be used for; it can only narrow what the owner may do.
    pub(crate) scopes: PermissionSet,
    /// The models it may be used for; none means all that its owner may use.
    pub(crate) models: Option<Vec<String>>,
    /// Its own limits; they can only narrow what its owner may use.
    pub(crate) limits: LimitSet,
    /// When it stops working.
    pub(crate) expires_at: Option<Timestamp>,
    /// From where it is let in; its owner may change that.
    pub(super) networks: RwLock<Networks>,
    /// When it last came from elsewhere, since the start.
    pub(super) turned_away: Mutex<Option<TurnedAway>>,
    pub(super) used_at: AtomicI64,
    /// What `used_at` is on disk; 0 for what this process did not write.
    pub(super) kept_at: AtomicI64,
}

impl KeyEntry {
    /// A key that has not been used since the start.
    pub(crate) fn new(id: KeyId, user: UserId, terms: KeyTerms) -> Self {
        let KeyTerms { scopes, models, limits, networks, expires_at } = terms;
        let (networks, turned_away) = (RwLock::new(networks), Mutex::default());
        let (used_at, kept_at) = (AtomicI64::new(0), AtomicI64::new(0));
        Self {
            id,
            user,
            scopes,
            models,
            limits,
            expires_at,
            networks,
            turned_away,
            used_at,
            kept_at,
        }
    }

    pub(super) fn used_at(&self) -> Option<Timestamp> {
        Some(Timestamp::from_ms(self.used_at.load(Ordering::Relaxed))).filter(|at| at.ms() > 0)
    }
}

/// What a bearer secret stands for.
pub(super) trait Entry {
    type Id: Copy + Eq + Hash;

    fn id(&self) -> Self::Id;
    fn user(&self) -> UserId;
}

impl Entry for SessionEntry {
    type Id = SessionId;

    fn id(&self) -> SessionId {
        self.id
    }

    fn user(&self) -> UserId {
        self.user
    }
}

impl Entry for KeyEntry {
    type Id = KeyId;

    fn id(&self) -> KeyId {
        self.id
    }

    fn user(&self) -> UserId {
        self.user
    }
}

/// Entries, by the hash of their secret and by their id.
pub(super) struct Table<E: Entry> {
    pub(super) by_hash: HashMap<SecretHash, Arc<E>>,
    hash_of: HashMap<E::Id, SecretHash>,
}

impl<E: Entry> Default for Table<E> {
    fn default() -> Self {
        Self { by_hash: HashMap::new(), hash_of: HashMap::new() }
    }
}

impl<E: Entry> Table<E> {
    pub(super) fn put(&mut self, hash: SecretHash, entry: E) {
        self.hash_of.insert(entry.id(), hash);
        self.by_hash.insert(hash, Arc::new(entry));
    }

    /// A person's entry; somebody else's is not there.
    pub(super) fn of(&self, user: UserId, id: E::Id) -> Option<&Arc<E>> {
        let entry = self.by_hash.get(self.hash_of.get(&id)?)?;
        (entry.user() == user).then_some(entry)
    }

    pub(super) fn by_id(&self, id: E::Id) -> Option<&Arc<E>> {
        self.by_hash.get(self.hash_of.get(&id)?)
    }

    /// Removes what fits, and says what that was.
    pub(super) fn remove_where(&mut self, fits: impl Fn(&E) -> bool) -> Vec<E::Id> {
        let mut gone = Vec::new();
        self.by_hash.retain(|_, entry| {
            let is_gone = fits(entry);
            if is_gone {
                gone.push(entry.id());
            }
            !is_gone
        });
        for id in &gone {
            self.hash_of.remove(id);
        }
        gone
    }
}
