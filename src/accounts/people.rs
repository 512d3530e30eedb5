//! People: who there is, and what administrators do with accounts.

use std::sync::Arc;

use crate::db::Transaction;

use super::links::NewOwner;
use super::store::{self, LinkKind, PersonRow};
use super::{AccountError, Accounts, DisplayName, Username};
use crate::access::permission::{BuiltinRole, ManagePeople, ReadPeople};
use crate::access::{Caller, Grant, SignedIn};
use crate::audit::{Action, Event, Outcome};
use crate::clock::Timestamp;
use crate::ids::UserId;
use crate::secret::SecretText;
use crate::vault::Scope;

/// A person as others see them.
#[derive(Clone, Debug)]
pub(crate) struct PersonView {
    /// The person.
    pub(crate) id: UserId,
    /// The sign-in name.
    pub(crate) username: String,
    /// The name to be shown by.
    pub(crate) display_name: String,
    /// The roles held.
    pub(crate) roles: Vec<BuiltinRole>,
    /// Whether the account is switched off.
    pub(crate) is_disabled: bool,
    /// Whether an invitation is still to be redeemed.
    pub(crate) is_invited: bool,
    /// When the account was made.
    pub(crate) created_at: Timestamp,
}

/// What is to be changed about a person.
#[derive(Clone, Debug, Default)]
pub(crate) struct PersonChange {
    /// New roles.
    pub(crate) roles: Option<Vec<String>>,
    /// Whether the account is switched off.
    pub(crate) is_disabled: Option<bool>,
}

impl Accounts {
    fn view(&self, row: &PersonRow) -> PersonView {
        PersonView {
            id: row.id,
            username: row.username.clone(),
            display_name: self.display_name(row),
            roles: row.roles.clone(),
            is_disabled: row.is_disabled,
            is_invited: row.password.is_none(),
            created_at: row.created_at,
        }
    }

    /// The person with this id, for themselves.
    pub(crate) async fn me(&self, user: UserId) -> Result<PersonView, AccountError> {
        Ok(self.view(&self.person_row(user).await?))
    }

    /// Everybody.
    pub(crate) async fn people(
        &self,
        grant: &Grant<ReadPeople>,
    ) -> Result<Vec<PersonView>, AccountError> {
        self.inner.audit.record(event(Action::PeopleRead, grant.caller())).await?;
        let rows = self.inner.db.read(store::people).await?;
        Ok(rows.iter().map(|row| self.view(row)).collect())
    }

    /// The sign-in names of everybody, for the audit log's reader.
    pub(crate) fn username(&self, user: UserId) -> Option<String> {
        self.inner.registry.person(user).map(|person| person.username)
    }

    /// Changes the caller's password; their other sessions end.
    pub(crate) async fn change_password(
        &self,
        signed_in: &SignedIn,
        current: &SecretText,
        new: &SecretText,
    ) -> Result<(), AccountError> {
        let (inner, caller) = (&self.inner, signed_in.caller());
        let row = self.person_row(caller.user).await?;
        if !inner.hasher.verify(current, row.password.clone()).await? {
            let denied = Event::new(Action::PasswordChange, Outcome::Denied, caller.actor());
            inner.audit.record(denied.from_request(caller.address, caller.request)).await?;
            return Err(AccountError::WrongCredentials);
        }
        let username = Username::parse(&row.username)?;
        let hash = self.accept_and_hash(new, &username, &self.display_name(&row)).await?;
        let (user, session, audit) = (caller.user, caller.session(), inner.audit.clone());
        let event = event(Action::PasswordChange, caller).subject(user);
        let change = move |tx: &Transaction<'_>| -> Result<(), AccountError> {
            store::put_password(tx, user, &hash)?;
            store::delete_sessions(tx, user, session)?;
            audit.record_in(tx, event)?;
            Ok(())
        };
        let registry = Arc::clone(&inner.registry);
        let changed = move |(): &()| registry.remove_sessions_of(user, session);
        inner.changes.make(caller, change, changed).await
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

    /// Makes an account, and the one-time link with which its person chooses a password.
    pub(crate) async fn invite(
        &self,
        grant: &Grant<ManagePeople>,
        username: &Username,
        display_name: &DisplayName,
        roles: &[String],
    ) -> Result<(PersonView, SecretText), AccountError> {
        let (inner, caller) = (&self.inner, grant.caller());
        let roles = parse_roles(roles)?;
        guard_reach(caller, &roles)?;
        let row = self.new_person(username, display_name, roles, None)?;
        let (id, view, entry) = (row.id, self.view(&row), row.entry());
        let (secret, hash) = self.new_link()?;
        let now = inner.clock.now();
        let (expires_at, audit) = (now.plus(inner.settings.invitation), inner.audit.clone());
        let names: Vec<&str> = view.roles.iter().map(|role| role.name()).collect();
        let event = event(Action::PersonCreate, caller).subject(id).with("roles", names);
        let add = move |tx: &Transaction<'_>| -> Result<(), AccountError> {
            store::insert_person(tx, &row)?;
            store::insert_link(tx, LinkKind::Invitation, hash, Some(id), now, expires_at)?;
            audit.record_in(tx, event)?;
            Ok(())
        };
        let registry = Arc::clone(&inner.registry);
        let outcome =
            inner.changes.make(caller, add, move |(): &()| registry.put_person(id, entry)).await;
        self.settle_new_person(id, outcome)?;
        Ok((view, secret))
    }

    /// Starts a reset: the person chooses the new password, not the administrator.
    pub(crate) async fn reset(
        &self,
        grant: &Grant<ManagePeople>,
        user: UserId,
    ) -> Result<SecretText, AccountError> {
        let (inner, caller) = (&self.inner, grant.caller());
        let (secret, hash) = self.new_link()?;
        let now = inner.clock.now();
        let (expires_at, audit) = (now.plus(inner.settings.invitation), inner.audit.clone());
        let (by, event) = (caller.clone(), event(Action::PersonReset, caller).subject(user));
        let start = move |tx: &Transaction<'_>| -> Result<(), AccountError> {
            let row = store::person(tx, user)?.ok_or(AccountError::NotFound)?;
            guard_reach(&by, &row.roles)?;
            store::insert_link(tx, LinkKind::Invitation, hash, Some(user), now, expires_at)?;
            audit.record_in(tx, event)?;
            Ok(())
        };
        inner.changes.make(caller, start, |(): &()| {}).await?;
        Ok(secret)
    }

    /// Changes roles, or switches an account off or on. What runs on rights that are gone ends.
    pub(crate) async fn change(
        &self,
        grant: &Grant<ManagePeople>,
        user: UserId,
        change: PersonChange,
    ) -> Result<PersonView, AccountError> {
        let (inner, caller) = (&self.inner, grant.caller().clone());
        let roles = change.roles.as_deref().map(parse_roles).transpose()?;
        let audit = inner.audit.clone();
        let write = move |tx: &Transaction<'_>| -> Result<PersonRow, AccountError> {
            let before = store::person(tx, user)?.ok_or(AccountError::NotFound)?;
            guard_reach(&caller, &before.roles)?;
            if let Some(roles) = &roles {
                guard_reach(&caller, roles)?;
                store::put_roles(tx, user, roles)?;
                let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
                let changed = event(Action::PersonRoles, &caller).subject(user);
                audit.record_in(tx, changed.with("roles", names))?;
            }
            if let Some(is_disabled) = change.is_disabled {
                store::put_disabled(tx, user, is_disabled)?;
                if is_disabled {
                    store::delete_sessions(tx, user, None)?;
                }
                let action = if is_disabled { Action::PersonDisable } else { Action::PersonEnable };
                audit.record_in(tx, event(action, &caller).subject(user))?;
            }
            if store::owners(tx)? == 0 {
                return Err(AccountError::LastOwner);
            }
            store::person(tx, user)?.ok_or(AccountError::NotFound)
        };
        let registry = Arc::clone(&inner.registry);
        let changed = move |row: &PersonRow| {
            if row.is_disabled {
                registry.remove_sessions_of(user, None);
            }
            registry.put_person(user, row.entry());
        };
        let row = inner.changes.make(grant.caller(), write, changed).await?;
        Ok(self.view(&row))
    }

    /// Everybody, for the operator at the console.
    pub(crate) fn people_at_console(&self) -> Result<Vec<PersonView>, AccountError> {
        let rows = self.inner.db.read_blocking(store::people)?;
        Ok(rows.iter().map(|row| self.view(row)).collect())
    }
}

impl NewOwner {
    /// Reads the parts of a new owner; without a display name, the sign-in name stands for it.
    pub(crate) fn parse(
        username: &str,
        display_name: Option<&str>,
        password: SecretText,
    ) -> Result<Self, AccountError> {
        let username = Username::parse(username)?;
        let display_name = match display_name.map(str::trim).filter(|name| !name.is_empty()) {
            Some(name) => DisplayName::parse(name)?,
            None => DisplayName::parse(username.as_str())?,
        };
        Ok(Self { username, display_name, password })
    }
}

fn event(action: Action, caller: &Caller) -> Event {
    Event::new(action, Outcome::Done, caller.actor()).from_request(caller.address, caller.request)
}

fn parse_roles(names: &[String]) -> Result<Vec<BuiltinRole>, AccountError> {
    let unknown = |name: &String| {
        let shown = name.chars().filter(char::is_ascii_graphic).take(32).collect();
        AccountError::UnknownRole(shown)
    };
    let mut roles = Vec::new();
    for name in names {
        let role = BuiltinRole::parse(name).ok_or_else(|| unknown(name))?;
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    if roles.is_empty() { Err(AccountError::NoRole) } else { Ok(roles) }
}

/// Nobody gives out, takes away or resets what they do not hold themselves: who manages people
/// could otherwise make themselves an owner or an auditor.
fn guard_reach(caller: &Caller, roles: &[BuiltinRole]) -> Result<(), AccountError> {
    let within = |role: &BuiltinRole| {
        let permissions = role.permissions();
        permissions.and(caller.permissions) == permissions
    };
    let is_owner = caller.roles.iter().any(|role| role == BuiltinRole::Owner.name());
    let needs_owner = roles.contains(&BuiltinRole::Owner) && !is_owner;
    match roles.iter().find(|role| !within(role)) {
        None if !needs_owner => Ok(()),
        None => Err(AccountError::BeyondReach(BuiltinRole::Owner)),
        Some(role) => Err(AccountError::BeyondReach(*role)),
    }
}
