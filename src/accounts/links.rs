//! One-time links: set-up of the first owner, invitations, resets.

use std::sync::Arc;

use crate::db::Transaction;

use super::sessions::{Begun, Others};
use super::store::{self, LinkKind, PersonRow};
use super::{AccountError, Accounts, DisplayName, Origin, Username, password};
use crate::access::permission::BuiltinRole;
use crate::access::token::{self, TokenKind};
use crate::audit::{Action, Actor, Event, Outcome};
use crate::ids::UserId;
use crate::secret::SecretText;
use crate::vault::{BlindPurpose, Scope};

/// Who the first owner is to be.
pub(crate) struct NewOwner {
    /// The sign-in name.
    pub(crate) username: Username,
    /// The name to be shown by.
    pub(crate) display_name: DisplayName,
    /// The password.
    pub(crate) password: SecretText,
}

impl Accounts {
    /// Whether the server has an owner.
    pub(crate) async fn is_set_up(&self) -> Result<bool, AccountError> {
        Ok(self.inner.db.read(store::owners).await? > 0)
    }

    /// Makes the set-up link's secret; an earlier one stops working.
    pub(crate) async fn make_setup_secret(&self) -> Result<SecretText, AccountError> {
        if self.is_set_up().await? {
            return Err(AccountError::AlreadySetUp);
        }
        let inner = &self.inner;
        let (secret, hash) = self.new_link()?;
        let now = inner.clock.now();
        let expires_at = now.plus(inner.settings.setup_link);
        let audit = inner.audit.clone();
        let event = Event::new(Action::InvitationCreate, Outcome::Done, Actor::System)
            .with("kind", "setup");
        inner
            .db
            .write(move |tx| -> Result<(), AccountError> {
                let id = store::insert_link(tx, LinkKind::Setup, hash, None, now, expires_at)?;
                audit.record_in(tx, event.subject(id))?;
                Ok(())
            })
            .await?;
        Ok(secret)
    }

    /// Redeems the set-up link: makes the owner and signs them in.
    pub(crate) async fn redeem_setup(
        &self,
        secret: &str,
        owner: NewOwner,
        origin: &Origin,
    ) -> Result<Begun, AccountError> {
        let inner = &self.inner;
        let (hash, now) = (self.link_hash(secret)?, inner.clock.now());
        let works =
            move |db: &rusqlite::Connection| store::link_works(db, LinkKind::Setup, &hash, now);
        // Before the costly hash: a guesser is turned away for the price of a look-up.
        if inner.db.read(works).await?.is_none() {
            let event = Event::new(Action::SetupRedeem, Outcome::Denied, Actor::Anonymous);
            inner.audit.record(origin.mark(event)).await?;
            return Err(AccountError::LinkExpired);
        }
        let use_link = move |tx: &Transaction<'_>| store::use_link(tx, LinkKind::Setup, &hash, now);
        let user = self.make_owner(owner, origin, use_link).await?;
        self.begin_session(user, origin, |_| Ok(Others::Stay)).await
    }

    /// Makes the first owner without a link, for the operator at the console.
    pub(crate) async fn init_owner(&self, owner: NewOwner) -> Result<UserId, AccountError> {
        self.make_owner(owner, &Origin::console(), |_| Ok(())).await
    }

    async fn make_owner(
        &self,
        owner: NewOwner,
        origin: &Origin,
        first: impl FnOnce(&Transaction<'_>) -> Result<(), AccountError> + Send + 'static,
    ) -> Result<UserId, AccountError> {
        let inner = &self.inner;
        let NewOwner { username, display_name, password: raw } = owner;
        let hash = self.accept_and_hash(&raw, &username, display_name.as_str()).await?;
        let row =
            self.new_person(&username, &display_name, vec![BuiltinRole::Owner], Some(hash))?;
        let entry = row.entry();
        let (id, audit) = (row.id, inner.audit.clone());
        let event = Event::new(Action::SetupRedeem, Outcome::Done, Actor::Person(id)).subject(id);
        let event = origin.mark(event);
        let add = move |tx: &Transaction<'_>| -> Result<(), AccountError> {
            first(tx)?;
            if store::owners(tx)? > 0 {
                return Err(AccountError::AlreadySetUp);
            }
            store::insert_person(tx, &row)?;
            audit.record_in(tx, event)?;
            Ok(())
        };
        let registry = Arc::clone(&inner.registry);
        let outcome = inner.db.write_then(add, move |()| registry.put_person(id, entry)).await;
        self.settle_new_person(id, outcome)?;
        Ok(id)
    }

    /// Makes the secret of an invitation or reset for a person, inside `tx`'s transaction.
    pub(super) fn new_link(&self) -> Result<(SecretText, [u8; 32]), AccountError> {
        let secret = token::make(TokenKind::Link).map_err(|_| AccountError::Random)?;
        let hash = self.inner.vault.blind(BlindPurpose::Link, secret.expose().as_bytes())?;
        Ok((secret, hash))
    }

    /// Redeems an invitation or reset: sets the password, ends old sessions, signs in.
    pub(crate) async fn redeem_invitation(
        &self,
        secret: &str,
        raw: &SecretText,
        display_name: Option<DisplayName>,
        origin: &Origin,
    ) -> Result<Begun, AccountError> {
        let inner = &self.inner;
        let (hash, now) = (self.link_hash(secret)?, inner.clock.now());
        let works = move |db: &rusqlite::Connection| {
            store::link_works(db, LinkKind::Invitation, &hash, now)
        };
        let Some(Some(user)) = inner.db.read(works).await? else {
            let event = Event::new(Action::InvitationRedeem, Outcome::Denied, Actor::Anonymous);
            inner.audit.record(origin.mark(event)).await?;
            return Err(AccountError::LinkExpired);
        };
        let row = self.person_row(user).await?;
        if row.is_disabled {
            return Err(AccountError::LinkExpired);
        }
        let username = Username::parse(&row.username)?;
        let shown = display_name.unwrap_or(DisplayName::parse(&self.display_name(&row))?);
        let password = self.accept_and_hash(raw, &username, shown.as_str()).await?;
        let id = user.to_string();
        let place = store::display_name_place(&id);
        let sealed = inner.vault.seal(Scope::Person(user), &place, shown.as_str().as_bytes())?;
        let audit = inner.audit.clone();
        let event =
            Event::new(Action::InvitationRedeem, Outcome::Done, Actor::Person(user)).subject(user);
        let event = origin.mark(event);
        let set = move |tx: &Transaction<'_>| -> Result<Others, AccountError> {
            store::use_link(tx, LinkKind::Invitation, &hash, now)?;
            store::put_password(tx, user, &password)?;
            store::put_display_name(tx, user, &sealed)?;
            audit.record_in(tx, event)?;
            Ok(Others::End)
        };
        self.begin_session(user, origin, set).await
    }

    fn link_hash(&self, secret: &str) -> Result<[u8; 32], AccountError> {
        if !token::is_well_formed(TokenKind::Link, secret) {
            return Err(AccountError::LinkExpired);
        }
        Ok(self.inner.vault.blind(BlindPurpose::Link, secret.as_bytes())?)
    }

    pub(super) async fn accept_and_hash(
        &self,
        raw: &SecretText,
        username: &Username,
        display_name: &str,
    ) -> Result<String, AccountError> {
        let settings = &self.inner.settings;
        let context = [username.as_str(), display_name, &settings.organisation, "strongroom"];
        let accepted = password::accept(raw, settings.password_chars_min, &context)?;
        self.inner.hasher.hash(accepted).await
    }

    /// A new person's row, with the data key that seals it.
    pub(super) fn new_person(
        &self,
        username: &Username,
        display_name: &DisplayName,
        roles: Vec<BuiltinRole>,
        password: Option<String>,
    ) -> Result<PersonRow, AccountError> {
        let inner = &self.inner;
        let id = UserId::new();
        // The key first: a row without its key could not be read, a key without a row is harmless.
        inner.vault.add_person(id)?;
        let text = id.to_string();
        let place = store::display_name_place(&text);
        let display_name =
            inner.vault.seal(Scope::Person(id), &place, display_name.as_str().as_bytes())?;
        let created_at = inner.clock.now();
        let username = username.as_str().to_owned();
        Ok(PersonRow {
            id,
            username,
            display_name,
            password,
            is_disabled: false,
            created_at,
            roles,
        })
    }

    /// Takes a new person's key away again where their row was not kept.
    pub(super) fn settle_new_person(
        &self,
        id: UserId,
        outcome: Result<(), AccountError>,
    ) -> Result<(), AccountError> {
        if outcome.is_err() && self.inner.vault.shred_person(id).is_err() {
            tracing::warn!(user = %id, "the key of a person who was not kept could not be removed");
        }
        outcome
    }
}
