//! API keys, at the console: named by their ids, as the audit log and alerts name them.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::orders::{Operator, wait};
use crate::ids::{KeyId, UserId};
use crate::keys::{KeyError, KeyView};

/// What is ordered of API keys.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum KeyOrder {
    /// Show everybody's keys, or those of one person.
    List {
        /// The person's sign-in name.
        user: Option<String>,
    },
    /// Say from where one is let in.
    Networks {
        /// Its id.
        key: String,
        /// All of the networks; none means everywhere.
        networks: Vec<String>,
    },
    /// Revoke one.
    Revoke {
        /// Its id.
        key: String,
    },
}

impl Operator {
    /// Carries out what is ordered of API keys. Blocks.
    pub(super) fn key(&self, order: KeyOrder) -> Result<Value> {
        let (accounts, keys) = self.keys()?;
        match order {
            KeyOrder::List { user } => {
                let people = accounts.people_at_console()?;
                let is_known = |name: &str| people.iter().any(|person| person.username == name);
                if let Some(name) = &user {
                    ensure!(is_known(name), "there is nobody called `{name}`");
                }
                let name =
                    |id: UserId| people.iter().find(|one| one.id == id).map(|one| &one.username);
                let all = keys.all_at_console()?;
                let all = all.iter().map(|(owner, view)| (name(*owner), view));
                let asked = all.filter(|(owner, _)| user.is_none() || *owner == user.as_ref());
                let shown: Vec<Value> = asked.map(|(owner, view)| shown(owner, view)).collect();
                Ok(json!({ "keys": shown }))
            }
            KeyOrder::Networks { key, networks } => {
                let changed = wait(keys.change_networks_at_console(id(&key)?, &networks))?;
                let view = changed.map_err(|error| named(&key, error))?;
                Ok(json!({ "networks": view.networks }))
            }
            KeyOrder::Revoke { key } => {
                let revoked = wait(keys.revoke_at_console(id(&key)?))?;
                revoked.map_err(|error| named(&key, error))?;
                Ok(json!({}))
            }
        }
    }
}

fn id(key: &str) -> Result<KeyId> {
    KeyId::parse(key)
        .ok()
        .with_context(|| format!("`{key}` is no id of a key: those begin with `key_`"))
}

fn named(key: &str, error: KeyError) -> anyhow::Error {
    match error {
        KeyError::NotFound => anyhow::anyhow!("there is no key `{key}`"),
        error => error.into(),
    }
}

/// A key as its operator sees it: what its owner calls it is theirs.
fn shown(owner: Option<&String>, view: &KeyView) -> Value {
    json!({
        "id": view.id, "owner": owner, "hint": view.hint, "scopes": view.scopes,
        "models": view.models, "limits": view.limits, "networks": view.networks,
        "created_at": view.created_at, "expires_at": view.expires_at,
        "last_used_at": view.last_used_at,
        "turned_away": view.turned_away.map(|last| json!({ "at": last.at, "address": last.address })),
    })
}
