//! Changes in somebody's name. A handler's grant is as old as the first line of its request; what
//! let the caller in is looked at once more on the thread that writes, where nothing can come between
//! that look and the change.

use std::sync::Arc;

use super::{Caller, Registry};
use crate::audit::{Action, AuditError, AuditLog, Event, Outcome};
use crate::db::{Db, DbError, Transaction};

/// What let the caller in was withdrawn before the change could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("your access was withdrawn or changed meanwhile")]
pub(crate) struct Withdrawn;

/// Where such changes are made. A handle.
#[derive(Clone)]
pub(crate) struct Changes {
    db: Db,
    audit: AuditLog,
    registry: Arc<Registry>,
}

impl Changes {
    /// Over the database, the record and who there is.
    pub(crate) fn new(db: &Db, audit: &AuditLog, registry: &Arc<Registry>) -> Self {
        Self { db: db.clone(), audit: audit.clone(), registry: Arc::clone(registry) }
    }

    /// Makes a change if the caller may still make it, and calls `after` with what it gave once it
    /// is on disk (see `Db::write_then`). That they may not goes on record.
    pub(crate) async fn make<T, E, F, A>(
        &self,
        caller: &Caller,
        change: F,
        after: A,
    ) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        A: FnOnce(&T) + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + From<AuditError> + From<Withdrawn> + Send + 'static,
    {
        let (audit, registry, caller) =
            (self.audit.clone(), Arc::clone(&self.registry), caller.clone());
        let job = move |tx: &Transaction<'_>| -> Result<Option<T>, E> {
            if registry.holds(&caller) {
                return change(tx).map(Some);
            }
            audit.record_in(tx, withdrawn(&caller))?;
            Ok(None)
        };
        let done = move |made: &Option<T>| {
            if let Some(made) = made {
                after(made);
            }
        };
        self.db.write_then(job, done).await?.ok_or_else(|| Withdrawn.into())
    }
}

/// The record of a caller who was let in, and is not any more.
pub(super) fn withdrawn(caller: &Caller) -> Event {
    Event::new(Action::AccessDenied, Outcome::Denied, caller.actor())
        .from_request(caller.address, caller.request)
        .with("reason", "withdrawn")
}
