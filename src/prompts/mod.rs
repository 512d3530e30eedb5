//! System prompts that administrators keep for many: named, sealed, for everybody or for some roles and
//! models. The gate is told of every change, and keeps what they begin with in a cache for all.

pub(crate) mod api;
mod error;
mod store;
mod unreadable;

use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

pub(crate) use error::PromptsError;
use store::PromptRow;
pub(crate) use unreadable::{RowName, Unreadable};

use crate::access::permission::{BuiltinRole, ManagePrompts};
use crate::access::{Caller, Changes, Grant, Registry};
use crate::audit::{Action, Actor, AuditLog, Event, Outcome};
use crate::clock::{Clock, Timestamp};
use crate::db::{Connection, Db, Transaction};
use crate::gate::{Gate, SharedPrompt};
use crate::ids::SharedPromptId;
use crate::vault::{Aad, Purpose, Scope, Sealed, Vault, VaultError};

/// Prompts that are kept; no list in a page is longer.
pub(crate) const PROMPTS_MAX: usize = 64;
const NAME_CHARS_MAX: usize = 60;
const TEXT_BYTES_MAX: usize = 32 * 1024;
const MODELS_MAX: usize = 64;
const TABLE: &str = "shared_prompts";
/// How the record calls a change of what was there.
const CHANGED: &str = "changed";

/// What the prompts are made of.
pub(crate) struct PromptsParts {
    /// Where they are used.
    pub(crate) gate: Gate,
    /// Where they are kept.
    pub(crate) db: Db,
    /// What seals them.
    pub(crate) vault: Vault,
    /// The record.
    pub(crate) audit: AuditLog,
    /// The clock.
    pub(crate) clock: Clock,
    /// Who there is.
    pub(crate) registry: Arc<Registry>,
}

/// The shared prompts. A handle.
#[derive(Clone)]
pub(crate) struct Prompts {
    inner: Arc<Inner>,
}

struct Inner {
    parts: PromptsParts,
    changes: Changes,
    /// The oldest first.
    list: RwLock<Vec<Prompt>>,
    /// Rows that do not open. They are kept: a backup of the keys may open them again.
    unreadable: RwLock<Unreadable>,
}

/// A prompt with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// What it is called.
    pub(crate) name: String,
    /// What the gate knows of it.
    pub(crate) shared: SharedPrompt,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When it was changed last.
    pub(crate) updated_at: Timestamp,
}

/// What an administrator says of a prompt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Draft {
    /// What it is called.
    pub(crate) name: String,
    /// What the model is told.
    pub(crate) text: String,
    /// The roles that it is for; none means everybody.
    pub(crate) roles: Option<Vec<String>>,
    /// The models that it is for; none means all.
    pub(crate) models: Option<Vec<String>>,
}

impl Prompts {
    /// Takes up what is kept, and tells the gate. A row that does not open is left out, and on record.
    /// Blocks for the database.
    pub(crate) fn open(parts: PromptsParts) -> Result<Self, PromptsError> {
        let vault = parts.vault.clone();
        let read = move |db: &Connection| -> Result<_, PromptsError> {
            let (mut list, mut unreadable) = (Vec::new(), Unreadable::default());
            store::each(db, |stored, row| -> Result<(), PromptsError> {
                match row.map(|row| opened(&vault, &row)) {
                    Some(Ok(prompt)) => list.push(prompt),
                    // Of the vault as a whole, not of this row.
                    Some(Err(VaultError::Sealed)) => return Err(VaultError::Sealed.into()),
                    Some(Err(_)) | None => unreadable.add(stored),
                }
                Ok(())
            })?;
            Ok((list, unreadable))
        };
        let (list, unreadable) = parts.db.read_blocking(read)?;
        tell(&parts, &unreadable)?;
        let changes = Changes::new(&parts.db, &parts.audit, &parts.registry);
        let (list, unreadable) = (RwLock::new(list), RwLock::new(unreadable));
        let prompts = Self { inner: Arc::new(Inner { parts, changes, list, unreadable }) };
        prompts.tell_gate();
        Ok(prompts)
    }

    /// Every prompt, for those who keep them.
    pub(crate) fn list(&self, _: &Grant<ManagePrompts>) -> Vec<Prompt> {
        self.inner.list.read().clone()
    }

    /// The rows that do not open, for those who keep prompts.
    pub(crate) fn unreadable(&self, _: &Grant<ManagePrompts>) -> Unreadable {
        self.inner.unreadable.read().clone()
    }

    /// The prompts that are for this caller, each with those of its models that the caller may use:
    /// the others are not there for them.
    pub(crate) fn open_to(&self, caller: &Caller) -> Vec<Prompt> {
        let list = self.inner.list.read().clone();
        list.into_iter().filter_map(|prompt| self.as_seen_by(caller, prompt)).collect()
    }

    /// One of those.
    pub(crate) fn find(&self, caller: &Caller, id: SharedPromptId) -> Option<Prompt> {
        let prompt = self.inner.list.read().iter().find(|one| one.shared.id == id).cloned();
        self.as_seen_by(caller, prompt?)
    }

    fn as_seen_by(&self, caller: &Caller, mut prompt: Prompt) -> Option<Prompt> {
        let gate = &self.inner.parts.gate;
        if let Some(models) = &mut prompt.shared.models {
            models.retain(|model| gate.model(caller, Some(model)).is_some());
        }
        let is_for_none = prompt.shared.models.as_ref().is_some_and(Vec::is_empty);
        (prompt.shared.is_open_to(caller) && !is_for_none).then_some(prompt)
    }

    /// Makes a prompt.
    pub(crate) async fn add(
        &self,
        grant: &Grant<ManagePrompts>,
        draft: Draft,
    ) -> Result<Prompt, PromptsError> {
        let now = self.inner.parts.clock.now();
        self.save(grant, SharedPromptId::new(), draft, now, "added").await
    }

    /// Changes all of a prompt but its id.
    pub(crate) async fn change(
        &self,
        grant: &Grant<ManagePrompts>,
        id: SharedPromptId,
        draft: Draft,
    ) -> Result<Prompt, PromptsError> {
        let known = self.inner.list.read().iter().find(|one| one.shared.id == id).cloned();
        let created_at = known.ok_or(PromptsError::NotFound)?.created_at;
        self.save(grant, id, draft, created_at, CHANGED).await
    }

    /// Deletes a prompt, or a row that does not open.
    pub(crate) async fn remove(
        &self,
        grant: &Grant<ManagePrompts>,
        name: RowName,
    ) -> Result<(), PromptsError> {
        let (caller, prompts, after) = (grant.caller(), self.clone(), self.clone());
        let event = event(caller, name).with("change", "removed");
        let is_it = move |one: &Prompt| RowName::Prompt(one.shared.id) == name;
        let job = move |tx: &Transaction<'_>| -> Result<(), PromptsError> {
            let is_listed = prompts.inner.list.read().iter().any(is_it);
            if !is_listed && !prompts.inner.unreadable.read().has(name) {
                return Err(PromptsError::NotFound);
            }
            store::remove(tx, name)?;
            prompts.inner.parts.audit.record_in(tx, event)?;
            Ok(())
        };
        let forget = move |(): &()| {
            after.inner.list.write().retain(|one| !is_it(one));
            after.inner.unreadable.write().remove(name);
            after.tell_gate();
        };
        self.inner.changes.make(caller, job, forget).await
    }

    /// Keeps a prompt. The change and its record are one.
    async fn save(
        &self,
        grant: &Grant<ManagePrompts>,
        id: SharedPromptId,
        draft: Draft,
        created_at: Timestamp,
        change: &'static str,
    ) -> Result<Prompt, PromptsError> {
        let (caller, parts) = (grant.caller(), &self.inner.parts);
        let draft = self.checked(caller, draft)?;
        let content = sealed(&parts.vault, id, &draft)?;
        let updated_at = parts.clock.now();
        let row = PromptRow { id, content, created_at, updated_at };
        let prompt = named(&row, draft);
        let event = event(caller, RowName::Prompt(id))
            .with("change", change)
            .with("bytes", prompt.shared.text.len())
            .with("roles", prompt.shared.roles.clone())
            .with("models", prompt.shared.models.clone());
        let (prompts, after, kept) = (self.clone(), self.clone(), prompt.clone());
        let job = move |tx: &Transaction<'_>| -> Result<(), PromptsError> {
            // Here one change comes after the other: what was deleted meanwhile stays so.
            let is_there = prompts.inner.list.read().iter().any(|one| one.shared.id == row.id);
            if change == CHANGED && !is_there {
                return Err(PromptsError::NotFound);
            }
            prompts.has_room(&kept)?;
            store::save(tx, &row)?;
            prompts.inner.parts.audit.record_in(tx, event)?;
            Ok(())
        };
        let kept = prompt.clone();
        let take_up = move |(): &()| after.take_up(kept);
        self.inner.changes.make(caller, job, take_up).await?;
        Ok(prompt)
    }

    /// What is said of a prompt, held against the rules; models by their own names.
    fn checked(&self, caller: &Caller, draft: Draft) -> Result<Draft, PromptsError> {
        let Draft { name, text, roles, models } = draft;
        let name = name.trim().to_owned();
        if !(1..=NAME_CHARS_MAX).contains(&name.chars().count())
            || name.chars().any(char::is_control)
        {
            return Err(PromptsError::BadName);
        }
        if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(PromptsError::BadText);
        }
        let is_role = |role: &String| BuiltinRole::parse(role).is_some();
        let is_good = |roles: &Vec<String>| !roles.is_empty() && roles.iter().all(is_role);
        if roles.as_ref().is_some_and(|roles| !is_good(roles)) {
            return Err(PromptsError::BadRoles);
        }
        let models = models.map(|models| self.own_names(caller, &models)).transpose()?;
        Ok(Draft { name, text, roles, models })
    }

    fn own_names(&self, caller: &Caller, models: &[String]) -> Result<Vec<String>, PromptsError> {
        if !(1..=MODELS_MAX).contains(&models.len()) {
            return Err(PromptsError::BadModels);
        }
        let gate = &self.inner.parts.gate;
        let own = |name: &String| gate.model(caller, Some(name)).map(|model| model.name.clone());
        models.iter().map(own).collect::<Option<_>>().ok_or(PromptsError::BadModels)
    }

    /// Whether there is room for it: its name is its own, and there are not too many.
    fn has_room(&self, prompt: &Prompt) -> Result<(), PromptsError> {
        let list = self.inner.list.read();
        let mut others = list.iter().filter(|one| one.shared.id != prompt.shared.id);
        if others.clone().count() >= PROMPTS_MAX {
            return Err(PromptsError::TooMany);
        }
        if others.any(|one| one.name == prompt.name) {
            return Err(PromptsError::SameName);
        }
        Ok(())
    }

    fn take_up(&self, prompt: Prompt) {
        let mut list = self.inner.list.write();
        match list.iter_mut().find(|one| one.shared.id == prompt.shared.id) {
            Some(known) => *known = prompt,
            None => list.push(prompt),
        }
        drop(list);
        self.tell_gate();
    }

    fn tell_gate(&self) {
        let list = self.inner.list.read();
        let shared = list.iter().map(|prompt| prompt.shared.clone()).collect();
        self.inner.parts.gate.set_shared_prompts(shared);
    }
}

/// Says in the log and on record which rows do not open: the first by name, the rest by their number.
fn tell(parts: &PromptsParts, unreadable: &Unreadable) -> Result<(), PromptsError> {
    if unreadable.count == 0 {
        return Ok(());
    }
    let refused =
        || Event::new(Action::RowRefused, Outcome::Denied, Actor::System).with("table", TABLE);
    let mut events = Vec::new();
    for row in &unreadable.first {
        tracing::error!(
            row = %row.name,
            "this shared prompt cannot be opened and is left out: restore the row and its key from a \
             backup, or delete it on the page of instructions"
        );
        events.push(refused().subject(row.name));
    }
    if unreadable.more() > 0 {
        tracing::error!(count = unreadable.more(), "so many more shared prompts cannot be opened");
        events.push(refused().with("more", unreadable.more()));
    }
    let audit = parts.audit.clone();
    parts.db.write_blocking(move |tx: &Transaction<'_>| -> Result<(), PromptsError> {
        for event in events {
            audit.record_in(tx, event)?;
        }
        Ok(())
    })
}

fn event(caller: &Caller, name: RowName) -> Event {
    Event::new(Action::PromptChange, Outcome::Done, caller.actor())
        .from_request(caller.address, caller.request)
        .subject(name)
}

fn named(row: &PromptRow, draft: Draft) -> Prompt {
    let Draft { name, text, roles, models } = draft;
    let shared = SharedPrompt { id: row.id, text, roles, models };
    Prompt { name, shared, created_at: row.created_at, updated_at: row.updated_at }
}

/// Name, text and whom it is for are sealed together, and bound to their row.
fn sealed(vault: &Vault, id: SharedPromptId, draft: &Draft) -> Result<Sealed, VaultError> {
    let bytes = serde_json::to_vec(draft).map_err(|_| VaultError::CannotOpen)?;
    let row = id.to_string();
    vault.seal(Scope::System(Purpose::Settings), &place(&row), &bytes)
}

fn opened(vault: &Vault, row: &PromptRow) -> Result<Prompt, VaultError> {
    let id = row.id.to_string();
    let bytes = vault.open(Scope::System(Purpose::Settings), &place(&id), &row.content)?;
    let draft = serde_json::from_slice(&bytes).map_err(|_| VaultError::CannotOpen)?;
    Ok(named(row, draft))
}

fn place(row: &str) -> Aad<'_> {
    Aad { table: TABLE, column: "content", row, owner: "" }
}
