//! Groups of people and who is in them, in memory: a request asks here which budgets it counts on, and
//! never the database. Whoever writes the database tells the roster of it (`groups`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::config::LimitSet;
use crate::ids::{GroupId, UserId};

/// Groups that one person may be in: each is one more account of every request of theirs.
pub const GROUPS_OF_ONE_MAX: usize = 16;

/// A group of people, whose budget they use together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The group.
    pub id: GroupId,
    /// What it is called.
    pub name: String,
    /// What all its members together may use.
    pub limits: LimitSet,
    /// Who is in it.
    pub members: BTreeSet<UserId>,
}

/// Every group. A handle.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    state: Arc<RwLock<State>>,
}

#[derive(Debug, Default)]
struct State {
    groups: HashMap<GroupId, Group>,
    /// The groups of everybody who is in any.
    of: HashMap<UserId, BTreeSet<GroupId>>,
}

impl Roster {
    /// Takes up a group as it is now, in the place of what it was.
    pub fn put(&self, group: Group) {
        let mut state = self.state.write();
        state.remove(group.id);
        for user in &group.members {
            state.of.entry(*user).or_default().insert(group.id);
        }
        state.groups.insert(group.id, group);
    }

    /// Forgets a group.
    pub fn remove(&self, id: GroupId) {
        self.state.write().remove(id);
    }

    /// Takes a person out of every group.
    pub fn forget(&self, user: UserId) {
        let mut state = self.state.write();
        for id in state.of.remove(&user).into_iter().flatten() {
            if let Some(group) = state.groups.get_mut(&id) {
                group.members.remove(&user);
            }
        }
    }

    /// One group.
    pub fn group(&self, id: GroupId) -> Option<Group> {
        self.state.read().groups.get(&id).cloned()
    }

    /// Every group, the oldest first.
    pub fn all(&self) -> Vec<Group> {
        let mut all: Vec<Group> = self.state.read().groups.values().cloned().collect();
        all.sort_unstable_by_key(|group| group.id);
        all
    }

    /// How many groups a person is in.
    pub fn count_of(&self, user: UserId) -> usize {
        self.state.read().of.get(&user).map_or(0, BTreeSet::len)
    }

    /// The limits of every group that a person is in, the oldest first.
    pub(super) fn limits_of(&self, user: UserId) -> Vec<(GroupId, LimitSet)> {
        self.each_of(user, |group| (group.id, group.limits))
    }

    /// The names of every group that a person is in, with its limits.
    pub(super) fn names_of(&self, user: UserId) -> Vec<(GroupId, String, LimitSet)> {
        self.each_of(user, |group| (group.id, group.name.clone(), group.limits))
    }

    fn each_of<T>(&self, user: UserId, what: impl Fn(&Group) -> T) -> Vec<T> {
        let state = self.state.read();
        let ids = state.of.get(&user).into_iter().flatten();
        ids.filter_map(|id| state.groups.get(id)).map(what).collect()
    }
}

impl State {
    fn remove(&mut self, id: GroupId) {
        for user in self.groups.remove(&id).into_iter().flat_map(|group| group.members) {
            if let Some(groups) = self.of.get_mut(&user) {
                groups.remove(&id);
                if groups.is_empty() {
                    self.of.remove(&user);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(members: &[UserId]) -> Group {
        let members = members.iter().copied().collect();
        Group { id: GroupId::new(), name: "g".into(), limits: LimitSet::default(), members }
    }

    #[test]
    fn members_come_and_go_with_their_groups() {
        let roster = Roster::default();
        let (ann, bob) = (UserId::new(), UserId::new());
        let (one, two) = (group(&[ann, bob]), group(&[ann]));
        roster.put(one.clone());
        roster.put(two.clone());
        assert_eq!((roster.count_of(ann), roster.count_of(bob)), (2, 1));
        roster.put(Group { members: [ann].into(), ..one.clone() });
        assert_eq!((roster.count_of(ann), roster.count_of(bob)), (2, 0));
        roster.remove(two.id);
        assert_eq!(roster.limits_of(ann), [(one.id, LimitSet::default())]);
        roster.forget(ann);
        assert_eq!(roster.count_of(ann), 0);
        assert_eq!(roster.group(one.id).map(|group| group.members.len()), Some(0));
        assert!(roster.state.read().of.is_empty(), "nothing is kept of nobody");
    }
}
