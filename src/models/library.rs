//! The models of this server. They are read one after the other on a thread of their own, so that
//! the server listens at once; a model that cannot be read says why and stands in nobody's way.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use sha2::{Digest, Sha256};

use super::store;
use crate::access::{Caller, Changes, Registry, Withdrawn};
use crate::audit::{Action, Actor, AuditError, AuditLog, Event, Outcome};
use crate::clock::Clock;
use crate::db::{Db, DbError, Transaction};
use crate::engine::gguf::{self, GgufError, ModelFiles};
use crate::engine::{EngineOptions, LoadError, LoadProgress, Loaded, Weights};
use crate::gate::{Catalog, Engines, Model, ModelState};

/// The name of the model that is built in.
pub(crate) const GUIDE: &str = "guide";
const NAME_BYTES_MAX: usize = 128;

/// What can go wrong with the library.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelsError {
    /// A file's name is no model's name.
    #[error(
        "the file name of a model must be 1 to 128 letters, digits or . _ - / : +, and `{0}` is not"
    )]
    BadName(String),
    /// Two models have the same name.
    #[error(
        "two models are called `{0}`: rename one of the files; of a model in several, name one part"
    )]
    SameName(String),
    /// The default model is none of those that are served.
    #[error("`models.default` is `{0}`, and no model of that name is served")]
    NoSuchDefault(String),
    /// There is no model of that name.
    #[error("no such model")]
    NotFound,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// What let the caller in was withdrawn.
    #[error(transparent)]
    Withdrawn(#[from] Withdrawn),
    /// The record cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The thread that reads models cannot be started.
    #[error("the thread that reads models cannot be started: {0}")]
    Thread(std::io::Error),
}

/// Which models are served, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct LibraryOptions {
    /// The built-in guide, if it is served.
    pub(crate) guide: Option<&'static [u8]>,
    /// Files.
    pub(crate) files: Vec<PathBuf>,
    /// The default model; empty: the first file, else the guide.
    pub(crate) default: String,
    /// Further names of models: name, model.
    pub(crate) aliases: BTreeMap<String, String>,
    /// How the engines compute.
    pub(crate) engine: EngineOptions,
}

/// The library. A handle.
#[derive(Clone)]
pub(crate) struct Library {
    inner: Arc<Inner>,
}

struct Inner {
    changes: Changes,
    audit: AuditLog,
    engine: EngineOptions,
    sources: Vec<(String, Weights)>,
    models: RwLock<Vec<Arc<Model>>>,
}

impl Library {
    /// Draws up the list of models; none is read yet. Blocks for the database.
    pub(crate) fn open(
        db: &Db,
        audit: &AuditLog,
        clock: &Clock,
        registry: &Arc<Registry>,
        options: LibraryOptions,
    ) -> Result<Self, ModelsError> {
        let sources = sources(&options)?;
        let default = default_name(&options, &sources)?;
        let access = db.read_blocking(store::access)?;
        let model = |(name, _): &(String, Weights)| {
            let is_alias = |(_, model): &(&String, &String)| *model == name;
            Arc::new(Model {
                aliases: options.aliases.iter().filter(is_alias).map(|(a, _)| a.clone()).collect(),
                is_default: default.as_ref() == Some(name),
                roles: access.get(name).cloned(),
                ..Model::new(name, clock.now())
            })
        };
        let models = RwLock::new(sources.iter().map(model).collect());
        let (changes, audit) = (Changes::new(db, audit, registry), audit.clone());
        let inner = Inner { changes, audit, engine: options.engine, sources, models };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Reads the models on a thread of its own; returns at once.
    pub(crate) fn load_in_background(&self) -> Result<(), ModelsError> {
        let library = self.clone();
        let work = move || {
            for (name, weights) in library.inner.sources.clone() {
                library.load(&name, weights);
            }
        };
        let thread = std::thread::Builder::new().name("models".into()).spawn(work);
        thread.map(drop).map_err(ModelsError::Thread)
    }

    /// Reads one model and no other, for a command that needs no more. Blocks.
    pub(crate) fn load_only(&self, name: Option<&str>) -> Result<Arc<Model>, ModelsError> {
        let model = self.find(name).ok_or(ModelsError::NotFound)?;
        let source = self.inner.sources.iter().find(|(known, _)| *known == model.name);
        let (name, weights) = source.cloned().ok_or(ModelsError::NotFound)?;
        self.load(&name, weights);
        self.find(Some(&name)).ok_or(ModelsError::NotFound)
    }

    /// Reads one model. What it is, by digest, is on record before it answers anybody.
    fn load(&self, name: &str, weights: Weights) {
        let loaded = opened(weights)
            .and_then(|weights| Ok((digest(&weights)?, weights)))
            .map_err(LoadError::from)
            .and_then(|(digest, weights)| {
                let options = self.inner.engine.clone();
                let engine = Loaded::load(weights, options, &LoadProgress::new())?;
                Ok((digest, Engines::from(engine)))
            })
            .map_err(|error| format!("{error}."))
            .and_then(|(digest, engine)| {
                self.record_load(name, Ok(&digest))
                    .map_err(|_| "That it was loaded cannot be put on record.".to_owned())?;
                Ok((digest, engine))
            });
        match loaded {
            Ok((digest, engine)) => {
                tracing::info!(model = name, sha256 = digest, "model is ready");
                self.serve(name, digest, engine);
            }
            Err(reason) => {
                tracing::error!(model = name, reason, "model cannot be served");
                let _ = self.record_load(name, Err(&reason));
                self.change(name, |model| model.state = ModelState::Failed(reason));
            }
        }
    }

    /// Lets a loaded model answer under this name.
    pub(crate) fn serve(&self, name: &str, digest: String, engine: Engines) {
        self.change(name, |model| {
            *model = Model { digest: Some(digest), ..model.clone().ready(engine) };
        });
    }

    fn record_load(&self, name: &str, result: Result<&str, &str>) -> Result<(), AuditError> {
        let event =
            match result {
                Ok(digest) => Event::new(Action::ModelLoad, Outcome::Done, Actor::System)
                    .with("sha256", digest),
                Err(reason) => Event::new(Action::ModelLoad, Outcome::Failed, Actor::System)
                    .with("reason", reason),
            };
        self.inner.audit.record_blocking(event.subject(name)).map(drop)
    }

    /// Says which roles may use a model; none means everybody who may use models. The change and
    /// its record are one.
    pub(crate) async fn set_access(
        &self,
        name: &str,
        roles: Option<Vec<String>>,
        caller: &Caller,
    ) -> Result<(), ModelsError> {
        let model = self.find(Some(name)).ok_or(ModelsError::NotFound)?;
        let event = Event::new(Action::ModelAccess, Outcome::Done, caller.actor())
            .from_request(caller.address, caller.request)
            .subject(name)
            .with("roles", roles.clone());
        let (audit, name, kept) = (self.inner.audit.clone(), model.name.clone(), roles.clone());
        let library = self.clone();
        let set = move |tx: &Transaction<'_>| -> Result<(), ModelsError> {
            store::set_access(tx, &name, kept.as_deref())?;
            audit.record_in(tx, event)?;
            Ok(())
        };
        let change = move |(): &()| library.change(&model.name, |model| model.roles = roles);
        self.inner.changes.make(caller, set, change).await
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Model)) {
        let mut models = self.inner.models.write();
        if let Some(model) = models.iter_mut().find(|model| model.name == name) {
            let mut changed = Model::clone(model);
            change(&mut changed);
            *model = Arc::new(changed);
        }
    }
}

impl Catalog for Library {
    fn find(&self, name: Option<&str>) -> Option<Arc<Model>> {
        let models = self.inner.models.read();
        let fits = |model: &&Arc<Model>| match name {
            None => model.is_default,
            Some(name) => model.name == name || model.aliases.iter().any(|alias| alias == name),
        };
        models.iter().find(fits).cloned()
    }

    fn all(&self) -> Vec<Arc<Model>> {
        self.inner.models.read().clone()
    }
}

fn sources(options: &LibraryOptions) -> Result<Vec<(String, Weights)>, ModelsError> {
    let mut sources: Vec<(String, Weights)> = Vec::new();
    for file in &options.files {
        sources.push((name_of(file)?, Weights::File(file.clone())));
    }
    if let Some(bytes) = options.guide {
        sources.push((GUIDE.to_owned(), Weights::Embedded(bytes)));
    }
    let mut names: HashSet<&str> = HashSet::new();
    let all = sources.iter().map(|(name, _)| name).chain(options.aliases.keys());
    for name in all {
        if !names.insert(name) {
            return Err(ModelsError::SameName(name.clone()));
        }
    }
    Ok(sources)
}

/// The name of the model in a file.
fn name_of(file: &Path) -> Result<String, ModelsError> {
    let name = gguf::model_name(file);
    let is_fit = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:+".contains(&byte));
    if is_fit { Ok(name) } else { Err(ModelsError::BadName(name)) }
}

fn default_name(
    options: &LibraryOptions,
    sources: &[(String, Weights)],
) -> Result<Option<String>, ModelsError> {
    if options.default.is_empty() {
        return Ok(sources.first().map(|(name, _)| name.clone()));
    }
    let wanted = options.aliases.get(&options.default).unwrap_or(&options.default);
    if sources.iter().any(|(name, _)| name == wanted) {
        Ok(Some(wanted.clone()))
    } else {
        Err(ModelsError::NoSuchDefault(options.default.clone()))
    }
}

/// Opens the model's files, so that what is digested is what is loaded.
fn opened(weights: Weights) -> Result<Weights, GgufError> {
    match weights {
        Weights::File(path) => ModelFiles::open(&path).map(Weights::Opened),
        other => Ok(other),
    }
}

/// SHA-256 in hexadecimal, of the file or of all parts one after the other.
fn digest(weights: &Weights) -> Result<String, GgufError> {
    let mut sha = Sha256::new();
    match weights {
        Weights::Embedded(bytes) => sha.update(bytes),
        Weights::File(path) => ModelFiles::open(path)?.read_through(|bytes| sha.update(bytes))?,
        Weights::Opened(files) => files.read_through(|bytes| sha.update(bytes))?,
    }
    Ok(hex::encode(sha.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(files: &[&str], default: &str) -> LibraryOptions {
        LibraryOptions {
            files: files.iter().map(PathBuf::from).collect(),
            guide: Some(b"x"),
            default: default.into(),
            ..LibraryOptions::default()
        }
    }

    #[test]
    fn the_default_is_the_named_model_else_the_first_file_else_the_guide() {
        for (files, default, expected) in [
            (vec![], "", "guide"),
            (vec!["/m/a.gguf", "/m/b.gguf"], "", "a"),
            (vec!["/m/a.gguf", "/m/b.gguf"], "b", "b"),
            (vec!["/m/a.gguf"], "guide", "guide"),
            (vec!["/m/a-00001-of-00002.gguf"], "a", "a"),
        ] {
            let options = options(&files, default);
            let sources = sources(&options).expect("fit");
            let name = default_name(&options, &sources).expect("there");
            assert_eq!(name.as_deref(), Some(expected));
        }
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        let refused = |files: &[&str], default: &str| {
            let options = options(files, default);
            sources(&options).and_then(|sources| default_name(&options, &sources)).is_err()
        };
        assert!(refused(&["/m/a b.gguf"], ""));
        assert!(refused(&["/m/a.gguf", "/n/a.gguf"], ""));
        assert!(refused(&["/m/guide.gguf"], ""));
        assert!(refused(&["/m/a-00001-of-00002.gguf", "/m/a-00002-of-00002.gguf"], ""));
        assert!(refused(&["/m/a.gguf"], "c"));
    }
}
