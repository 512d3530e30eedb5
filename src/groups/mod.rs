//! Groups of people: each has a name and limits that its members use up together. A group gives nobody
//! anything; it only limits. The limiter's roster is told of every change, and is what holds.

pub(crate) mod api;
mod error;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

pub(crate) use error::GroupError;
use store::GroupRow;

use crate::access::permission::{ManagePeople, ReadPeople};
use crate::access::{Caller, Changes, Grant, Registry, Revocation};
use crate::audit::{Action, Actor, AuditLog, Event, Outcome};
use crate::config::LimitSet;
use crate::db::{Connection, Db, Transaction};
use crate::ids::{GroupId, UserId};
use crate::limits::{GROUPS_OF_ONE_MAX, Group, Limiter, Roster, Usage};
use crate::vault::{Aad, Purpose, Scope, Sealed, Vault, VaultError};

/// Groups that are kept; no list in a page is longer.
pub(crate) const GROUPS_MAX: usize = 256;
/// Members of one group.
pub(crate) const MEMBERS_MAX: usize = 4_096;
/// People who are taken in, or out, by one change: its record names each.
pub(crate) const CHANGES_MAX: usize = 32;
const NAME_CHARS_MAX: usize = 60;
const TABLE: &str = "user_groups";

/// What the groups are made of.
pub(crate) struct GroupsParts {
    /// Where they hold.
    pub(crate) limits: Limiter,
    /// Where they are kept.
    pub(crate) db: Db,
    /// What seals them.
    pub(crate) vault: Vault,
    /// The record.
    pub(crate) audit: AuditLog,
    /// Who there is.
    pub(crate) registry: Arc<Registry>,
}

/// The groups. A handle.
#[derive(Clone)]
pub(crate) struct Groups {
    inner: Arc<Inner>,
}

struct Inner {
    parts: GroupsParts,
    changes: Changes,
    /// Rows that do not open: they limit nobody, and can be deleted.
    unreadable: RwLock<BTreeSet<GroupId>>,
}

/// What is kept of a group beside its members.
#[derive(Serialize, Deserialize)]
struct Content {
    name: String,
    limits: LimitSet,
}

/// What is to become of a group. What is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct GroupChange {
    /// What it is called.
    pub(crate) name: Option<String>,
    /// All of its limits.
    pub(crate) limits: Option<LimitSet>,
    /// Who is taken in.
    pub(crate) add: Vec<UserId>,
    /// Who is taken out.
    pub(crate) remove: Vec<UserId>,
}

/// A group as administrators see it.
#[derive(Clone, Debug)]
pub(crate) struct GroupView {
    /// The group.
    pub(crate) group: Group,
    /// Its members by their sign-in names.
    pub(crate) members: Vec<(UserId, String)>,
    /// What they have used together.
    pub(crate) usage: Usage,
}

impl Groups {
    /// Takes up what is kept, and tells the limiter. A row that does not open is left out, and on
    /// record. Blocks for the database.
    pub(crate) fn open(parts: GroupsParts) -> Result<Self, GroupError> {
        let read = |db: &Connection| -> Result<_, GroupError> {
            Ok((store::groups(db)?, store::members(db)?))
        };
        let ((rows, nameless), members) = parts.db.read_blocking(read)?;
        let mut of: BTreeMap<GroupId, BTreeSet<UserId>> = BTreeMap::new();
        for (group, user) in members {
            of.entry(group).or_default().insert(user);
        }
        let (roster, mut unreadable) = (parts.limits.roster().clone(), BTreeSet::new());
        for row in rows {
            match opened(&parts.vault, &row) {
                Ok(Content { name, limits }) => {
                    let members = of.remove(&row.id).unwrap_or_default();
                    roster.put(Group { id: row.id, name, limits, members });
                }
                // Of the vault as a whole, not of this row.
                Err(VaultError::Sealed) => return Err(VaultError::Sealed.into()),
                Err(_) => {
                    unreadable.insert(row.id);
                }
            }
        }
        tell(&parts, &unreadable, nameless)?;
        forget_the_deleted(&parts.registry, roster);
        let changes = Changes::new(&parts.db, &parts.audit, &parts.registry);
        let unreadable = RwLock::new(unreadable);
        Ok(Self { inner: Arc::new(Inner { parts, changes, unreadable }) })
    }

    fn roster(&self) -> &Roster {
        self.inner.parts.limits.roster()
    }

    /// Every group; and those that cannot be opened, by their ids.
    pub(crate) async fn list(
        &self,
        grant: &Grant<ReadPeople>,
    ) -> Result<(Vec<GroupView>, Vec<GroupId>), GroupError> {
        let event = event(Action::PeopleRead, grant.caller()).with("what", "groups");
        self.inner.parts.audit.record(event).await?;
        Ok(self.all())
    }

    /// The same, for the operator at the console.
    pub(crate) fn all(&self) -> (Vec<GroupView>, Vec<GroupId>) {
        let groups = self.roster().all().into_iter().map(|group| self.view(group)).collect();
        (groups, self.inner.unreadable.read().iter().copied().collect())
    }

    fn view(&self, group: Group) -> GroupView {
        let parts = &self.inner.parts;
        let named = |user: &UserId| Some((*user, parts.registry.person(*user)?.username));
        let members = group.members.iter().filter_map(named).collect();
        let usage = parts.limits.usage_of_group(group.id, &group.limits);
        GroupView { group, members, usage }
    }

    /// Makes a group.
    pub(crate) async fn add(
        &self,
        grant: &Grant<ManagePeople>,
        change: GroupChange,
    ) -> Result<GroupView, GroupError> {
        self.save(grant.caller(), None, change).await
    }

    /// Changes a group.
    pub(crate) async fn change(
        &self,
        grant: &Grant<ManagePeople>,
        id: GroupId,
        change: GroupChange,
    ) -> Result<GroupView, GroupError> {
        self.save(grant.caller(), Some(id), change).await
    }

    /// Makes a group, or changes one, for the operator at the console.
    pub(crate) async fn save_at_console(
        &self,
        id: Option<GroupId>,
        change: GroupChange,
    ) -> Result<GroupView, GroupError> {
        self.save(&Caller::system(), id, change).await
    }

    /// Deletes a group; without a grant it is the operator at the console who does.
    pub(crate) async fn remove(
        &self,
        grant: Option<&Grant<ManagePeople>>,
        id: GroupId,
    ) -> Result<(), GroupError> {
        let caller = grant.map_or_else(Caller::system, |grant| grant.caller().clone());
        let event = event(Action::GroupChange, &caller).subject(id).with("change", "deleted");
        let (groups, after) = (self.clone(), self.clone());
        let job = move |tx: &Transaction<'_>| -> Result<(), GroupError> {
            let is_known = groups.roster().group(id).is_some();
            if !is_known && !groups.inner.unreadable.read().contains(&id) {
                return Err(GroupError::NotFound);
            }
            store::remove(tx, id)?;
            groups.inner.parts.audit.record_in(tx, event)?;
            Ok(())
        };
        let forget = move |(): &()| {
            after.inner.parts.limits.forget_group(id);
            after.inner.unreadable.write().remove(&id);
        };
        self.inner.changes.make(&caller, job, forget).await
    }

    /// Keeps a group. The change and its record are one.
    async fn save(
        &self,
        caller: &Caller,
        id: Option<GroupId>,
        change: GroupChange,
    ) -> Result<GroupView, GroupError> {
        let change = checked(change)?;
        let (groups, by, roster) = (self.clone(), caller.clone(), self.roster().clone());
        let job = move |tx: &Transaction<'_>| groups.write(tx, &by, id, change);
        // Here one change comes after the other: the next one finds what this one made.
        let take_up = move |group: &Group| roster.put(group.clone());
        let group = self.inner.changes.make(caller, job, take_up).await?;
        Ok(self.view(group))
    }

    /// On the thread that writes: what becomes of the group as it is now.
    fn write(
        &self,
        tx: &Transaction<'_>,
        caller: &Caller,
        id: Option<GroupId>,
        change: GroupChange,
    ) -> Result<Group, GroupError> {
        let GroupChange { name, limits, add, remove } = change;
        let (mut group, is_new) = match id {
            Some(id) => (self.roster().group(id).ok_or(GroupError::NotFound)?, false),
            None => (nameless(), true),
        };
        let mut event = event(Action::GroupChange, caller)
            .subject(group.id)
            .with("change", if is_new { "made" } else { "changed" });
        if let Some(limits) = limits {
            group.limits = limits;
            event = event.with("limits", limits.entries().count());
            for (name, limit) in limits.entries() {
                event = event.with(name, limit);
            }
        }
        if let Some(name) = &name {
            group.name.clone_from(name);
            event = event.with("named", true);
        }
        if is_new || name.is_some() {
            self.has_room(&group)?;
        }
        self.take_in(&mut group, &add)?;
        group.members.retain(|user| !remove.contains(user));
        let content = sealed(&self.inner.parts.vault, &group)?;
        store::save(tx, &GroupRow { id: group.id, content })?;
        store::add(tx, group.id, &add)?;
        store::take_out(tx, group.id, &remove)?;
        for (what, users) in [("added", add), ("removed", remove)] {
            if !users.is_empty() {
                let users: Vec<String> = users.iter().map(UserId::to_string).collect();
                event = event.with(what, users);
            }
        }
        self.inner.parts.audit.record_in(tx, event)?;
        Ok(group)
    }

    /// Whether there is room for it: its name is its own, and there are not too many.
    fn has_room(&self, group: &Group) -> Result<(), GroupError> {
        let all = self.roster().all();
        let mut others = all.iter().filter(|one| one.id != group.id);
        if others.clone().count() >= GROUPS_MAX {
            return Err(GroupError::TooMany);
        }
        if group.name.is_empty() {
            return Err(GroupError::BadName);
        }
        if others.any(|one| one.name == group.name) {
            return Err(GroupError::SameName);
        }
        Ok(())
    }

    fn take_in(&self, group: &mut Group, users: &[UserId]) -> Result<(), GroupError> {
        let registry = &self.inner.parts.registry;
        for (place, user) in users.iter().enumerate() {
            if registry.person(*user).is_none() {
                return Err(GroupError::UnknownPerson(place + 1));
            }
            let is_full = self.roster().count_of(*user) >= GROUPS_OF_ONE_MAX;
            if group.members.insert(*user) && is_full {
                return Err(GroupError::TooManyOfOne(place + 1));
            }
        }
        if group.members.len() > MEMBERS_MAX {
            return Err(GroupError::TooManyMembers);
        }
        Ok(())
    }
}

fn nameless() -> Group {
    let (limits, members) = (LimitSet::default(), BTreeSet::new());
    Group { id: GroupId::new(), name: String::new(), limits, members }
}

/// What is said of a group, held against the rules that need nobody else.
fn checked(mut change: GroupChange) -> Result<GroupChange, GroupError> {
    if let Some(name) = &mut change.name {
        *name = name.trim().to_owned();
        let fits = (1..=NAME_CHARS_MAX).contains(&name.chars().count());
        if !fits || name.chars().any(char::is_control) {
            return Err(GroupError::BadName);
        }
    }
    if let Some(name) = change.limits.and_then(|limits| limits.without_effect()) {
        return Err(GroupError::BadLimit(name));
    }
    for (param, users) in [("add", &change.add), ("remove", &change.remove)] {
        if users.len() > CHANGES_MAX {
            return Err(GroupError::TooManyChanges(param));
        }
    }
    Ok(change)
}

/// Whoever is deleted is in no group any more. Their rows go with the person's.
fn forget_the_deleted(registry: &Arc<Registry>, roster: Roster) {
    // Weak: the registry would hold itself by it.
    let people = Arc::downgrade(registry);
    registry.on_revocation(move |what| {
        if let (Revocation::Person(user), Some(people)) = (what, people.upgrade())
            && people.person(user).is_none()
        {
            roster.forget(user);
        }
    });
}

/// Says in the log and on record which rows do not open.
fn tell(
    parts: &GroupsParts,
    unreadable: &BTreeSet<GroupId>,
    nameless: usize,
) -> Result<(), GroupError> {
    if unreadable.is_empty() && nameless == 0 {
        return Ok(());
    }
    let refused =
        || Event::new(Action::RowRefused, Outcome::Denied, Actor::System).with("table", TABLE);
    let mut events = Vec::new();
    for id in unreadable.iter().take(GROUPS_MAX) {
        tracing::error!(
            row = %id,
            "this group cannot be opened and limits nobody: restore the row and its key from a backup, \
             or delete it on the page of people"
        );
        events.push(refused().subject(id));
    }
    let more = unreadable.len().saturating_sub(GROUPS_MAX) + nameless;
    if more > 0 {
        tracing::error!(count = more, "so many more rows of groups cannot be opened");
        events.push(refused().with("more", more));
    }
    let audit = parts.audit.clone();
    parts.db.write_blocking(move |tx: &Transaction<'_>| -> Result<(), GroupError> {
        for event in events {
            audit.record_in(tx, event)?;
        }
        Ok(())
    })
}

fn event(action: Action, caller: &Caller) -> Event {
    Event::new(action, Outcome::Done, caller.actor()).from_request(caller.address, caller.request)
}

/// Name and limits are sealed together, and bound to their row.
fn sealed(vault: &Vault, group: &Group) -> Result<Sealed, VaultError> {
    let content = Content { name: group.name.clone(), limits: group.limits };
    let bytes = serde_json::to_vec(&content).map_err(|_| VaultError::CannotOpen)?;
    let row = group.id.to_string();
    vault.seal(Scope::System(Purpose::Settings), &place(&row), &bytes)
}

fn opened(vault: &Vault, row: &GroupRow) -> Result<Content, VaultError> {
    let id = row.id.to_string();
    let bytes = vault.open(Scope::System(Purpose::Settings), &place(&id), &row.content)?;
    serde_json::from_slice(&bytes).map_err(|_| VaultError::CannotOpen)
}

fn place(row: &str) -> Aad<'_> {
    Aad { table: TABLE, column: "content", row, owner: "" }
}
