//! API keys: making, listing, saying from where they are let in, revoking. Authenticating one is the registry's look-up in `access`.

pub(crate) mod api;
mod error;
mod store;

use std::sync::Arc;
use std::time::Duration;

use crate::db::Transaction;
pub(crate) use error::KeyError;
use store::NewKey;

use crate::access::permission::{ManageOwnKeys, Permission, PermissionSet};
use crate::access::registry::{KeyEntry, KeyTerms, Registry, TurnedAway};
use crate::access::token::{self, TokenKind};
use crate::access::{Binder, Caller, Changes, Grant, Networks, Via};
use crate::audit::{Action, AuditLog, Event, Outcome};
use crate::clock::{Clock, Timestamp};
use crate::config::LimitSet;
use crate::db::Db;
use crate::gate::Gate;
use crate::ids::{KeyId, UserId};
use crate::secret::SecretText;
use crate::vault::{BlindPurpose, Scope, Vault};

const KEYS_MAX: usize = 100;
const MODELS_MAX: usize = 64;
const DAYS_MAX: u32 = 3_650;

/// The service of API keys.
#[derive(Clone)]
pub(crate) struct Keys {
    db: Db,
    vault: Vault,
    audit: AuditLog,
    clock: Clock,
    registry: Arc<Registry>,
    changes: Changes,
    binder: Binder,
}

/// The parts that the service is built on.
pub(crate) struct KeyParts {
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
}

/// What a key is to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyRequest {
    /// What its owner calls it.
    pub(crate) name: String,
    /// Names of permissions; none means the use of models through the API.
    pub(crate) scopes: Option<Vec<String>>,
    /// Names of models; none means all that the owner may use.
    pub(crate) models: Option<Vec<String>>,
    /// Its own limits, beside those of all keys and of its owner.
    pub(crate) limits: LimitSet,
    /// Addresses and prefixes that it is let in from; none means everywhere.
    pub(crate) networks: Vec<String>,
    /// After how many days it stops working.
    pub(crate) expires_in_days: Option<u32>,
}

/// A key as its owner sees it.
#[derive(Clone, Debug)]
pub(crate) struct KeyView {
    /// The key.
    pub(crate) id: KeyId,
    /// What its owner calls it.
    pub(crate) name: String,
    /// Its last four digits.
    pub(crate) hint: String,
    /// What it may be used for.
    pub(crate) scopes: Vec<String>,
    /// The models it may be used for.
    pub(crate) models: Option<Vec<String>>,
    /// Its own limits.
    pub(crate) limits: LimitSet,
    /// The networks that it is let in from; none means everywhere.
    pub(crate) networks: Vec<String>,
    /// When it last came from elsewhere, where it has since the start.
    pub(crate) turned_away: Option<TurnedAway>,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When it stops working.
    pub(crate) expires_at: Option<Timestamp>,
    /// When it was last used.
    pub(crate) last_used_at: Option<Timestamp>,
}

impl Keys {
    /// Builds the service and tells the registry which keys there are.
    pub(crate) fn open(parts: KeyParts) -> Result<Self, KeyError> {
        let KeyParts { db, vault, audit, clock, registry, binder } = parts;
        let reader = binder.clone();
        for (hash, key) in db.read_blocking(move |db| store::all(db, &reader))? {
            registry.put_key(hash, key);
        }
        binder.tell_blocking(&db, &audit)?;
        let changes = Changes::new(&db, &audit, &registry);
        Ok(Self { db, vault, audit, clock, registry, changes, binder })
    }

    /// Makes a key of the caller's own. Its secret is given out here and never again. The models that
    /// it is limited to, by their own names or by aliases, are there and open to the caller: a
    /// misspelt one would make a key that opens nothing.
    pub(crate) async fn create(
        &self,
        grant: &Grant<ManageOwnKeys>,
        request: KeyRequest,
        gate: &Gate,
    ) -> Result<(KeyView, SecretText), KeyError> {
        let caller = grant.caller();
        let is_unknown = |name: &String| gate.model(caller, Some(name)).is_none();
        let models = check_models(request.models.as_deref())?;
        if let Some(place) = models.into_iter().flatten().position(is_unknown) {
            return Err(KeyError::UnknownModel(place + 1));
        }
        self.make(caller, request).await
    }

    /// Makes a key for a person, for the operator at the console.
    pub(crate) async fn create_at_console(
        &self,
        user: UserId,
        request: KeyRequest,
    ) -> Result<(KeyView, SecretText), KeyError> {
        let person = self.registry.person(user).ok_or(KeyError::NotFound)?;
        let operator = Caller::operator(user, &person.roles);
        self.make(&operator, request).await
    }

    /// Makes a key of the person in whose name the caller acts.
    async fn make(
        &self,
        caller: &Caller,
        request: KeyRequest,
    ) -> Result<(KeyView, SecretText), KeyError> {
        let user = caller.user;
        let name = check_name(&request.name)?;
        let scopes = check_scopes(request.scopes.as_deref(), caller.permissions)?;
        check_models(request.models.as_deref())?;
        let (models, limits) = (request.models, request.limits);
        if let Some(name) = limits.without_effect() {
            return Err(KeyError::BadLimit(name));
        }
        let networks = Networks::parse(&request.networks)?;
        let now = self.clock.now();
        let expires_at = match request.expires_in_days {
            None => None,
            Some(days @ 1..=DAYS_MAX) => {
                Some(now.plus(Duration::from_secs(u64::from(days) * 86_400)))
            }
            Some(_) => return Err(KeyError::BadExpiry(DAYS_MAX)),
        };
        let secret = token::make(TokenKind::Key).map_err(|_| KeyError::Random)?;
        let secret_hash = self.vault.blind(BlindPurpose::ApiKey, secret.expose().as_bytes())?;
        let id = KeyId::new();
        let (row, owner) = (id.to_string(), user.to_string());
        let place = store::name_place(&row, &owner);
        let sealed = self.vault.seal(Scope::Person(user), &place, name.as_bytes())?;
        let hint = token::hint(&secret);
        let terms = KeyTerms { scopes, models, limits, networks, expires_at };
        let new = NewKey { id, user, name: sealed, secret_hash, hint, terms, now };
        let view = new.view(name);
        let entry = KeyEntry::new(id, user, new.terms.clone());
        let event = made_by(caller, &view);
        let audit = self.audit.clone();
        let binder = self.binder.clone();
        let add = move |tx: &Transaction<'_>| -> Result<(), KeyError> {
            if store::count(tx, user)? >= KEYS_MAX {
                return Err(KeyError::TooMany(KEYS_MAX));
            }
            store::insert(tx, &binder, &new)?;
            audit.record_in(tx, event)?;
            Ok(())
        };
        let registry = Arc::clone(&self.registry);
        let added = move |(): &()| registry.put_key(secret_hash, entry);
        self.changes.make(caller, add, added).await?;
        Ok((view, secret))
    }

    /// The caller's keys, the newest first.
    pub(crate) async fn list(
        &self,
        grant: &Grant<ManageOwnKeys>,
    ) -> Result<Vec<KeyView>, KeyError> {
        let user = grant.caller().user;
        let rows = self.db.read(move |db| store::of(db, user)).await?;
        rows.into_iter().map(|row| self.opened(user, row)).collect()
    }

    /// A person's key as they see it.
    fn opened(&self, user: UserId, row: store::KeyRow) -> Result<KeyView, KeyError> {
        let store::KeyRow { mut view, name } = row;
        let (id, owner) = (view.id.to_string(), user.to_string());
        let name = self.vault.open(Scope::Person(user), &store::name_place(&id, &owner), &name)?;
        view.name = String::from_utf8_lossy(&name).into_owned();
        self.add_uses(&mut view);
        Ok(view)
    }

    /// Adds what the disk does not know yet.
    fn add_uses(&self, view: &mut KeyView) {
        view.last_used_at = self.registry.key_used_at(view.id).or(view.last_used_at);
        view.turned_away = self.registry.key_turned_away(view.id);
    }

    /// Everybody's keys with their owners, the newest first, for the operator at the console. What their
    /// owners call them stays closed.
    pub(crate) fn all_at_console(&self) -> Result<Vec<(UserId, KeyView)>, KeyError> {
        let mut all = self.db.read_blocking(store::of_everybody)?;
        for (_, view) in &mut all {
            self.add_uses(view);
        }
        Ok(all)
    }

    /// Says from where a key of the caller's own is let in from now on; what runs on it elsewhere
    /// ends.
    pub(crate) async fn change_networks(
        &self,
        grant: &Grant<ManageOwnKeys>,
        id: KeyId,
        networks: &[String],
    ) -> Result<KeyView, KeyError> {
        let caller = grant.caller();
        let row = self.put_networks(caller, (caller.user, id), networks).await?;
        self.opened(caller.user, row)
    }

    /// The same of anybody's key, for the operator at the console.
    pub(crate) async fn change_networks_at_console(
        &self,
        id: KeyId,
        networks: &[String],
    ) -> Result<KeyView, KeyError> {
        let user = self.owner_of(id).await?;
        Ok(self.put_networks(&Caller::system(), (user, id), networks).await?.view)
    }

    async fn put_networks(
        &self,
        caller: &Caller,
        (user, id): (UserId, KeyId),
        networks: &[String],
    ) -> Result<store::KeyRow, KeyError> {
        let networks = Networks::parse(networks)?;
        let (audit, binder) = (self.audit.clone(), self.binder.clone());
        let event =
            of_key(Action::KeyNetworks, caller, user, id).with("networks", networks.texts());
        let new = networks.clone();
        let change = move |tx: &Transaction<'_>| -> Result<_, KeyError> {
            let row = store::put_networks(tx, &binder, (user, id), &new)?;
            if row.is_some() {
                audit.record_in(tx, event)?;
            }
            Ok(row)
        };
        let registry = Arc::clone(&self.registry);
        let changed = move |row: &Option<store::KeyRow>| {
            if row.is_some() {
                registry.put_networks(user, id, networks);
            }
        };
        self.changes.make(caller, change, changed).await?.ok_or(KeyError::NotFound)
    }

    /// Revokes a key of the caller's own; what runs on it ends.
    pub(crate) async fn revoke(
        &self,
        grant: &Grant<ManageOwnKeys>,
        id: KeyId,
    ) -> Result<(), KeyError> {
        let caller = grant.caller();
        let (user, audit) = (caller.user, self.audit.clone());
        let event = of_key(Action::KeyRevoke, caller, user, id);
        let delete = move |tx: &Transaction<'_>| -> Result<bool, KeyError> {
            let is_there = store::delete(tx, user, id)?;
            if is_there {
                audit.record_in(tx, event)?;
            }
            Ok(is_there)
        };
        // Whatever the database says: what the caller wants gone is not let in any more.
        let registry = Arc::clone(&self.registry);
        let is_there = self
            .changes
            .make(caller, delete, move |_: &bool| registry.remove_key(user, id))
            .await?;
        if is_there { Ok(()) } else { Err(KeyError::NotFound) }
    }

    /// The same of anybody's key, for the operator at the console.
    pub(crate) async fn revoke_at_console(&self, id: KeyId) -> Result<(), KeyError> {
        // Whatever its row says by now, or if it is gone: what is let in is let in for that person.
        let live = self.registry.key_owner(id);
        let user = match live {
            Some(user) => user,
            None => self.owner_of(id).await?,
        };
        let (caller, audit) = (Caller::system(), self.audit.clone());
        let event = of_key(Action::KeyRevoke, &caller, user, id);
        let delete = move |tx: &Transaction<'_>| -> Result<(), KeyError> {
            if !store::delete_of_anybody(tx, id)? && live.is_none() {
                return Err(KeyError::NotFound);
            }
            audit.record_in(tx, event)?;
            Ok(())
        };
        let registry = Arc::clone(&self.registry);
        self.changes.make(&caller, delete, move |(): &()| registry.remove_key(user, id)).await
    }

    async fn owner_of(&self, id: KeyId) -> Result<UserId, KeyError> {
        self.db.read(move |db| store::owner(db, id)).await?.ok_or(KeyError::NotFound)
    }

    /// Keeps when keys were last used; called now and then, and at shutdown.
    pub(crate) async fn keep_used(&self) -> Result<(), KeyError> {
        let used = self.registry.keys_to_keep();
        if used.is_empty() {
            return Ok(());
        }
        let registry = Arc::clone(&self.registry);
        let keep = move |tx: &Transaction<'_>| -> Result<_, KeyError> {
            store::put_used(tx, &used)?;
            Ok(used)
        };
        self.db.write_then(keep, move |used: &Vec<_>| registry.keys_kept(used)).await.map(drop)
    }
}

/// The record of what is done to a key. Where the operator does it, it says whose key that is.
fn of_key(action: Action, caller: &Caller, owner: UserId, id: KeyId) -> Event {
    let event = Event::new(action, Outcome::Done, caller.actor())
        .subject(id)
        .from_request(caller.address, caller.request);
    match caller.via {
        Via::System => event.with("owner", owner.to_string()),
        Via::Key(_) | Via::Session(_) => event,
    }
}

fn made_by(caller: &Caller, key: &KeyView) -> Event {
    let mut event =
        of_key(Action::KeyCreate, caller, caller.user, key.id).with("scopes", key.scopes.clone());
    for (name, limit) in key.limits.entries() {
        event = event.with(name, limit);
    }
    if key.networks.is_empty() {
        return event;
    }
    event.with("networks", key.networks.clone())
}

fn check_name(raw: &str) -> Result<String, KeyError> {
    let name = raw.trim();
    let fits = (1..=60).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if fits { Ok(name.to_owned()) } else { Err(KeyError::BadName) }
}

/// A key never holds more than its owner, and by itself only the use of models.
fn check_scopes(names: Option<&[String]>, held: PermissionSet) -> Result<PermissionSet, KeyError> {
    let Some(names) = names else {
        return Ok([Permission::UseApi].into_iter().collect::<PermissionSet>().and(held));
    };
    let allowed = [Permission::UseApi, Permission::ReadMetrics, Permission::ReadUsage];
    let mut scopes = Vec::new();
    for name in names {
        match Permission::parse(name).filter(|one| allowed.contains(one)) {
            Some(one) if held.has(one) => scopes.push(one),
            Some(one) => return Err(KeyError::NotHeld(one.name())),
            None => return Err(KeyError::UnknownScope),
        }
    }
    if scopes.is_empty() { Err(KeyError::UnknownScope) } else { Ok(scopes.into_iter().collect()) }
}

fn check_models(models: Option<&[String]>) -> Result<Option<&[String]>, KeyError> {
    match models {
        Some(names) if names.is_empty() || names.len() > MODELS_MAX => Err(KeyError::BadModels),
        Some(names) if names.iter().any(|name| name.is_empty() || name.len() > 200) => {
            Err(KeyError::BadModels)
        }
        Some(_) | None => Ok(models),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::permission::BuiltinRole;

    #[test]
    fn scopes_only_narrow() {
        let member = BuiltinRole::Member.permissions();
        let names = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        assert!(check_scopes(Some(&names(&["metrics.read"])), member).is_err());
        assert!(check_scopes(Some(&names(&["usage.read"])), member).is_err());
        let admin = BuiltinRole::Admin.permissions();
        assert!(check_scopes(Some(&names(&["usage.read"])), admin).is_ok());
        assert!(
            check_scopes(Some(&names(&["people.manage"])), BuiltinRole::Owner.permissions())
                .is_err()
        );
        assert!(check_scopes(Some(&names(&["root"])), member).is_err());
        assert!(check_scopes(Some(&[]), member).is_err());
        let default = check_scopes(None, member).expect("allowed");
        assert_eq!(default.iter().collect::<Vec<_>>(), [Permission::UseApi]);
        let auditor = check_scopes(None, BuiltinRole::Auditor.permissions()).expect("allowed");
        assert!(!auditor.has(Permission::UseApi));
    }
}
