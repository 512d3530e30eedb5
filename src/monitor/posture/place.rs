//! What the data directory and the process show by themselves: file modes, certificate, root key,
//! model files, core dumps. Reads only.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::digests::Digests;
use crate::clock::Timestamp;
use crate::config::{LoadWhen, Settings};
use crate::engine::gguf::{model_name, part_paths};
use crate::vault::{SourceKind, Vault};
use crate::web::tls;

/// Files that are looked at for their modes; a directory with more is told as such.
const FILES_MAX: usize = 20_000;
/// Offenders that are named.
const NAMED_MAX: usize = 3;

/// How closely model files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// A file that was not written since it was loaded is taken for the same.
    Times,
    /// Every file is read whole.
    Contents,
}

/// What is known of the server's own process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Whether core dumps are off; none where another process is asking.
    pub(crate) is_core_off: Option<bool>,
}

impl Process {
    /// This process, which is the server.
    pub(crate) fn own() -> Self {
        use rustix::process::{Resource, getrlimit};
        let is_limited = getrlimit(Resource::Core).current == Some(0);
        Self { is_core_off: Some(is_limited && Self::is_closed()) }
    }

    #[cfg(target_os = "linux")]
    fn is_closed() -> bool {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        dumpable_behavior().is_ok_and(|now| now == DumpableBehavior::NotDumpable)
    }

    /// Elsewhere there is no such switch, and the limit decides alone.
    #[cfg(not(target_os = "linux"))]
    const fn is_closed() -> bool {
        true
    }

    /// Not this process: a command that looks at a server from outside.
    pub(crate) const fn other() -> Self {
        Self { is_core_off: None }
    }
}

/// The certificate in use.
#[derive(Clone, Debug)]
pub(crate) struct CertificateSeen {
    pub(super) is_own_authority: bool,
    pub(super) facts: tls::CertificateFacts,
}

pub(super) fn certificate(data: &Path, settings: &Settings) -> Result<CertificateSeen, String> {
    let is_own_authority = settings.tls.certificate_file.as_os_str().is_empty();
    let path = if is_own_authority {
        data.join("tls/server.pem")
    } else {
        settings.tls.certificate_file.clone()
    };
    let pem = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let facts = tls::facts(&pem).map_err(|error| error.to_string())?;
    Ok(CertificateSeen { is_own_authority, facts })
}

pub(super) fn root_key(data: &Path) -> Result<(SourceKind, Timestamp), String> {
    Vault::root_facts(&data.join("keys")).map_err(|error| error.to_string())
}

/// Who but the owner can get at the data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Modes {
    /// The mode of the directory itself.
    pub(super) directory: u32,
    /// Files inside that others may read or write, the first few by name.
    pub(super) open: Vec<String>,
    pub(super) open_count: usize,
    pub(super) has_more: bool,
}

pub(super) fn modes(data: &Path) -> Result<Modes, String> {
    let told = |error: std::io::Error| format!("{}: {error}", data.display());
    let directory = fs::metadata(data).map_err(told)?.mode() & 0o777;
    let mut modes = Modes { directory, ..Modes::default() };
    let mut folders = vec![data.to_owned()];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            count += 1;
            if count > FILES_MAX {
                modes.has_more = true;
                return Ok(modes);
            }
            // Not through links: what they point to is not this directory's.
            let Ok(found) = entry.metadata() else { continue };
            let path = entry.path();
            // Behind a closed directory, a file that others may read is still closed to them. Keys
            // must not depend on that, and nothing may be open for writing.
            let mask = if path.starts_with(data.join("keys")) { 0o077 } else { 0o022 };
            if found.is_file() && found.mode() & mask != 0 {
                modes.open_count += 1;
                if modes.open.len() < NAMED_MAX {
                    let inside = path.strip_prefix(data).unwrap_or(&path);
                    modes.open.push(inside.display().to_string());
                }
            }
            if found.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(modes)
}

/// A model file against what is on record for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelSeen {
    /// The same.
    Same,
    /// Another file than the one that was loaded.
    Changed,
    /// It cannot be read.
    Unreadable,
    /// It was never loaded.
    NotRecorded,
}

/// Holds every model file against the last load that is on record: digest and when. One that is
/// loaded on demand and was never asked for has answered nobody, and is left out.
pub(super) fn models(
    settings: &Settings,
    recorded: &HashMap<String, (String, Timestamp)>,
    (depth, digests): (Depth, &Digests),
) -> Vec<(String, ModelSeen)> {
    let models = &settings.models;
    let files = models.files.iter().map(|path| (path.clone(), models.load));
    let found = directory(&models.directory).into_iter().map(|path| (path, LoadWhen::Demand));
    let seen = |(path, all): (PathBuf, LoadWhen)| {
        let name = model_name(&path);
        let load = models.limits.get(&name).and_then(|limits| limits.load).unwrap_or(all);
        let seen = model(&path, recorded.get(&name), (depth, digests));
        let is_asleep = load == LoadWhen::Demand && seen == ModelSeen::NotRecorded;
        (!is_asleep).then_some((name, seen))
    };
    files.chain(found).filter_map(seen).collect()
}

/// The model files of the models directory, in order; none where it cannot be read, which the
/// library says.
fn directory(directory: &Path) -> Vec<PathBuf> {
    if directory.as_os_str().is_empty() {
        return Vec::new();
    }
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_model =
        |path: &PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"));
    // Of a model in parts, the first stands for all.
    let is_first = |path: &PathBuf| part_paths(path).first() == Some(path);
    let files = entries.map(|entry| entry.path()).filter(is_model).filter(is_first);
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    files
}

fn model(
    path: &Path,
    recorded: Option<&(String, Timestamp)>,
    (depth, digests): (Depth, &Digests),
) -> ModelSeen {
    let Some((digest, at)) = recorded else { return ModelSeen::NotRecorded };
    let parts = part_paths(path);
    // Either time: a file that was put in another's place keeps its own time of writing.
    let touched = |path| fs::metadata(path).map(|found| found.mtime().max(found.ctime()));
    let Ok(touched) = parts.iter().map(touched).collect::<Result<Vec<_>, _>>() else {
        return ModelSeen::Unreadable;
    };
    if depth == Depth::Times && touched.iter().all(|touched| *touched < at.seconds()) {
        return ModelSeen::Same;
    }
    match digests.of(&parts) {
        Ok(found) if found == *digest => ModelSeen::Same,
        Ok(_) => ModelSeen::Changed,
        Err(_) => ModelSeen::Unreadable,
    }
}
