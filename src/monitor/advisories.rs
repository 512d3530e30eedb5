//! Holds what the binary is made from against a directory with a RustSec advisory database,
//! without any network.

use std::path::Path;
use std::str::FromStr;

use rustsec::advisory::Informational;
use rustsec::report::Settings;
use rustsec::{Database, Lockfile, Report};
use serde::Serialize;

use crate::audit::{Action, Actor, Event, Outcome};

/// The lock file that the binary was built with.
const LOCK: &str = include_str!("../../Cargo.lock");

/// Why a check could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdvisoryError {
    /// The directory is not a copy of the database.
    #[error(
        "{path} is not a copy of the RustSec advisory database: {reason}. Point --db at a checkout of it (the folder that holds `crates/`)."
    )]
    Database { path: String, reason: String },
    /// The binary's own lock file cannot be read.
    #[error("the list of crates inside the binary cannot be read: {0}")]
    Lock(String),
}

/// What a check found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AdvisoryReport {
    /// How many advisories the database holds.
    pub(crate) advisories: usize,
    /// How many crates were held against it.
    pub(crate) crates: usize,
    /// Crates with a known vulnerability.
    pub(crate) vulnerabilities: Vec<AdvisoryFinding>,
    /// Crates that are unmaintained, unsound or yanked.
    pub(crate) warnings: Vec<AdvisoryFinding>,
}

/// One crate and the advisory that names it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AdvisoryFinding {
    /// The advisory, such as RUSTSEC-2024-0001.
    pub(crate) id: String,
    /// The crate.
    pub(crate) package: String,
    /// The version in the binary.
    pub(crate) version: String,
    /// What the advisory says, in one line.
    pub(crate) title: String,
    /// The kind: `vulnerability`, `unmaintained`, `unsound`, `notice`, `yanked`.
    pub(crate) kind: String,
    /// Versions that are mended.
    pub(crate) patched: Vec<String>,
}

/// What goes on record of a check: counts, and which advisories.
pub(crate) fn advisory_event(report: &AdvisoryReport) -> Event {
    let mut ids: Vec<String> = report.vulnerabilities.iter().map(|one| one.id.clone()).collect();
    ids.dedup();
    Event::new(Action::AdvisoryCheck, Outcome::Done, Actor::System)
        .with("advisories", report.advisories)
        .with("crates", report.crates)
        .with("vulnerabilities", report.vulnerabilities.len())
        .with("warnings", report.warnings.len())
        .with("ids", ids)
}

/// Checks the binary's crates against the database in `directory`.
pub(crate) fn check(directory: &Path) -> Result<AdvisoryReport, AdvisoryError> {
    let bad =
        |reason: String| AdvisoryError::Database { path: directory.display().to_string(), reason };
    if !directory.join("crates").is_dir() {
        return Err(bad("there is no folder `crates` in it".to_owned()));
    }
    let database = Database::open(directory)
        .map_err(|error| bad(broken_file(directory).unwrap_or_else(|| error.to_string())))?;
    let lock = Lockfile::from_str(LOCK).map_err(|error| AdvisoryError::Lock(error.to_string()))?;
    let settings = Settings {
        informational_warnings: vec![
            Informational::Notice,
            Informational::Unmaintained,
            Informational::Unsound,
        ],
        ..Settings::default()
    };
    let report = Report::generate(&database, &lock, &settings);
    let finding = |advisory: &rustsec::advisory::Metadata,
                   package: &rustsec::package::Package,
                   kind: &str,
                   patched| {
        AdvisoryFinding {
            id: advisory.id.to_string(),
            package: package.name.to_string(),
            version: package.version.to_string(),
            title: advisory.title.clone(),
            kind: kind.to_owned(),
            patched,
        }
    };
    let patched = |versions: &rustsec::advisory::Versions| {
        versions.patched().iter().map(ToString::to_string).collect()
    };
    let vulnerabilities = report
        .vulnerabilities
        .list
        .iter()
        .map(|one| finding(&one.advisory, &one.package, "vulnerability", patched(&one.versions)))
        .collect();
    let warnings = report
        .warnings
        .values()
        .flatten()
        .filter_map(|one| {
            let advisory = one.advisory.as_ref()?;
            let patched = one.versions.as_ref().map(patched).unwrap_or_default();
            Some(finding(advisory, &one.package, one.kind.as_str(), patched))
        })
        .collect();
    Ok(AdvisoryReport {
        advisories: database.iter().count(),
        crates: lock.packages.len(),
        vulnerabilities,
        warnings,
    })
}

/// The first advisory that cannot be read, and why: the library's own error names no file.
fn broken_file(directory: &Path) -> Option<String> {
    let packages = std::fs::read_dir(directory.join("crates")).ok()?.flatten();
    let files = packages.filter_map(|package| std::fs::read_dir(package.path()).ok());
    files.flat_map(Iterator::flatten).find_map(|file| {
        let path = file.path();
        let name = path.strip_prefix(directory).unwrap_or(&path).display().to_string();
        let error = rustsec::Advisory::load_file(&path).err()?;
        Some(format!("{name}: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VULNERABLE: &str = "```toml\n[advisory]\nid = \"RUSTSEC-2030-0001\"\npackage = \"rusqlite\"\ndate = \"2030-01-01\"\n\n[versions]\npatched = [\">= 99.0.0\"]\n```\n\n# A made-up hole\n\nText.\n";

    #[test]
    fn a_crate_in_the_binary_with_an_advisory_is_found() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let folder = directory.path().join("crates/rusqlite");
        std::fs::create_dir_all(&folder).expect("folder");
        std::fs::write(folder.join("RUSTSEC-2030-0001.md"), VULNERABLE).expect("written");
        let report = check(directory.path()).expect("checked");
        assert_eq!(report.advisories, 1);
        assert_eq!(report.vulnerabilities[0].id, "RUSTSEC-2030-0001");
        assert_eq!(report.vulnerabilities[0].package, "rusqlite");
        assert_eq!(report.vulnerabilities[0].title, "A made-up hole");
    }

    #[test]
    fn a_folder_that_is_no_database_is_refused_in_words() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let error = check(directory.path()).expect_err("refused").to_string();
        assert!(error.contains("crates"), "{error}");
    }

    #[test]
    fn a_broken_advisory_is_named() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let folder = directory.path().join("crates/rusqlite");
        std::fs::create_dir_all(&folder).expect("folder");
        std::fs::write(folder.join("RUSTSEC-2030-0001.md"), VULNERABLE).expect("written");
        std::fs::write(folder.join("RUSTSEC-2030-0002.md"), "no advisory").expect("written");
        let error = check(directory.path()).expect_err("refused").to_string();
        assert!(error.contains("crates/rusqlite/RUSTSEC-2030-0002.md"), "{error}");
    }
}
