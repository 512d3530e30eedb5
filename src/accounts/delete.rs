//! Deleting a person: their rows, and the key that opens what was theirs wherever a copy of it is.

use std::sync::Arc;

use super::people::{Reach, event};
use super::{AccountError, Accounts, store};
use crate::access::permission::{BuiltinRole, ManagePeople};
use crate::access::{Caller, Grant};
use crate::audit::Action;
use crate::db::Transaction;
use crate::ids::UserId;

impl Accounts {
    /// Deletes a person with their conversations, keys, sessions and links, and destroys their data
    /// key: what was sealed for them opens nowhere any more, but for backups of keys that were made
    /// before. Without a grant it is the operator at the console who deletes, who can do anything.
    pub(crate) async fn delete(
        &self,
        grant: Option<&Grant<ManagePeople>>,
        user: UserId,
    ) -> Result<(), AccountError> {
        let inner = &self.inner;
        let caller = match grant {
            Some(grant) => grant.caller().clone(),
            None => Caller::operator(user, &[BuiltinRole::Owner]),
        };
        let (by, binder, audit) = (caller.clone(), inner.binder.clone(), inner.audit.clone());
        let delete = move |tx: &Transaction<'_>| -> Result<(), AccountError> {
            let person = store::person(tx, &binder, user)?.ok_or(AccountError::NotFound)?;
            Reach::of(&by).covers(&person.roles)?;
            store::delete_person(tx, user)?;
            let had_no_say = person.is_disabled || !person.roles.contains(&BuiltinRole::Owner);
            if !had_no_say && store::owners(tx, &binder)? == 0 {
                return Err(AccountError::LastOwner);
            }
            audit.record_in(tx, event(Action::PersonDelete, &by).subject(user))?;
            Ok(())
        };
        let (registry, vault) = (Arc::clone(&inner.registry), inner.vault.clone());
        let deleted = move |(): &()| {
            registry.remove_person(user);
            // Not before the rows are gone, or a crash would leave rows that nobody can read; one
            // right here leaves a key, which the next start destroys.
            if let Err(error) = vault.shred_person(user) {
                tracing::error!(%user, cause = %error, "the key of a deleted person could not be destroyed; it will be at the next start");
            }
        };
        inner.changes.make(&caller, delete, deleted).await
    }

    /// Destroys the keys of deleted people that a crash left, by the record of their deletion.
    pub(super) fn shred_deleted(&self, deleted: Vec<UserId>) -> Result<(), AccountError> {
        for user in deleted {
            self.inner.vault.shred_person(user)?;
        }
        Ok(())
    }
}
