//! The models directory, looked through: what appeared becomes a model, what vanished is named.

use super::error::ModelsError;
use super::library::{Entry, Library, Rules, State, event, is_file};
use super::sources::{self, Found, MODELS_MAX};
use super::{aliases, loads::Cause};
use crate::access::Caller;
use crate::audit::{Action, Outcome};
use crate::config::LoadWhen;
use crate::gate::{Model, ModelState, Setback};

/// What a model without its file is said to be.
const VANISHED: &str = "Its file is not there any more.";
const CHANGED: &str = "Its file has changed; load it again to use the new one.";

/// What looking through the directory found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Models that were not there before.
    pub(crate) appeared: Vec<String>,
    /// Models whose file is gone.
    pub(crate) vanished: Vec<String>,
    /// Files that are not served, and why.
    pub(crate) refused: Vec<(String, String)>,
}

impl Library {
    /// Looks through the directory in somebody's name. On record before.
    pub(crate) async fn rescan(&self, caller: &Caller) -> Result<Scan, ModelsError> {
        if self.inner.options.directory.is_none() {
            return Err(ModelsError::Conflict(
                "There is no models directory: `models.directory` is not set.".to_owned(),
            ));
        }
        let event = event(Action::ModelScan, Outcome::Done, "models.directory", caller);
        self.on_record(caller, event, String::new(), |_, _| Ok(())).await?;
        let library = self.clone();
        let scan = tokio::task::spawn_blocking(move || {
            let scan = library.scan()?;
            library.load_what_is_due(&scan.appeared)?;
            Ok(scan)
        });
        scan.await.unwrap_or(Err(ModelsError::Closing))
    }

    /// Of models that appeared, loads those of which the configuration says so.
    fn load_what_is_due(&self, names: &[String]) -> Result<(), ModelsError> {
        let is_due = |name: &&String| {
            let state = self.inner.state.read();
            state.find(Some(name)).is_some_and(|entry| entry.rules.load == LoadWhen::Start)
        };
        names.iter().filter(is_due).try_for_each(|name| self.begin(name, Cause::Start))
    }

    /// Looks through the directory, and whether the files of all models are there. Blocks.
    pub(super) fn scan(&self) -> Result<Scan, ModelsError> {
        let options = &self.inner.options;
        let Some(directory) = &options.directory else { return Ok(Scan::default()) };
        let found = sources::scan(directory)?;
        let scan = self.with_state(|state| {
            let scan = self.take_over(state, found);
            aliases::spread(state, &options.aliases);
            scan
        });
        for name in &scan.appeared {
            tracing::info!(model = name, "a model appeared in the models directory");
        }
        for name in &scan.vanished {
            tracing::warn!(model = name, "the file of a model is gone");
        }
        Ok(scan)
    }

    fn take_over(&self, state: &mut State, found: Found) -> Scan {
        let options = &self.inner.options;
        let mut scan = Scan { refused: found.refused, ..Scan::default() };
        for entry in state.entries.iter_mut().filter(|entry| is_file(&entry.source)) {
            if look_again(entry) {
                scan.vanished.push(entry.model.name.clone());
            }
        }
        for (name, source) in found.sources {
            let known = state.entries.iter().find(|entry| entry.model.name == name);
            match known {
                Some(known) if known.source.inside.is_some() => {}
                Some(_) => {
                    let reason = "A model of the configuration has the same name.".to_owned();
                    scan.refused.push((name, reason));
                }
                None if options.aliases.contains_key(&name)
                    || state.aliases.contains_key(&name) =>
                {
                    scan.refused.push((name, "An alias has the same name.".to_owned()));
                }
                None if state.entries.len() >= MODELS_MAX => {
                    scan.refused.push((name, format!("There are {MODELS_MAX} models already.")));
                }
                None => {
                    let on_demand = Rules { load: LoadWhen::Demand, ..options.all };
                    self.take_up(state, source, on_demand);
                    scan.appeared.push(name);
                }
            }
        }
        scan
    }
}

/// Looks at a model's file; says whether it has vanished since the last time.
fn look_again(entry: &mut Entry) -> bool {
    let before = Model::clone(&entry.model);
    let mut model = before.clone();
    let mut has_vanished = false;
    match (entry.source.identity(), &before.state) {
        // Its turn comes, and will tell.
        (_, ModelState::Loading | ModelState::Unloading) => {}
        (Err(_), ModelState::Ready) => {
            model.setback = Some(Setback::KeptOld(VANISHED.to_owned()));
            has_vanished = before.setback != model.setback;
        }
        (Err(_), ModelState::NotLoaded | ModelState::Failed(_)) => {
            model.state = ModelState::Failed(VANISHED.to_owned());
            has_vanished = before.state != model.state;
        }
        (Ok(found), _) => {
            let is_other = entry.identity.is_some() && found != entry.identity;
            let was_gone = before.state == ModelState::Failed(VANISHED.to_owned());
            if is_other {
                entry.needed = None;
            }
            match &before.state {
                ModelState::Failed(_) if is_other || was_gone => {
                    model.state = ModelState::NotLoaded;
                    model.setback = None;
                }
                ModelState::Ready if is_other => {
                    model.setback = Some(Setback::KeptOld(CHANGED.to_owned()));
                }
                ModelState::Ready if before.setback == Some(Setback::KeptOld(VANISHED.into())) => {
                    model.setback = None;
                }
                _ => {}
            }
        }
    }
    entry.model = std::sync::Arc::new(model);
    has_vanished
}
