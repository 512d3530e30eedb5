//! Who there is, in memory: people, their sessions and their keys, by keyed hash. One process owns
//! the data directory, so what stands here is what holds; the rooms above write the database and
//! tell the registry on the thread that writes, right after the commit (`Db::write_then`): in the
//! order of commits, and whether or not a client still waits. A look-up costs a hash and a read lock.

mod entries;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::RwLock;

use entries::Table;
pub(crate) use entries::{KeyEntry, KeyTerms, PersonEntry, SessionEntry, TurnedAway};

use super::networks::Networks;
use super::permission::BuiltinRole;
use super::{Caller, Via};
use crate::clock::Timestamp;
use crate::ids::{KeyId, SessionId, UserId};

/// The keyed hash of a bearer secret.
pub(crate) type SecretHash = [u8; 32];

/// What was withdrawn: whatever runs on it is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// A person was disabled or deleted, or has other roles now.
    Person(UserId),
    /// A session was ended.
    Session(SessionId),
    /// A key was revoked.
    Key(KeyId),
    /// A key is let in from these networks alone now.
    Elsewhere(KeyId, Networks),
}

impl Revocation {
    /// Whether it took away what let this caller in.
    pub(crate) fn concerns(&self, caller: &Caller) -> bool {
        match (self, &caller.via) {
            (Self::Person(user), _) => caller.user == *user,
            (Self::Session(session), Via::Session(id)) => id == session,
            (Self::Key(key), Via::Key(context)) => context.id == *key,
            (Self::Elsewhere(key, networks), Via::Key(context)) => {
                context.id == *key && !networks.admit(caller.address)
            }
            (Self::Session(_) | Self::Key(_) | Self::Elsewhere(..), _) => false,
        }
    }
}

/// Why a key is not let in.
#[derive(Debug)]
pub(crate) enum KeyRefusal {
    /// There is none with this hash, or its time is over.
    Unknown,
    /// It is good, and came from outside of its networks.
    Elsewhere(Arc<KeyEntry>),
}

type Listener = Box<dyn Fn(Revocation) + Send + Sync>;

/// Everybody, every session, every key.
pub(crate) struct Registry {
    idle: Duration,
    people: RwLock<HashMap<UserId, PersonEntry>>,
    sessions: RwLock<Table<SessionEntry>>,
    keys: RwLock<Table<KeyEntry>>,
    listeners: RwLock<Vec<Listener>>,
}

impl Registry {
    /// An empty registry; sessions end after `idle` without use.
    pub(crate) fn new(idle: Duration) -> Self {
        Self {
            idle,
            people: RwLock::default(),
            sessions: RwLock::default(),
            keys: RwLock::default(),
            listeners: RwLock::default(),
        }
    }

    /// Calls `listener` with everything that is withdrawn from now on.
    pub(crate) fn on_revocation(&self, listener: impl Fn(Revocation) + Send + Sync + 'static) {
        self.listeners.write().push(Box::new(listener));
    }

    /// The person with this id.
    pub(crate) fn person(&self, user: UserId) -> Option<PersonEntry> {
        self.people.read().get(&user).cloned()
    }

    /// Whether everything that let the caller in still stands: the session or key, the network that
    /// they are in, an account that is on, and the same roles. For whoever was let in a while ago and
    /// acts only now.
    pub(crate) fn holds(&self, caller: &Caller) -> bool {
        let is_in = match &caller.via {
            Via::Session(id) => self.sessions.read().of(caller.user, *id).is_some(),
            Via::Key(key) => {
                let admits = |key: &Arc<KeyEntry>| key.networks.read().admit(caller.address);
                self.keys.read().of(caller.user, key.id).is_some_and(admits)
            }
            Via::System => return true,
        };
        let has_roles = |person: &PersonEntry| {
            let held = |role: &BuiltinRole| caller.roles.iter().any(|name| name == role.name());
            person.roles.len() == caller.roles.len() && person.roles.iter().all(held)
        };
        let people = self.people.read();
        is_in && people.get(&caller.user).is_some_and(|one| !one.is_disabled && has_roles(one))
    }

    /// Adds a person, or takes over what changed; what ran on roles that are gone ends.
    pub(crate) fn put_person(&self, user: UserId, entry: PersonEntry) {
        let has_lost = {
            let mut people = self.people.write();
            let before = people.get(&user).map(|one| one.roles.clone()).unwrap_or_default();
            let has_lost =
                entry.is_disabled || before.iter().any(|role| !entry.roles.contains(role));
            people.insert(user, entry);
            has_lost
        };
        if has_lost {
            self.withdraw(Revocation::Person(user));
        }
    }

    /// Forgets a person with their sessions and keys; what ran for them ends.
    pub(crate) fn remove_person(&self, user: UserId) {
        self.people.write().remove(&user);
        self.sessions.write().remove_where(|one| one.user == user);
        self.keys.write().remove_where(|one| one.user == user);
        self.withdraw(Revocation::Person(user));
    }

    /// Adds a session.
    pub(crate) fn put_session(&self, hash: SecretHash, session: SessionEntry) {
        self.sessions.write().put(hash, session);
    }

    /// Ends one session of a person.
    pub(crate) fn remove_session(&self, user: UserId, id: SessionId) {
        let gone = self.sessions.write().remove_where(|one| one.user == user && one.id == id);
        self.ended(gone);
    }

    /// Ends a person's sessions, but for one where that is given.
    pub(crate) fn remove_sessions_of(&self, user: UserId, except: Option<SessionId>) {
        let is_ended = |one: &SessionEntry| one.user == user && Some(one.id) != except;
        let gone = self.sessions.write().remove_where(is_ended);
        self.ended(gone);
    }

    /// Forgets sessions that are over; what still runs on them ends.
    pub(crate) fn purge(&self, now: Timestamp) {
        let gone = self.sessions.write().remove_where(|one| one.is_over(now, self.idle));
        self.ended(gone);
    }

    /// Takes back uses in the future: a clock that was ahead has told them, and they would keep sessions
    /// from going idle.
    pub(crate) fn take_back_uses(&self, now: Timestamp) {
        for one in self.sessions.read().by_hash.values() {
            one.seen_at.fetch_min(now.ms(), Ordering::Relaxed);
        }
    }

    fn ended(&self, sessions: Vec<SessionId>) {
        for id in sessions {
            self.withdraw(Revocation::Session(id));
        }
    }

    /// Adds a key.
    pub(crate) fn put_key(&self, hash: SecretHash, key: KeyEntry) {
        self.keys.write().put(hash, key);
    }

    /// Revokes a key of a person.
    pub(crate) fn remove_key(&self, user: UserId, id: KeyId) {
        for id in self.keys.write().remove_where(|key| key.user == user && key.id == id) {
            self.withdraw(Revocation::Key(id));
        }
    }

    /// Says from where a key of a person is let in from now on; what runs on it elsewhere ends, and
    /// what was turned away and would not be now is forgotten.
    pub(crate) fn put_networks(&self, user: UserId, id: KeyId, networks: Networks) {
        let Some(key) = self.keys.read().of(user, id).cloned() else { return };
        *key.networks.write() = networks.clone();
        key.turned_away.lock().take_if(|one| networks.admit(one.address));
        self.withdraw(Revocation::Elsewhere(id, networks));
    }

    /// The live session with this hash; using it keeps it from going idle.
    pub(crate) fn use_session(
        &self,
        hash: &SecretHash,
        now: Timestamp,
    ) -> Option<Arc<SessionEntry>> {
        let session = self.sessions.read().by_hash.get(hash).cloned()?;
        if session.is_early(now) {
            // It stays: the clock may be behind. Where it is not, accounts end it.
            return None;
        }
        if session.is_over(now, self.idle) {
            // What has ended does not begin again when the clock is set back.
            let gone = self.sessions.write().remove_where(|one| one.id == session.id);
            self.ended(gone);
            return None;
        }
        // Not the latest of both: a clock that was ahead once must not keep a session from going
        // idle.
        session.seen_at.store(now.ms(), Ordering::Relaxed);
        Some(session)
    }

    /// The live key with this hash, for somebody at this address. One that is not let in from there is
    /// not used by that.
    pub(crate) fn use_key(
        &self,
        hash: &SecretHash,
        now: Timestamp,
        address: Option<IpAddr>,
    ) -> Result<Arc<KeyEntry>, KeyRefusal> {
        let key = self.keys.read().by_hash.get(hash).cloned().ok_or(KeyRefusal::Unknown)?;
        if key.expires_at.is_some_and(|end| now >= end) {
            return Err(KeyRefusal::Unknown);
        }
        if !key.networks.read().admit(address) {
            *key.turned_away.lock() = Some(TurnedAway { at: now, address });
            return Err(KeyRefusal::Elsewhere(key));
        }
        key.used_at.store(now.ms(), Ordering::Relaxed);
        Ok(key)
    }

    /// When a session was last used, where it is live.
    pub(crate) fn session_seen_at(&self, id: SessionId) -> Option<Timestamp> {
        self.sessions.read().by_id(id).map(|one| one.seen_at())
    }

    /// Whom a key is let in for, where it is.
    pub(crate) fn key_owner(&self, id: KeyId) -> Option<UserId> {
        self.keys.read().by_id(id).map(|key| key.user)
    }

    /// When a key was last used, where it was since the start.
    pub(crate) fn key_used_at(&self, id: KeyId) -> Option<Timestamp> {
        self.keys.read().by_id(id).and_then(|key| key.used_at())
    }

    /// When and from where a key was last turned away, where it was since the start.
    pub(crate) fn key_turned_away(&self, id: KeyId) -> Option<TurnedAway> {
        self.keys.read().by_id(id).and_then(|key| *key.turned_away.lock())
    }

    /// When sessions were last used, of those of which the disk does not know it yet.
    pub(crate) fn sessions_to_keep(&self) -> Vec<(SessionId, Timestamp)> {
        let sessions = self.sessions.read();
        let is_new = |one: &&Arc<SessionEntry>| {
            one.kept_at.load(Ordering::Relaxed) != one.seen_at.load(Ordering::Relaxed)
        };
        sessions.by_hash.values().filter(is_new).map(|one| (one.id, one.seen_at())).collect()
    }

    /// Takes down that these are on disk.
    pub(crate) fn sessions_kept(&self, kept: &[(SessionId, Timestamp)]) {
        let sessions = self.sessions.read();
        for (id, at) in kept {
            if let Some(one) = sessions.by_id(*id) {
                one.kept_at.store(at.ms(), Ordering::Relaxed);
            }
        }
    }

    /// When keys were last used, of those of which the disk does not know it yet.
    pub(crate) fn keys_to_keep(&self) -> Vec<(KeyId, Timestamp)> {
        let keys = self.keys.read();
        let new = |key: &Arc<KeyEntry>| {
            let used = key.used_at()?;
            (key.kept_at.load(Ordering::Relaxed) != used.ms()).then_some((key.id, used))
        };
        keys.by_hash.values().filter_map(new).collect()
    }

    /// Takes down that these are on disk.
    pub(crate) fn keys_kept(&self, kept: &[(KeyId, Timestamp)]) {
        let keys = self.keys.read();
        for (id, at) in kept {
            if let Some(key) = keys.by_id(*id) {
                key.kept_at.store(at.ms(), Ordering::Relaxed);
            }
        }
    }

    fn withdraw(&self, what: Revocation) {
        for listener in self.listeners.read().iter() {
            listener(what.clone());
        }
    }
}
