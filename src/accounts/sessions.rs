//! Signing in and out.

use std::sync::Arc;

use crate::db::Transaction;

use super::password::Queue;
use super::store::{self, NewSession};
use super::throttle::{self, Attempt};
use super::{AccountError, Accounts, Origin};
use crate::access::Caller;
use crate::access::registry::SessionEntry;
use crate::access::token::{self, TokenKind};
use crate::audit::{Action, Actor, Event, Outcome};
use crate::clock::Timestamp;
use crate::ids::{SessionId, UserId};
use crate::secret::SecretText;
use crate::vault::{BlindPurpose, Scope};

/// A session that was just begun.
pub(crate) struct Begun {
    /// Who signed in.
    pub(crate) user: UserId,
    /// The session.
    pub(crate) session: SessionId,
    /// What the browser keeps.
    pub(crate) secret: SecretText,
    /// When it ends in any case.
    pub(crate) expires_at: Timestamp,
}

/// A session as its owner sees it.
pub(crate) struct SessionView {
    /// The session.
    pub(crate) id: SessionId,
    /// When it was begun.
    pub(crate) created_at: Timestamp,
    /// When it was last used.
    pub(crate) last_seen_at: Timestamp,
    /// Where it was begun.
    pub(crate) address: Option<String>,
    /// What the browser called itself.
    pub(crate) user_agent: String,
}

/// What becomes of a person's other sessions when one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    Stay,
    End,
}

/// Sessions of one person at the same time.
const SESSIONS_MAX: u32 = 32;

impl Accounts {
    /// Signs a person in. The answer is the same, in words and in time, for a wrong password, an
    /// unknown name and a disabled account.
    pub(crate) async fn sign_in(
        &self,
        username: &str,
        password: &SecretText,
        origin: &Origin,
    ) -> Result<Begun, AccountError> {
        let inner = &self.inner;
        // Names of any length are counted, none of them kept.
        let attempt = Attempt::at_password(&inner.vault, username, origin.address)?;
        let (now, name, binder) = (inner.clock.steady(), username.to_owned(), inner.binder.clone());
        let (counted, row) = inner
            .db
            .write(move |tx| -> Result<_, AccountError> {
                let counted = throttle::begin(tx, &attempt, now)?;
                Ok((counted, store::person_by_name(tx, &binder, &name)?))
            })
            .await?;
        let known =
            row.as_ref().filter(|row| !row.is_disabled).and_then(|row| row.password.clone());
        let fits = match inner.hasher.verify(Queue::SignIn, password, known).await {
            Ok(fits) => fits,
            Err(error) => return Err(self.not_made(counted, error).await),
        };
        let tried = row.as_ref().map(|row| row.id);
        let Some(row) = row.filter(|_| fits) else {
            let mut event = Event::new(Action::SessionCreate, Outcome::Denied, Actor::Anonymous);
            // Whose account was tried, where there is one; never a name as it was typed, which may
            // be a password in the wrong field.
            if let Some(user) = tried {
                event = event.subject(user);
            }
            inner.audit.record(origin.mark(event)).await?;
            return Err(AccountError::WrongCredentials);
        };
        let user = row.id;
        let binder = inner.binder.clone();
        let succeeded = move |tx: &Transaction<'_>| {
            // The password was checked outside the transaction: it may have been changed since, and
            // whoever changed it has ended all sessions but this one.
            let now_known = store::person(tx, &binder, user)?.filter(|now| !now.is_disabled);
            if now_known.and_then(|now| now.password) != row.password {
                return Err(AccountError::WrongCredentials);
            }
            throttle::succeed(tx, &attempt, &counted, now)?;
            Ok(Others::Stay)
        };
        self.begin_session(user, origin, succeeded).await
    }

    /// Begins a session, with whatever else belongs into the same transaction; that says what
    /// becomes of the person's other sessions. More than a bound of them there never are: the
    /// oldest give way.
    pub(super) async fn begin_session(
        &self,
        user: UserId,
        origin: &Origin,
        also: impl FnOnce(&Transaction<'_>) -> Result<Others, AccountError> + Send + 'static,
    ) -> Result<Begun, AccountError> {
        let inner = &self.inner;
        let secret = token::make(TokenKind::Session).map_err(|_| AccountError::Random)?;
        let secret_hash = inner.vault.blind(BlindPurpose::Session, secret.expose().as_bytes())?;
        let (id, now) = (SessionId::new(), inner.clock.now());
        let expires_at = now.plus(inner.settings.session);
        let (row, owner) = (id.to_string(), user.to_string());
        let place = store::user_agent_place(&row, &owner);
        let user_agent: String =
            origin.user_agent.chars().filter(|c| !c.is_control()).take(160).collect();
        let user_agent = inner.vault.seal(Scope::Person(user), &place, user_agent.as_bytes())?;
        let address = origin.address.map(|address| address.to_string());
        let new = NewSession { id, user, secret_hash, now, expires_at, address, user_agent };
        let event =
            Event::new(Action::SessionCreate, Outcome::Done, Actor::Person(user)).subject(id);
        let (event, audit) = (origin.mark(event), inner.audit.clone());
        let binder = inner.binder.clone();
        let begin = move |tx: &Transaction<'_>| -> Result<_, AccountError> {
            let others = also(tx)?;
            // Whatever led here was looked at before; the account may have been switched off since.
            let person = store::person(tx, &binder, user)?;
            person.filter(|one| !one.is_disabled).ok_or(AccountError::WrongCredentials)?;
            if others == Others::End {
                store::delete_sessions(tx, user, None)?;
            }
            let evicted = store::insert_session(tx, &binder, &new, SESSIONS_MAX)?;
            audit.record_in(tx, event)?;
            Ok((others, evicted))
        };
        let registry = Arc::clone(&inner.registry);
        let begun = move |(others, evicted): &(Others, Vec<SessionId>)| {
            if *others == Others::End {
                registry.remove_sessions_of(user, None);
            }
            for old in evicted {
                registry.remove_session(user, *old);
            }
            registry.put_session(secret_hash, SessionEntry::new(id, user, (now, expires_at), now));
        };
        inner.db.write_then(begin, begun).await?;
        Ok(Begun { user, session: id, secret, expires_at })
    }

    /// Ends one of the caller's sessions.
    pub(crate) async fn end_session(
        &self,
        caller: &Caller,
        id: SessionId,
    ) -> Result<(), AccountError> {
        let inner = &self.inner;
        let (user, audit) = (caller.user, inner.audit.clone());
        let event = Event::new(Action::SessionEnd, Outcome::Done, caller.actor())
            .subject(id)
            .from_request(caller.address, caller.request);
        let end = move |tx: &Transaction<'_>| -> Result<bool, AccountError> {
            let is_there = store::delete_session(tx, user, id)?;
            if is_there {
                audit.record_in(tx, event)?;
            }
            Ok(is_there)
        };
        // Whatever the database says: what the caller wants gone is not let in any more.
        let registry = Arc::clone(&inner.registry);
        let is_there = inner.db.write_then(end, move |_| registry.remove_session(user, id)).await?;
        if is_there { Ok(()) } else { Err(AccountError::NotFound) }
    }

    /// The caller's sessions, the latest used first.
    pub(crate) async fn sessions(&self, caller: &Caller) -> Result<Vec<SessionView>, AccountError> {
        let inner = &self.inner;
        let (user, now) = (caller.user, inner.clock.now());
        let rows = inner.db.read(move |db| store::sessions_of(db, user, now)).await?;
        let owner = user.to_string();
        let view = |row: store::SessionRow| {
            let id = row.id.to_string();
            let place = store::user_agent_place(&id, &owner);
            let agent = inner.vault.open(Scope::Person(user), &place, &row.user_agent)?;
            Ok(SessionView {
                id: row.id,
                created_at: row.created_at,
                last_seen_at: inner.registry.session_seen_at(row.id).unwrap_or(row.last_seen_at),
                address: row.address,
                user_agent: String::from_utf8_lossy(&agent).into_owned(),
            })
        };
        rows.into_iter().map(view).collect()
    }

    /// Keeps when sessions were last used, and forgets those that are over; called now and then,
    /// and at shutdown.
    pub(crate) async fn keep_seen(&self) -> Result<(), AccountError> {
        let inner = &self.inner;
        inner.registry.purge(inner.clock.now());
        let seen = inner.registry.sessions_to_keep();
        if seen.is_empty() {
            return Ok(());
        }
        let registry = Arc::clone(&inner.registry);
        let keep = move |tx: &Transaction<'_>| -> Result<_, AccountError> {
            store::put_seen(tx, &seen)?;
            Ok(seen)
        };
        let kept = move |seen: &Vec<_>| registry.sessions_kept(seen);
        inner.db.write_then(keep, kept).await.map(drop)
    }
}
