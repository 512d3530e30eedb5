//! What the operator does with accounts at the console, by sign-in name: the same as administrators,
//! without one who is signed in.

use std::time::Duration;

use super::store::{self, PersonRow};
use super::{AccountError, Accounts};
use crate::audit::{Action, Actor, Event, Outcome};
use crate::db::{Connection, Transaction};
use crate::secret::SecretText;

/// A one-time link that was made at the console.
pub(crate) struct ConsoleReset {
    /// The link's secret.
    pub(crate) secret: SecretText,
    /// For how long it works.
    pub(crate) lives: Duration,
    /// Whether the account is switched off, so that the link does not work yet.
    pub(crate) is_disabled: bool,
}

impl Accounts {
    /// Starts a reset in nobody's name: its link works whatever becomes of administrators.
    pub(crate) async fn reset_at_console(
        &self,
        username: &str,
    ) -> Result<ConsoleReset, AccountError> {
        let inner = &self.inner;
        let user = self.named(username).await?.id;
        let (secret, link) = self.new_invitation(user, None)?;
        let (binder, audit) = (inner.binder.clone(), inner.audit.clone());
        let event = Event::new(Action::PersonReset, Outcome::Done, Actor::System).subject(user);
        let start = move |tx: &Transaction<'_>| -> Result<bool, AccountError> {
            let person = store::person(tx, &binder, user)?.ok_or(AccountError::NotFound)?;
            store::insert_link(tx, &binder, &link)?;
            audit.record_in(tx, event)?;
            Ok(person.is_disabled)
        };
        let is_disabled = inner.db.write(start).await?;
        Ok(ConsoleReset { secret, lives: inner.settings.invitation, is_disabled })
    }

    /// Deletes a person and everything that is theirs.
    pub(crate) async fn delete_at_console(&self, username: &str) -> Result<(), AccountError> {
        let user = self.named(username).await?.id;
        self.delete(None, user).await
    }

    async fn named(&self, username: &str) -> Result<PersonRow, AccountError> {
        let (binder, name) = (self.inner.binder.clone(), username.to_owned());
        let read = move |db: &Connection| -> Result<_, AccountError> {
            store::person_by_name(db, &binder, &name)?.ok_or(AccountError::NotFound)
        };
        self.inner.db.read(read).await
    }
}
