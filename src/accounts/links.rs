//! One-time links: set-up of the first owner, invitations, resets.

use std::sync::Arc;

use super::people::Reach;
use super::sessions::{Begun, Others};
use super::store::{self, Link, LinkKind, PersonRow};
use super::throttle::{self, Attempt};
use super::{AccountError, Accounts, DisplayName, Origin, Username};
use crate::access::Caller;
use crate::access::binding::Binder;
use crate::access::permission::BuiltinRole;
use crate::access::refusals::Source;
use crate::access::registry::SecretHash;
use crate::access::token::{self, TokenKind};
use crate::audit::{Action, Actor, Event, Outcome};
use crate::db::Transaction;
use crate::ids::{InvitationId, UserId};
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
        let binder = self.inner.binder.clone();
        Ok(self.inner.db.read(move |db| store::owners(db, &binder)).await? > 0)
    }

    /// Makes the set-up link's secret; an earlier one stops working.
    pub(crate) async fn make_setup_secret(&self) -> Result<SecretText, AccountError> {
        if self.is_set_up().await? {
            return Err(AccountError::AlreadySetUp);
        }
        let inner = &self.inner;
        let (secret, secret_hash) = self.new_secret()?;
        let created_at = inner.clock.now();
        let link = Link {
            id: InvitationId::new(),
            kind: LinkKind::Setup,
            secret_hash,
            user: None,
            made_by: None,
            created_at,
            expires_at: created_at.plus(inner.settings.setup_link),
        };
        let (binder, audit) = (inner.binder.clone(), inner.audit.clone());
        let event = Event::new(Action::InvitationCreate, Outcome::Done, Actor::System)
            .with("kind", "setup")
            .subject(link.id);
        let make = move |tx: &Transaction<'_>| -> Result<(), AccountError> {
            store::insert_link(tx, &binder, &link)?;
            audit.record_in(tx, event)?;
            Ok(())
        };
        inner.db.write(make).await?;
        Ok(secret)
    }

    /// A link with which a person chooses a password, and its secret. It works as long as whoever
    /// made it could still make it; without one, it is the operator at the console who makes it.
    pub(super) fn new_invitation(
        &self,
        user: UserId,
        by: Option<&Caller>,
    ) -> Result<(SecretText, Link), AccountError> {
        let (secret, secret_hash) = self.new_secret()?;
        let created_at = self.inner.clock.now();
        let link = Link {
            id: InvitationId::new(),
            kind: LinkKind::Invitation,
            secret_hash,
            user: Some(user),
            made_by: by.map(|caller| caller.user),
            created_at,
            expires_at: created_at.plus(self.inner.settings.invitation),
        };
        Ok((secret, link))
    }

    /// Redeems the set-up link: makes the owner and signs them in.
    pub(crate) async fn redeem_setup(
        &self,
        secret: &str,
        owner: NewOwner,
        origin: &Origin,
    ) -> Result<Begun, AccountError> {
        // Before the costly hash: a guesser is turned away for the price of a look-up.
        let link = self.find_link((LinkKind::Setup, secret), Action::SetupRedeem, origin).await?;
        let (binder, now) = (self.inner.binder.clone(), self.inner.clock.now());
        let use_link = move |tx: &Transaction<'_>| {
            let known = (LinkKind::Setup, link.secret_hash);
            store::link(tx, &binder, known, now)?.ok_or(AccountError::LinkExpired)?;
            store::delete_links(tx, None)
        };
        let user = self.make_owner(owner, origin, use_link).await?;
        self.begin_session(user, origin, |_| Ok(Others::Stay)).await
    }

    /// The link with this secret. Attempts at links that do not work are counted against the
    /// address, and refused before the look-up where there were many.
    async fn find_link(
        &self,
        (kind, secret): (LinkKind, &str),
        action: Action,
        origin: &Origin,
    ) -> Result<Link, AccountError> {
        let inner = &self.inner;
        if !token::is_well_formed(TokenKind::Link, secret) {
            return Err(AccountError::LinkExpired);
        }
        let hash = inner.vault.blind(BlindPurpose::Link, secret.as_bytes())?;
        let attempt = Attempt::at_link(&inner.vault, origin.address)?;
        let (now, steady, binder) = (inner.clock.now(), inner.clock.steady(), inner.binder.clone());
        let find = move |tx: &Transaction<'_>| -> Result<Option<Link>, AccountError> {
            let counted = throttle::begin(tx, &attempt, steady)?;
            let found = store::link(tx, &binder, (kind, hash), now)?;
            if found.is_some() {
                throttle::take_back(tx, &counted)?;
            }
            Ok(found)
        };
        if let Some(link) = inner.db.write(find).await? {
            return Ok(link);
        }
        let event = origin.mark(Event::new(action, Outcome::Denied, Actor::Anonymous));
        inner.refusals.record(event, Source::Address(origin.address)).await?;
        Err(AccountError::LinkExpired)
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
        let accepted = self.accept(&raw, &username, display_name.as_str())?;
        let hash = inner.hasher.hash(accepted).await?;
        let row =
            self.new_person(&username, &display_name, vec![BuiltinRole::Owner], Some(hash))?;
        let entry = row.entry();
        let (id, binder, audit) = (row.id, inner.binder.clone(), inner.audit.clone());
        let event = Event::new(Action::SetupRedeem, Outcome::Done, Actor::Person(id)).subject(id);
        let event = origin.mark(event);
        let add = move |tx: &Transaction<'_>| -> Result<(), AccountError> {
            first(tx)?;
            if store::owners(tx, &binder)? > 0 {
                return Err(AccountError::AlreadySetUp);
            }
            store::insert_person(tx, &binder, &row)?;
            audit.record_in(tx, event)?;
            Ok(())
        };
        let registry = Arc::clone(&inner.registry);
        let outcome = inner.db.write_then(add, move |()| registry.put_person(id, entry)).await;
        self.settle_new_person(id, outcome)?;
        Ok(id)
    }

    fn new_secret(&self) -> Result<(SecretText, SecretHash), AccountError> {
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
        let named = (LinkKind::Invitation, secret);
        let link = self.find_link(named, Action::InvitationRedeem, origin).await?;
        let user = link.user.ok_or(AccountError::LinkExpired)?;
        let row = self.person_row(user).await?;
        if row.is_disabled {
            return Err(AccountError::LinkExpired);
        }
        let username = Username::parse(&row.username)?;
        let shown = display_name.unwrap_or(DisplayName::parse(&self.display_name(&row))?);
        let accepted = self.accept(raw, &username, shown.as_str())?;
        let password = inner.hasher.hash(accepted).await?;
        let id = user.to_string();
        let place = store::display_name_place(&id);
        let sealed = inner.vault.seal(Scope::Person(user), &place, shown.as_str().as_bytes())?;
        let (binder, audit, now) = (inner.binder.clone(), inner.audit.clone(), inner.clock.now());
        let event =
            Event::new(Action::InvitationRedeem, Outcome::Done, Actor::Person(user)).subject(user);
        let event = origin.mark(event);
        let set = move |tx: &Transaction<'_>| -> Result<Others, AccountError> {
            let known = (LinkKind::Invitation, link.secret_hash);
            let link = store::link(tx, &binder, known, now)?.ok_or(AccountError::LinkExpired)?;
            let mut person = opened_by(tx, &binder, &link)?.ok_or(AccountError::LinkExpired)?;
            person.password = Some(password);
            store::put_person(tx, &binder, &person)?;
            store::put_display_name(tx, user, &sealed)?;
            store::delete_links(tx, Some(user))?;
            audit.record_in(tx, event)?;
            Ok(Others::End)
        };
        self.begin_session(user, origin, set).await
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

/// The person whose account a link opens: one that is on, and that whoever made the link may still
/// reach.
fn opened_by(
    tx: &Transaction<'_>,
    binder: &Binder,
    link: &Link,
) -> Result<Option<PersonRow>, AccountError> {
    let is_on = |person: &PersonRow| !person.is_disabled;
    let Some(user) = link.user else { return Ok(None) };
    let Some(person) = store::person(tx, binder, user)?.filter(is_on) else { return Ok(None) };
    // Made at the console, by an operator who can do anything.
    let Some(maker) = link.made_by else { return Ok(Some(person)) };
    let Some(maker) = store::person(tx, binder, maker)?.filter(is_on) else { return Ok(None) };
    let reach = Reach::of_person(&maker);
    let may = reach.manages_people() && reach.covers(&person.roles).is_ok();
    Ok(may.then_some(person))
}
