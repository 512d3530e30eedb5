//! What people do with their own account: another password, another name.

use std::sync::Arc;

use super::password::{self, Queue};
use super::people::event;
use super::store;
use super::throttle::{self, Attempt, Counted};
use super::{AccountError, Accounts, DisplayName, Username};
use crate::access::SignedIn;
use crate::audit::{Action, Event, Outcome};
use crate::db::Transaction;
use crate::secret::SecretText;
use crate::vault::Scope;

impl Accounts {
    /// Changes the caller's password; their other sessions and every link to their account end.
    /// Whoever has somebody's open browser is slowed down in guessing as at the sign-in page.
    pub(crate) async fn change_password(
        &self,
        signed_in: &SignedIn,
        current: &SecretText,
        new: &SecretText,
    ) -> Result<(), AccountError> {
        let (inner, caller) = (&self.inner, signed_in.caller());
        let _turn = inner.hasher.turn(caller.user)?;
        let row = self.person_row(caller.user).await?;
        let username = Username::parse(&row.username)?;
        let new = self.accept(new, &username, &self.display_name(&row))?;
        let attempt = Attempt::at_password(&inner.vault, username.as_str(), caller.address)?;
        let counted = self.count(attempt).await?;
        let checked = self.verify_then_hash(current, row.password.clone(), new).await;
        let hash = match checked {
            Ok(Some(hash)) => hash,
            Ok(None) => {
                let denied = Event::new(Action::PasswordChange, Outcome::Denied, caller.actor());
                inner.audit.record(denied.from_request(caller.address, caller.request)).await?;
                return Err(AccountError::WrongCredentials);
            }
            Err(error) => return Err(self.not_made(counted, error).await),
        };
        let (user, session, now) = (caller.user, caller.session(), inner.clock.steady());
        let (binder, audit) = (inner.binder.clone(), inner.audit.clone());
        let event = event(Action::PasswordChange, caller).subject(user);
        let change = move |tx: &Transaction<'_>| -> Result<(), AccountError> {
            let mut person = store::person(tx, &binder, user)?.ok_or(AccountError::NotFound)?;
            // It was checked outside the transaction; it may have been changed since.
            if person.password != row.password {
                return Err(AccountError::WrongCredentials);
            }
            person.password = Some(hash);
            store::put_person(tx, &binder, &person)?;
            store::delete_links(tx, Some(user))?;
            store::delete_sessions(tx, user, session)?;
            throttle::succeed(tx, &attempt, &counted, now)?;
            audit.record_in(tx, event)?;
            Ok(())
        };
        let registry = Arc::clone(&inner.registry);
        let changed = move |(): &()| registry.remove_sessions_of(user, session);
        inner.changes.make(caller, change, changed).await
    }

    /// The hash of the new password, where the current one is right.
    async fn verify_then_hash(
        &self,
        current: &SecretText,
        known: Option<String>,
        new: SecretText,
    ) -> Result<Option<String>, AccountError> {
        let hasher = &self.inner.hasher;
        if !hasher.verify(Queue::Other, current, known).await? {
            return Ok(None);
        }
        hasher.hash(new).await.map(Some)
    }

    /// Counts an attempt, or refuses it.
    async fn count(&self, attempt: Attempt) -> Result<Counted, AccountError> {
        let now = self.inner.clock.steady();
        self.inner.db.write(move |tx| throttle::begin(tx, &attempt, now)).await
    }

    /// Takes back what was counted for an attempt that could not be made: a server that is busy is
    /// nobody's failure.
    pub(super) async fn not_made(&self, counted: Counted, error: AccountError) -> AccountError {
        let take_back = self.inner.db.write(move |tx| throttle::take_back(tx, &counted));
        if let Err(cause) = take_back.await {
            tracing::warn!(cause = %cause, "an attempt that was not made stays counted");
        }
        error
    }

    /// A new password in the form that is hashed, if it is accepted.
    pub(super) fn accept(
        &self,
        raw: &SecretText,
        username: &Username,
        display_name: &str,
    ) -> Result<SecretText, AccountError> {
        let settings = &self.inner.settings;
        let context = [username.as_str(), display_name, &settings.organisation, "strongroom"];
        password::accept(raw, settings.password_chars_min, &context)
    }

    /// Changes the name that the caller is shown by.
    pub(crate) async fn rename(
        &self,
        signed_in: &SignedIn,
        name: DisplayName,
    ) -> Result<(), AccountError> {
        let (inner, caller) = (&self.inner, signed_in.caller());
        let user = caller.user;
        let id = user.to_string();
        let place = store::display_name_place(&id);
        let sealed = inner.vault.seal(Scope::Person(user), &place, name.as_str().as_bytes())?;
        let (audit, event) =
            (inner.audit.clone(), event(Action::PersonUpdate, caller).subject(user));
        let change = move |tx: &Transaction<'_>| -> Result<(), AccountError> {
            store::put_display_name(tx, user, &sealed)?;
            audit.record_in(tx, event)?;
            Ok(())
        };
        inner.changes.make(caller, change, |(): &()| {}).await
    }
}
