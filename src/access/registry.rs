//! Who there is, in memory: people, their sessions and their keys, by keyed hash. One process owns
//! the data directory, so what stands here is what holds; the rooms above write the database first
//! and then tell the registry. A look-up costs a hash and a read lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::permission::{BuiltinRole, PermissionSet};
use crate::clock::Timestamp;
use crate::ids::{KeyId, SessionId, UserId};

/// The keyed hash of a bearer secret.
pub(crate) type SecretHash = [u8; 32];

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
    /// When it ends in any case.
    pub(crate) expires_at: Timestamp,
    seen_at: AtomicI64,
}

impl SessionEntry {
    /// A session that was last used at `seen_at`.
    pub(crate) fn new(
        id: SessionId,
        user: UserId,
        expires_at: Timestamp,
        seen_at: Timestamp,
    ) -> Self {
        Self { id, user, expires_at, seen_at: AtomicI64::new(seen_at.ms()) }
    }

    /// When it was last used.
    pub(crate) fn seen_at(&self) -> Timestamp {
        Timestamp::from_ms(self.seen_at.load(Ordering::Relaxed))
    }
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
    /// When it stops working.
    pub(crate) expires_at: Option<Timestamp>,
    used_at: AtomicI64,
}

impl KeyEntry {
    /// A key that has not been used since the start.
    pub(crate) fn new(
        id: KeyId,
        user: UserId,
        scopes: PermissionSet,
        models: Option<Vec<String>>,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self { id, user, scopes, models, expires_at, used_at: AtomicI64::new(0) }
    }
}

/// What was withdrawn: whatever runs on it is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// A person was disabled or deleted, or has other roles now.
    Person(UserId),
    /// A session was ended.
    Session(SessionId),
    /// A key was revoked.
    Key(KeyId),
}

type Listener = Box<dyn Fn(Revocation) + Send + Sync>;

/// Everybody, every session, every key.
pub(crate) struct Registry {
    idle: Duration,
    people: RwLock<HashMap<UserId, PersonEntry>>,
    sessions: RwLock<HashMap<SecretHash, Arc<SessionEntry>>>,
    keys: RwLock<HashMap<SecretHash, Arc<KeyEntry>>>,
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

    /// Adds a person, or takes over what changed; what ran on rights that are gone ends.
    pub(crate) fn put_person(&self, user: UserId, entry: PersonEntry) {
        let lost = {
            let mut people = self.people.write();
            let before = people.get(&user).map(PersonEntry::permissions).unwrap_or_default();
            let is_less = before.and(entry.permissions()) != before;
            let is_disabled = entry.is_disabled;
            people.insert(user, entry);
            is_less || is_disabled
        };
        if lost {
            self.withdraw(Revocation::Person(user));
        }
    }

    /// Adds a session.
    pub(crate) fn put_session(&self, hash: SecretHash, session: SessionEntry) {
        self.sessions.write().insert(hash, Arc::new(session));
    }

    /// Ends one session.
    pub(crate) fn remove_session(&self, id: SessionId) {
        self.sessions.write().retain(|_, session| session.id != id);
        self.withdraw(Revocation::Session(id));
    }

    /// Ends a person's sessions, but for one where that is given.
    pub(crate) fn remove_sessions_of(&self, user: UserId, except: Option<SessionId>) {
        let ended: Vec<SessionId> = {
            let mut sessions = self.sessions.write();
            let is_ended = |one: &SessionEntry| one.user == user && Some(one.id) != except;
            let ended = sessions.values().filter(|one| is_ended(one)).map(|one| one.id).collect();
            sessions.retain(|_, one| !is_ended(one));
            ended
        };
        for id in ended {
            self.withdraw(Revocation::Session(id));
        }
    }

    /// Adds a key.
    pub(crate) fn put_key(&self, hash: SecretHash, key: KeyEntry) {
        self.keys.write().insert(hash, Arc::new(key));
    }

    /// Revokes a key.
    pub(crate) fn remove_key(&self, id: KeyId) {
        self.keys.write().retain(|_, key| key.id != id);
        self.withdraw(Revocation::Key(id));
    }

    /// The live session with this hash; using it keeps it from going idle.
    pub(crate) fn use_session(
        &self,
        hash: &SecretHash,
        now: Timestamp,
    ) -> Option<Arc<SessionEntry>> {
        let session = self.sessions.read().get(hash).cloned()?;
        if now >= session.expires_at || now.since(session.seen_at()) >= self.idle {
            return None;
        }
        session.seen_at.fetch_max(now.ms(), Ordering::Relaxed);
        Some(session)
    }

    /// The live key with this hash.
    pub(crate) fn use_key(&self, hash: &SecretHash, now: Timestamp) -> Option<Arc<KeyEntry>> {
        let key = self.keys.read().get(hash).cloned()?;
        if key.expires_at.is_some_and(|end| now >= end) {
            return None;
        }
        key.used_at.fetch_max(now.ms(), Ordering::Relaxed);
        Some(key)
    }

    /// When each session was last used, for keeping.
    pub(crate) fn sessions_seen(&self) -> Vec<(SessionId, Timestamp)> {
        self.sessions.read().values().map(|one| (one.id, one.seen_at())).collect()
    }

    /// When each key was last used, for keeping; those not used since the start are left out.
    pub(crate) fn keys_used(&self) -> Vec<(KeyId, Timestamp)> {
        let keys = self.keys.read();
        let used = |key: &KeyEntry| Timestamp::from_ms(key.used_at.load(Ordering::Relaxed));
        keys.values().map(|key| (key.id, used(key))).filter(|(_, at)| at.ms() > 0).collect()
    }

    fn withdraw(&self, what: Revocation) {
        for listener in self.listeners.read().iter() {
            listener(what);
        }
    }
}
