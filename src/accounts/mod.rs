//! People: accounts, passwords, sessions, one-time links.

pub(crate) mod admin_api;
pub(crate) mod api;
mod console;
mod delete;
mod early;
mod error;
mod links;
mod names;
mod own;
mod password;
mod people;
mod sessions;
mod store;
mod throttle;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub(crate) use console::ConsoleReset;
pub(crate) use error::AccountError;
pub(crate) use links::NewOwner;
pub(crate) use names::{DisplayName, Username};
use password::Hasher;

use crate::access::{Binder, Changes, Refusals, Registry};
use crate::audit::{AuditLog, Event};
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::db::{Connection, Db, Transaction};
use crate::ids::{RequestId, UserId};
use crate::vault::Vault;

/// The service of accounts.
#[derive(Clone)]
pub(crate) struct Accounts {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    vault: Vault,
    audit: AuditLog,
    clock: Clock,
    registry: Arc<Registry>,
    changes: Changes,
    binder: Binder,
    refusals: Arc<Refusals>,
    hasher: Hasher,
    settings: Settings,
    /// Whether it was told that what is dated in the future waits for the clock.
    is_doubt_told: AtomicBool,
}

/// What the configuration says about accounts.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    session: Duration,
    setup_link: Duration,
    invitation: Duration,
    password_chars_min: usize,
    organisation: String,
}

/// The parts that accounts are built on.
pub(crate) struct Parts {
    /// The database.
    pub(crate) db: Db,
    /// The vault, open.
    pub(crate) vault: Vault,
    /// The audit log.
    pub(crate) audit: AuditLog,
    /// The clock.
    pub(crate) clock: Clock,
    /// Who there is, in memory.
    pub(crate) registry: Arc<Registry>,
    /// What binds the rows.
    pub(crate) binder: Binder,
    /// The refusals of the last minute.
    pub(crate) refusals: Arc<Refusals>,
}

/// Where a request came from, for the record.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The address of the connection; none at the console.
    pub(crate) address: Option<IpAddr>,
    /// The request.
    pub(crate) request: RequestId,
    /// What the browser calls itself, cut short.
    pub(crate) user_agent: String,
}

impl Origin {
    /// The operator at the console.
    pub(crate) fn console() -> Self {
        Self { address: None, request: RequestId::new(), user_agent: String::new() }
    }

    fn mark(&self, event: Event) -> Event {
        event.from_request(self.address, self.request)
    }
}

impl Accounts {
    /// Builds the service and tells the registry who there is.
    pub(crate) fn open(
        parts: Parts,
        accounts: &config::Accounts,
        organisation: &str,
    ) -> Result<Self, AccountError> {
        let settings = Settings {
            session: Duration::from_secs(u64::from(accounts.session_days) * 86_400),
            setup_link: Duration::from_secs(u64::from(accounts.setup_link_minutes) * 60),
            invitation: Duration::from_secs(u64::from(accounts.invitation_hours) * 3_600),
            password_chars_min: accounts.password_chars_min.into(),
            organisation: organisation.to_owned(),
        };
        let hasher = Hasher::new(accounts.hashes_at_once.into())?;
        let Parts { db, vault, audit, clock, registry, binder, refusals } = parts;
        let changes = Changes::new(&db, &audit, &registry);
        let inner = Inner {
            db,
            vault,
            audit,
            clock,
            registry,
            changes,
            binder,
            refusals,
            hasher,
            settings,
            is_doubt_told: AtomicBool::new(false),
        };
        let accounts = Self { inner: Arc::new(inner) };
        accounts.load()?;
        Ok(accounts)
    }

    fn load(&self) -> Result<(), AccountError> {
        let inner = &self.inner;
        let (now, steady, binder) = (inner.clock.now(), inner.clock.steady(), inner.binder.clone());
        // By a clock that is behind, every use would be one in the future.
        let seen_max = if inner.clock.is_in_doubt() { Timestamp::from_ms(i64::MAX) } else { now };
        let read = move |tx: &Transaction<'_>| -> Result<_, AccountError> {
            throttle::resume(tx, steady)?;
            let people = store::people(tx, &binder)?;
            let sessions = store::live_sessions(tx, &binder, now, seen_max)?;
            Ok((people, sessions, store::deleted_people(tx)?))
        };
        let (people, sessions, deleted) = inner.db.write_blocking(read)?;
        inner.binder.tell_blocking(&inner.db, &inner.audit)?;
        self.shred_deleted(deleted)?;
        for person in people {
            inner.registry.put_person(person.id, person.entry());
        }
        for (hash, session) in sessions {
            inner.registry.put_session(hash, session);
        }
        Ok(())
    }

    /// The organisation's name.
    pub(crate) fn organisation(&self) -> &str {
        &self.inner.settings.organisation
    }

    /// The display name of a person; the sign-in name where it does not open.
    fn display_name(&self, person: &store::PersonRow) -> String {
        let id = person.id.to_string();
        let opened = self.inner.vault.open(
            crate::vault::Scope::Person(person.id),
            &store::display_name_place(&id),
            &person.display_name,
        );
        opened
            .ok()
            .and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
            .unwrap_or_else(|| person.username.clone())
    }

    fn person_row(
        &self,
        user: UserId,
    ) -> impl Future<Output = Result<store::PersonRow, AccountError>> {
        let (db, binder) = (self.inner.db.clone(), self.inner.binder.clone());
        let read = move |db: &Connection| -> Result<_, AccountError> {
            store::person(db, &binder, user)?.ok_or(AccountError::NotFound)
        };
        async move { db.read(read).await }
    }
}
