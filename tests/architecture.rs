//! Holds the map in `src/lib.rs`: who may import whom, how long files may be, where `unsafe` may
//! stand, and that the files of the package are where its documentation says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from top to bottom. A room may import what stands in a lower row, and its own row where
/// the table says so.
const ROWS: &[&[&str]] = &[
    &["cli"],
    &["app", "reference"],
    &["routes"],
    &["admin"],
    &["openai", "chat", "evals", "monitor", "backup"],
    &["gate"],
    &["accounts", "keys", "models"],
    &["access", "limits"],
    &["audit"],
    &["db", "web", "guard", "engine"],
    &["vault"],
    &["config", "clock", "ids", "secret", "telemetry"],
];

/// Imports against the rows, each with its reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("models", "gate", "the library is the catalog that the gate asks for"),
    ("accounts", "gate", "`GET /api/me` shows what the person has used"),
    ("clock", "db", "a timestamp says how it is stored"),
    ("ids", "db", "an id says how it is stored"),
];

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    found.sort();
    let name = |path: &PathBuf| path.strip_prefix(&root).expect("inside").display().to_string();
    found.iter().map(|path| (name(path), fs::read_to_string(path).expect("text"))).collect()
}

/// The part of a file that is built into the product.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or(text)
}

fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("tests.rs") || name.ends_with("testing.rs")
}

fn room(name: &str) -> &str {
    name.split(['/', '.']).next().unwrap_or(name)
}

#[test]
fn rooms_import_downwards() {
    let row = |room: &str| ROWS.iter().position(|row| row.contains(&room));
    let mut wrong: BTreeMap<String, String> = BTreeMap::new();
    for (name, text) in sources() {
        let from = room(&name).to_owned();
        if is_test(&name) || from == "lib" || from == "main" {
            continue;
        }
        let here = row(&from).unwrap_or_else(|| panic!("{name}: `{from}` is not on the map"));
        for line in without_tests(&text).lines() {
            let code = line.split("//").next().unwrap_or(line);
            let mut rest = code;
            while let Some((_, after)) = rest.split_once("crate::") {
                rest = after;
                let to: String =
                    after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(there) = row(&to) else { continue };
                let is_excepted = EXCEPTIONS.iter().any(|(a, b, _)| *a == from && *b == to);
                if there < here && !is_excepted {
                    wrong.insert(format!("{from} imports {to}"), name.clone());
                }
            }
        }
    }
    assert!(wrong.is_empty(), "upwards: {wrong:#?}");
}

#[test]
fn unsafe_stands_where_it_may() {
    for (name, text) in sources() {
        let may = name.starts_with("engine/kernels");
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            let is_unsafe = code.contains("unsafe {")
                || code.contains("unsafe fn")
                || code.contains("unsafe impl");
            assert!(!is_unsafe || may, "{name}:{}: unsafe outside engine/kernels", number + 1);
            if code.contains("unsafe {") || code.contains("unsafe impl") {
                let before: Vec<&str> = text.lines().take(number).collect();
                let has_reason = before.iter().rev().take(6).any(|line| line.contains("SAFETY:"));
                assert!(has_reason, "{name}:{}: no SAFETY line", number + 1);
            }
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    for (name, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 450, "{name} has {lines} lines");
        assert!(text.starts_with("//!"), "{name} does not say what it is for");
    }
}

#[test]
fn sql_is_written_where_the_store_is_and_nowhere_else() {
    for (name, text) in sources() {
        let is_store = [
            "db/",
            "store",
            "accounts/throttle",
            "limits/",
            "audit/",
            "backup/",
            "models/",
            "monitor/",
            "evals/",
        ]
        .iter()
        .any(|part| name.contains(part));
        let has_sql = ["SELECT ", "INSERT INTO", "DELETE FROM", "UPDATE "]
            .iter()
            .any(|word| without_tests(&text).contains(word));
        assert!(!has_sql || is_store || is_test(&name), "{name} has SQL");
    }
}
