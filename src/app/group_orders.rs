//! Groups of people, at the console: named by their names, and their members by sign-in names.

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::orders::{Operator, wait};
use crate::accounts::Accounts;
use crate::config::LimitSet;
use crate::groups::{GroupChange, GroupView, Groups};
use crate::ids::{GroupId, UserId};

/// What is ordered of a group.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum GroupOrder {
    /// Show every group.
    List {},
    /// Make one.
    Create {
        /// Its name.
        name: String,
        /// What its members may use together.
        limits: LimitSet,
        /// Sign-in names of its members.
        add: Vec<String>,
    },
    /// Change one.
    Change {
        /// Its name.
        name: String,
        /// Another name.
        rename: Option<String>,
        /// All of its limits.
        limits: Option<LimitSet>,
        /// Sign-in names of who is taken in.
        add: Vec<String>,
        /// Sign-in names of who is taken out.
        remove: Vec<String>,
    },
    /// Delete one.
    Delete {
        /// Its name, or the id of one that cannot be opened.
        name: String,
    },
}

impl Operator {
    /// Carries out what is ordered of a group. Blocks.
    pub(super) fn group(&self, order: GroupOrder) -> Result<Value> {
        let (accounts, groups) = self.groups()?;
        match order {
            GroupOrder::List {} => {
                let (all, unreadable) = groups.all();
                let all: Vec<Value> = all.iter().map(shown).collect();
                Ok(json!({ "groups": all, "unreadable": unreadable }))
            }
            GroupOrder::Create { name, limits, add } => {
                let add = people(&accounts, &add)?;
                let (name, limits, remove) = (Some(name), Some(limits), Vec::new());
                let change = GroupChange { name, limits, add, remove };
                Ok(shown(&wait(groups.save_at_console(None, change))??))
            }
            GroupOrder::Change { name, rename, limits, add, remove } => {
                let id = find(&groups, &name)?;
                let (add, remove) = (people(&accounts, &add)?, people(&accounts, &remove)?);
                let change = GroupChange { name: rename, limits, add, remove };
                Ok(shown(&wait(groups.save_at_console(Some(id), change))??))
            }
            GroupOrder::Delete { name } => {
                let id = GroupId::parse(&name).or_else(|_| find(&groups, &name))?;
                wait(groups.remove(None, id))??;
                Ok(json!({}))
            }
        }
    }
}

fn find(groups: &Groups, name: &str) -> Result<GroupId> {
    let (all, _) = groups.all();
    let known = all.into_iter().find(|view| view.group.name == name);
    known.map(|view| view.group.id).ok_or_else(|| anyhow!("there is no group called `{name}`"))
}

fn people(accounts: &Accounts, usernames: &[String]) -> Result<Vec<UserId>> {
    if usernames.is_empty() {
        return Ok(Vec::new());
    }
    let all = accounts.people_at_console()?;
    let id = |name: &String| {
        let person = all.iter().find(|person| person.username == *name);
        person.map(|person| person.id).with_context(|| format!("there is nobody called `{name}`"))
    };
    usernames.iter().map(id).collect()
}

fn shown(view: &GroupView) -> Value {
    let members: Vec<&str> = view.members.iter().map(|(_, username)| &**username).collect();
    json!({
        "id": view.group.id, "name": view.group.name, "limits": view.group.limits,
        "members": members, "usage": view.usage,
    })
}
