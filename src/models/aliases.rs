//! Further names of models: those of the configuration, and those that were made at run time. No
//! alias stands before a model or another alias.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::ModelsError;
use super::library::{Library, State, event};
use super::store;
use crate::access::Caller;
use crate::audit::{Action, Outcome};
use crate::config::is_model_name;
use crate::db::Transaction;
use crate::gate::{Catalog, Model};

/// Aliases that are kept; no list in a page is longer.
const ALIASES_MAX: usize = 256;

impl Library {
    /// Aliases that were made at run time: name, model.
    pub(crate) fn own_aliases(&self) -> BTreeMap<String, String> {
        self.inner.state.read().aliases.clone()
    }

    /// Gives a model a further name. The change and its record are one.
    pub(crate) async fn add_alias(
        &self,
        alias: &str,
        model: &str,
        caller: &Caller,
    ) -> Result<(), ModelsError> {
        if !is_model_name(alias) {
            return Err(ModelsError::BadName(alias.to_owned()));
        }
        let model = self.find(Some(model)).ok_or(ModelsError::NotFound)?.name.clone();
        self.is_free(alias)?;
        let event = event(Action::ModelAlias, Outcome::Done, &model, caller);
        let event = event.with("alias", alias).with("change", "added");
        let (audit, library) = (self.inner.audit.clone(), self.clone());
        let (name, target) = (alias.to_owned(), model);
        let kept = (name.clone(), target.clone());
        let set = move |tx: &Transaction<'_>| -> Result<(), ModelsError> {
            // Here one change comes after the other: two that want the same name do not both pass.
            library.is_free(&kept.0)?;
            store::add_alias(tx, &kept.0, &kept.1)?;
            audit.record_in(tx, event)?;
            Ok(())
        };
        let library = self.clone();
        let change = move |(): &()| library.set_alias(name, Some(target));
        self.inner.changes.make(caller, set, change).await
    }

    /// Takes an alias away that was made at run time.
    pub(crate) async fn remove_alias(
        &self,
        alias: &str,
        caller: &Caller,
    ) -> Result<(), ModelsError> {
        if self.inner.options.aliases.contains_key(alias) {
            return Err(ModelsError::Conflict(format!(
                "`{alias}` stands in the configuration, and is taken away there."
            )));
        }
        let target = self.inner.state.read().aliases.get(alias).cloned();
        let event =
            event(Action::ModelAlias, Outcome::Done, &target.ok_or(ModelsError::NotFound)?, caller);
        let event = event.with("alias", alias).with("change", "removed");
        let (audit, library, name) = (self.inner.audit.clone(), self.clone(), alias.to_owned());
        let removed = name.clone();
        let set = move |tx: &Transaction<'_>| -> Result<(), ModelsError> {
            store::remove_alias(tx, &removed)?;
            audit.record_in(tx, event)?;
            Ok(())
        };
        let change = move |(): &()| library.set_alias(name, None);
        self.inner.changes.make(caller, set, change).await
    }

    /// Whether nothing has this name yet.
    fn is_free(&self, alias: &str) -> Result<(), ModelsError> {
        let state = self.inner.state.read();
        let is_taken = state.find(Some(alias)).is_some() || state.aliases.contains_key(alias);
        if is_taken {
            let reason = format!("A model or an alias is called `{alias}` already.");
            return Err(ModelsError::Conflict(reason));
        }
        if state.aliases.len() >= ALIASES_MAX {
            let reason = format!("There can be at most {ALIASES_MAX} aliases.");
            return Err(ModelsError::Conflict(reason));
        }
        Ok(())
    }

    fn set_alias(&self, alias: String, target: Option<String>) {
        let configured = &self.inner.options.aliases;
        self.with_state(|state| {
            match target {
                Some(target) => drop(state.aliases.insert(alias, target)),
                None => drop(state.aliases.remove(&alias)),
            }
            spread(state, configured);
        });
    }
}

/// Holds the aliases of the configuration against the models that there are.
pub(super) fn check(
    state: &State,
    configured: &BTreeMap<String, String>,
) -> Result<(), ModelsError> {
    let is_model = |name: &str| state.entries.iter().any(|entry| entry.model.name == name);
    for (alias, model) in configured {
        if is_model(alias) {
            return Err(ModelsError::SameName(alias.clone()));
        }
        if !is_model(model) {
            return Err(ModelsError::NoSuchModel { alias: alias.clone(), model: model.clone() });
        }
    }
    Ok(())
}

/// Gives every model its aliases. A model's own name, and the configuration, come first: what was
/// made at run time and has been overtaken stands back.
pub(super) fn spread(state: &mut State, configured: &BTreeMap<String, String>) {
    let names: Vec<String> = state.entries.iter().map(|entry| entry.model.name.clone()).collect();
    let is_overtaken = |alias: &&String| configured.contains_key(*alias) || names.contains(*alias);
    let own = state.aliases.iter().filter(|(alias, _)| !is_overtaken(alias));
    let all: Vec<(String, String)> =
        configured.iter().chain(own).map(|(alias, model)| (alias.clone(), model.clone())).collect();
    for entry in &mut state.entries {
        let is_ours = |(_, model): &&(String, String)| *model == entry.model.name;
        let aliases: Vec<String> = all.iter().filter(is_ours).map(|(a, _)| a.clone()).collect();
        if aliases != entry.model.aliases {
            entry.model = Arc::new(Model { aliases, ..Model::clone(&entry.model) });
        }
    }
}
