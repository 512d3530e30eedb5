//! People: who there is, and what administrators do with accounts.

use std::sync::Arc;

use crate::db::Transaction;

use super::links::NewOwner;
use super::store::{self, PersonRow};
use super::{AccountError, Accounts, DisplayName, Username};
use crate::access::permission::{BuiltinRole, ManagePeople, Permission, PermissionSet, ReadPeople};
use crate::access::{Caller, Grant};
use crate::audit::{Action, Event, Outcome};
use crate::clock::Timestamp;
use crate::ids::UserId;
use crate::secret::SecretText;

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
        let rows = self.everybody().await?;
        Ok(rows.iter().map(|row| self.view(row)).collect())
    }

    async fn everybody(&self) -> Result<Vec<PersonRow>, AccountError> {
        let binder = self.inner.binder.clone();
        self.inner.db.read(move |db| store::people(db, &binder)).await
    }

    /// The sign-in names of everybody, for the audit log's reader.
    pub(crate) fn username(&self, user: UserId) -> Option<String> {
        self.inner.registry.person(user).map(|person| person.username)
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
        Reach::of(caller).covers(&roles)?;
        let row = self.new_person(username, display_name, roles, None)?;
        let (id, view, entry) = (row.id, self.view(&row), row.entry());
        let (secret, link) = self.new_invitation(id, Some(caller))?;
        let (binder, audit) = (inner.binder.clone(), inner.audit.clone());
        let names: Vec<&str> = view.roles.iter().map(|role| role.name()).collect();
        let event = event(Action::PersonCreate, caller).subject(id).with("roles", names);
        let add = move |tx: &Transaction<'_>| -> Result<(), AccountError> {
            store::insert_person(tx, &binder, &row)?;
            store::insert_link(tx, &binder, &link)?;
            audit.record_in(tx, event)?;
            Ok(())
        };
        let registry = Arc::clone(&inner.registry);
        let added = move |(): &()| registry.put_person(id, entry);
        let outcome = inner.changes.make(caller, add, added).await;
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
        let (secret, link) = self.new_invitation(user, Some(caller))?;
        let (binder, audit) = (inner.binder.clone(), inner.audit.clone());
        let (by, event) = (caller.clone(), event(Action::PersonReset, caller).subject(user));
        let start = move |tx: &Transaction<'_>| -> Result<(), AccountError> {
            let row = store::person(tx, &binder, user)?.ok_or(AccountError::NotFound)?;
            Reach::of(&by).covers(&row.roles)?;
            store::insert_link(tx, &binder, &link)?;
            audit.record_in(tx, event)?;
            Ok(())
        };
        inner.changes.make(caller, start, |(): &()| {}).await?;
        Ok(secret)
    }

    /// Changes roles, or switches an account off or on. What runs on rights that are gone ends, and
    /// so does every link to the account: whoever made it could not make it now.
    pub(crate) async fn change(
        &self,
        grant: &Grant<ManagePeople>,
        user: UserId,
        change: PersonChange,
    ) -> Result<PersonView, AccountError> {
        let (inner, caller) = (&self.inner, grant.caller().clone());
        let roles = change.roles.as_deref().map(parse_roles).transpose()?;
        let (binder, audit) = (inner.binder.clone(), inner.audit.clone());
        let write = move |tx: &Transaction<'_>| -> Result<PersonRow, AccountError> {
            let mut row = store::person(tx, &binder, user)?.ok_or(AccountError::NotFound)?;
            let reach = Reach::of(&caller);
            reach.covers(&row.roles)?;
            if let Some(roles) = roles {
                reach.covers(&roles)?;
                let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
                let changed = event(Action::PersonRoles, &caller).subject(user);
                audit.record_in(tx, changed.with("roles", names))?;
                row.roles = roles;
                store::delete_links(tx, Some(user))?;
            }
            if let Some(is_disabled) = change.is_disabled {
                row.is_disabled = is_disabled;
                if is_disabled {
                    store::delete_sessions(tx, user, None)?;
                    store::delete_links(tx, Some(user))?;
                }
                let action = if is_disabled { Action::PersonDisable } else { Action::PersonEnable };
                audit.record_in(tx, event(action, &caller).subject(user))?;
            }
            store::put_person(tx, &binder, &row)?;
            if store::owners(tx, &binder)? == 0 {
                return Err(AccountError::LastOwner);
            }
            Ok(row)
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
        let binder = self.inner.binder.clone();
        let rows = self.inner.db.read_blocking(move |db| store::people(db, &binder))?;
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

pub(super) fn event(action: Action, caller: &Caller) -> Event {
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

/// How far somebody who manages people reaches. Nobody gives out, takes away, resets or deletes
/// what they do not hold themselves: they could otherwise make themselves an owner or an auditor.
pub(super) struct Reach {
    permissions: PermissionSet,
    is_owner: bool,
}

impl Reach {
    /// A caller's.
    pub(super) fn of(caller: &Caller) -> Self {
        let is_owner = caller.roles.iter().any(|role| role == BuiltinRole::Owner.name());
        Self { permissions: caller.permissions, is_owner }
    }

    /// A person's, as they are now.
    pub(super) fn of_person(person: &PersonRow) -> Self {
        let is_owner = person.roles.contains(&BuiltinRole::Owner);
        Self { permissions: person.entry().permissions(), is_owner }
    }

    /// Whether people may be managed at all.
    pub(super) fn manages_people(&self) -> bool {
        self.permissions.has(Permission::ManagePeople)
    }

    /// Whether all of these roles are within reach.
    pub(super) fn covers(&self, roles: &[BuiltinRole]) -> Result<(), AccountError> {
        let within = |role: &BuiltinRole| {
            let permissions = role.permissions();
            permissions.and(self.permissions) == permissions
        };
        let needs_owner = roles.contains(&BuiltinRole::Owner) && !self.is_owner;
        match roles.iter().find(|role| !within(role)) {
            None if !needs_owner => Ok(()),
            None => Err(AccountError::BeyondReach(BuiltinRole::Owner)),
            Some(role) => Err(AccountError::BeyondReach(*role)),
        }
    }
}
