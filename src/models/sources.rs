//! Where models come from: the program itself, files that are named in the configuration, and the
//! models directory. A name leads to a file only by this list: no request names a path.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::ModelsError;
use super::identity::FileIdentity;
use crate::config::is_model_name;
use crate::engine::gguf::{GgufError, ModelFiles, model_name, part_paths};
use crate::engine::{LoadProgress, Weights};

/// The name of the model that is built in.
pub(crate) const GUIDE: &str = "guide";
/// Files of the directory that are looked at.
pub(super) const MODELS_MAX: usize = 1_024;

/// One model's weights, and by which way they came.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) weights: Weights,
    /// The directory that the file must lie in.
    pub(super) inside: Option<PathBuf>,
}

impl Source {
    /// Which files these are now, once they are found where they must lie; none for the built-in model.
    pub(super) fn identity(&self) -> io::Result<Option<Vec<FileIdentity>>> {
        let Weights::File(path) = &self.weights else { return Ok(None) };
        let parts = part_paths(path);
        if let Some(directory) = &self.inside {
            parts.iter().try_for_each(|part| lies_inside(part, directory))?;
        }
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        // A part that is missing is named when the model is read.
        let found = parts.iter().filter_map(|part| fs::metadata(part).ok());
        Ok(Some(found.map(|found| FileIdentity::of(&found)).collect()))
    }

    /// Bytes of the weights on disk; none where they cannot be looked at.
    pub(super) fn bytes(&self) -> Option<u64> {
        match &self.weights {
            Weights::Embedded(bytes) => Some(bytes.len() as u64),
            Weights::File(path) => {
                let bytes = |part: &PathBuf| fs::metadata(part).ok().map(|found| found.len());
                part_paths(path).iter().map(bytes).sum()
            }
            Weights::Opened(_) => None,
        }
    }

    /// The weights with their files opened, so that what is digested is what is loaded.
    pub(super) fn open(&self) -> Result<Weights, GgufError> {
        match &self.weights {
            Weights::File(path) => ModelFiles::open(path).map(Weights::Opened),
            other => Ok(other.clone()),
        }
    }
}

/// SHA-256 in hexadecimal, of the file or of all parts one after the other. Of a load that is
/// cancelled it says nothing.
pub(super) fn digest(weights: &Weights, progress: &LoadProgress) -> Result<String, GgufError> {
    let mut sha = Sha256::new();
    let mut take = |bytes: &[u8]| {
        if !progress.is_cancelled() {
            sha.update(bytes);
        }
    };
    match weights {
        Weights::Embedded(bytes) => take(bytes),
        Weights::File(path) => ModelFiles::open(path)?.read_through(take)?,
        Weights::Opened(files) => files.read_through(take)?,
    }
    Ok(hex::encode(sha.finalize()))
}

/// Follows every link on the way: a file that a link leads to outside of the directory is refused.
fn lies_inside(path: &Path, directory: &Path) -> io::Result<()> {
    if path.canonicalize()?.starts_with(directory.canonicalize()?) {
        return Ok(());
    }
    Err(io::Error::other("it is a link to a file outside of the models directory"))
}

/// The models that the configuration names; their names are unlike each other.
pub(super) fn configured(
    files: &[PathBuf],
    guide: Option<&'static [u8]>,
) -> Result<Vec<Source>, ModelsError> {
    let of_file = |file: &PathBuf| -> Result<Source, ModelsError> {
        Ok(Source { name: name_of(file)?, weights: Weights::File(file.clone()), inside: None })
    };
    let mut sources = files.iter().map(of_file).collect::<Result<Vec<_>, _>>()?;
    if let Some(bytes) = guide {
        let weights = Weights::Embedded(bytes);
        sources.push(Source { name: GUIDE.to_owned(), weights, inside: None });
    }
    let mut names = HashSet::new();
    match sources.iter().find(|source| !names.insert(&source.name)) {
        Some(again) => Err(ModelsError::SameName(again.name.clone())),
        None => Ok(sources),
    }
}

/// What lies in the models directory.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// By name.
    pub(super) sources: BTreeMap<String, Source>,
    /// Files that are not served, and why.
    pub(super) refused: Vec<(String, String)>,
}

/// Looks through the directory. Its folders are not entered.
pub(super) fn scan(directory: &Path) -> Result<Found, ModelsError> {
    let mut found = Found::default();
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(ModelsError::Directory)? {
        let path = entry.map_err(ModelsError::Directory)?.path();
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) {
            paths.push(path);
        }
        if paths.len() > MODELS_MAX {
            return Err(ModelsError::TooMany(MODELS_MAX));
        }
    }
    paths.sort();
    for path in paths.into_iter().filter(|path| !is_later_part(path)) {
        let shown = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name_of(&path) {
            Ok(name) if found.sources.contains_key(&name) => {
                found.refused.push((shown, "Another file has the same name.".to_owned()));
            }
            Ok(name) => {
                let weights = Weights::File(path);
                let source =
                    Source { name: name.clone(), weights, inside: Some(directory.to_owned()) };
                match source.identity() {
                    Ok(_) => drop(found.sources.insert(name, source)),
                    Err(error) => {
                        found.refused.push((shown, format!("It is not served: {error}.")));
                    }
                }
            }
            Err(error) => found.refused.push((shown, format!("{error}."))),
        }
    }
    Ok(found)
}

/// Whether a file is the second or a later part of a model: it is read with the first.
fn is_later_part(path: &Path) -> bool {
    part_paths(path).first().is_some_and(|first| first != path)
}

/// The name of the model in a file.
fn name_of(file: &Path) -> Result<String, ModelsError> {
    let name = model_name(file);
    if is_model_name(&name) { Ok(name) } else { Err(ModelsError::BadName(name)) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_really_lies_in_the_directory_is_found() {
        let home = tempfile::tempdir().expect("a directory");
        let (models, outside) = (home.path().join("models"), home.path().join("secret.gguf"));
        fs::create_dir(&models).expect("made");
        fs::write(&outside, "x").expect("written");
        for name in ["a.gguf", "B.GGUF", "notes.txt", "a b.gguf", "c-00001-of-00002.gguf"] {
            fs::write(models.join(name), "x").expect("written");
        }
        for name in ["c-00002-of-00002.gguf", "d-00001-of-00002.gguf"] {
            fs::write(models.join(name), "x").expect("written");
        }
        symlink(&outside, models.join("link.gguf")).expect("linked");
        symlink(models.join("a.gguf"), models.join("inner.gguf")).expect("linked");
        symlink("/nowhere", models.join("dangling.gguf")).expect("linked");
        fs::create_dir(models.join("folder.gguf")).expect("made");
        let found = scan(&models).expect("scans");
        let names: Vec<&String> = found.sources.keys().collect();
        assert_eq!(names, ["B", "a", "c", "inner"]);
        let refused: Vec<&str> = found.refused.iter().map(|(name, _)| &**name).collect();
        let lacks_a_part = "d-00001-of-00002.gguf";
        assert_eq!(
            refused,
            ["a b.gguf", lacks_a_part, "dangling.gguf", "folder.gguf", "link.gguf"]
        );
        assert!(found.refused[4].1.contains("outside"), "{:?}", found.refused);
        assert!(scan(&home.path().join("none")).is_err());
    }

    #[test]
    fn a_file_that_became_a_link_to_the_outside_is_refused_when_it_is_loaded() {
        let home = tempfile::tempdir().expect("a directory");
        let (models, outside) = (home.path().join("models"), home.path().join("secret.gguf"));
        fs::create_dir(&models).expect("made");
        fs::write(&outside, "x").expect("written");
        fs::write(models.join("a.gguf"), "x").expect("written");
        let source = scan(&models).expect("scans").sources["a"].clone();
        assert!(source.identity().is_ok());
        fs::remove_file(models.join("a.gguf")).expect("removed");
        symlink(&outside, models.join("a.gguf")).expect("linked");
        assert!(source.identity().expect_err("refused").to_string().contains("outside"));
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        let files = |files: &[&str]| {
            let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            configured(&files, Some(b"x"))
        };
        assert!(files(&["/m/a.gguf", "/m/b.gguf"]).is_ok());
        for wrong in [
            &["/m/a b.gguf"][..],
            &["/m/a.gguf", "/n/a.gguf"],
            &["/m/guide.gguf"],
            &["/m/a-00001-of-00002.gguf", "/m/a-00002-of-00002.gguf"],
        ] {
            assert!(files(wrong).is_err(), "{wrong:?}");
        }
    }
}
