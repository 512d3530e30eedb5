//! What is kept of the API's answers, in one table or another: sealed under the key of its person, bound to
//! its row, bounded for each of them, and deleted when its time is over.

mod store;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) use store::{Room, Shelf, make_room};

use crate::audit::{Action, Actor, AuditError, AuditLog, Event, Outcome};
use crate::clock::Timestamp;
use crate::db::{Db, DbError, Transaction};
use crate::ids::UserId;
use crate::vault::{Aad, Scope, Sealed, Vault, VaultError};

/// Rows that are deleted in one transaction.
const EXPIRED_AT_ONCE_MAX: u32 = 1_000;

impl Shelf {
    /// Seals what is kept, bound to its row and its owner.
    pub(super) fn seal(
        self,
        vault: &Vault,
        (owner, row): (UserId, &str),
        kept: &impl Serialize,
    ) -> Result<Sealed, VaultError> {
        let text = serde_json::to_vec(kept).expect("texts, numbers and lists of them are JSON");
        self.with_aad(owner, row, |aad| vault.seal(Scope::Person(owner), aad, &text))
    }

    /// Opens what is kept; what was moved or changed does not open.
    pub(super) fn open<T: DeserializeOwned>(
        self,
        vault: &Vault,
        (owner, row): (UserId, &str),
        sealed: &Sealed,
    ) -> Result<T, VaultError> {
        let text =
            self.with_aad(owner, row, |aad| vault.open(Scope::Person(owner), aad, sealed))?;
        serde_json::from_slice(&text).map_err(|_| VaultError::CannotOpen)
    }

    fn with_aad<T>(self, owner: UserId, row: &str, work: impl FnOnce(&Aad<'_>) -> T) -> T {
        let owner = owner.to_string();
        work(&Aad { table: self.table, column: "content", row, owner: &owner })
    }

    /// Deletes what is as old as `before` or older, with a record of how many those were; says how many.
    pub(super) async fn expire<E>(
        self,
        (db, audit): (&Db, &AuditLog),
        before: Timestamp,
        (action, what): (Action, &'static str),
    ) -> Result<usize, E>
    where
        E: From<DbError> + From<AuditError> + Send + 'static,
    {
        let mut all = 0;
        loop {
            let audit = audit.clone();
            let delete = move |tx: &Transaction<'_>| -> Result<usize, E> {
                let count = store::expire(tx, self, before, EXPIRED_AT_ONCE_MAX)?;
                if count > 0 {
                    let event = Event::new(action, Outcome::Done, Actor::System);
                    audit.record_in(tx, event.with(what, count))?;
                }
                Ok(count)
            };
            let count = db.write(delete).await?;
            all += count;
            if count < EXPIRED_AT_ONCE_MAX as usize {
                return Ok(all);
            }
        }
    }
}
