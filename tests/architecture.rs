//! Holds the map in `src/lib.rs`: that it names every room, who may import whom, which file may use
//! which foreign crate, how long files may be, and where `unsafe` and SQL may stand.

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
    &["openai", "chat", "evals", "monitor", "backup", "speed"],
    &["prompts"],
    &["gate"],
    &["accounts", "groups", "keys", "models"],
    &["access", "limits", "usage"],
    &["audit"],
    &["db", "web", "guard", "engine"],
    &["vault"],
    &["config", "clock", "ids", "secret", "telemetry"],
];

/// Imports against the rows, each with its reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("models", "gate", "the library is the catalog that the gate asks for"),
    ("accounts", "gate", "`GET /api/me` shows what the person has used"),
    ("keys", "gate", "a key is limited to models that are there and open to its owner"),
    ("clock", "db", "a timestamp says how it is stored"),
    ("ids", "db", "an id says how it is stored"),
];

/// Something that only some files may name.
struct Only {
    what: &'static str,
    words: &'static [&'static str],
    /// `room/` is all of a room, `*end` is every file of that ending, the rest are files.
    places: &'static [&'static str],
}

/// What is foreign or not repeatable, and the files that keep it from all others.
const ONLY: &[Only] = &[
    Only {
        what: "actix: HTTP stays at the edge",
        words: &["actix_web", "actix_http", "actix_rt"],
        places: &[
            "*api.rs",
            "web/",
            "app.rs",
            "app/",
            // The types that handlers ask for, and the look at who is calling.
            "access/authenticate.rs",
            "access/grant.rs",
            "access/route.rs",
        ],
    },
    Only {
        what: "rusqlite: rows stay in the stores",
        words: &["rusqlite"],
        places: &[
            "*store.rs",
            "accounts/store/",
            "db/",
            // A store by another name.
            "backup/settle.rs",
            // Their jobs run inside a transaction that a store takes.
            "audit/export.rs",
            "monitor/alerts/mod.rs",
            "monitor/alerts/rules.rs",
            "monitor/posture/facts.rs",
            // What a failed statement means to the feature.
            "accounts/error.rs",
            "keys/error.rs",
        ],
    },
    Only {
        what: "candle and tokenizers: computing stays in the engine",
        words: &["candle_core", "candle_nn", "candle_transformers", "tokenizers"],
        places: &["engine/"],
    },
    Only { what: "aes-gcm: sealing stays in the vault", words: &["aes_gcm"], places: &["vault/"] },
    Only {
        what: "argon2: slow hashes are bounded where they are made",
        words: &["argon2"],
        places: &["accounts/password.rs", "vault/root.rs"],
    },
    Only {
        what: "the environment: settings come from the configuration",
        words: &["std::env"],
        places: &[
            "config/",
            // Where temporary files lie.
            "speed/nameless.rs",
        ],
    },
    Only {
        what: "the wall clock: it is read in one place, so that tests can set it",
        words: &[
            "SystemTime",
            "OffsetDateTime::now_utc",
            "OffsetDateTime::now_local",
            "UtcDateTime::now",
        ],
        places: &["clock.rs"],
    },
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

/// The lines that are built into the product, with their numbers: without comments, and without the
/// items that stand under `#[cfg(test)]`.
fn product(text: &str) -> Vec<(usize, &str)> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    while let Some((number, line)) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            let code = line.split("//").next().unwrap_or(line);
            found.push((number, code));
            continue;
        }
        let outer = indent(line);
        let mut is_first = true;
        for (_, line) in lines.by_ref() {
            if is_first && line.trim_start().starts_with("#[") {
                continue;
            }
            let is_whole = is_first && line.trim_end().ends_with([';', ',', '}']);
            let is_end = indent(line) == outer && line.trim_start().starts_with('}');
            if is_whole || is_end {
                break;
            }
            is_first = false;
        }
    }
    found
}

/// Whether a line names this, and not something longer.
fn names(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    })
}

fn is_at(name: &str, place: &str) -> bool {
    match (place.strip_prefix('*'), place.ends_with('/')) {
        (Some(ending), _) => name.ends_with(ending),
        (None, true) => name.starts_with(place),
        (None, false) => name == place,
    }
}

/// The lines of a file that name what it may not.
fn breaches(name: &str, text: &str) -> Vec<String> {
    let here = |only: &&Only| !only.places.iter().any(|place| is_at(name, place));
    let mut found = Vec::new();
    for only in ONLY.iter().filter(here) {
        for (number, code) in product(text) {
            // A name in a text is no use of it.
            let code: String = code.split('"').step_by(2).collect();
            if only.words.iter().any(|word| names(&code, word)) {
                found.push(format!("{name}:{number}: {}", only.what));
            }
        }
    }
    found
}

/// The paths of the map in `lib.rs`.
fn map(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let first = rows.filter_map(|row| row.split(" | ").next());
    first
        .flat_map(|cell| cell.split(','))
        .map(|path| path.trim().trim_matches('`').to_owned())
        .collect()
}

fn is_test(name: &str) -> bool {
    // Named so, or taken in under `#[cfg(test)]` by `lib.rs` and `engine/mod.rs`.
    name.contains("/tests/")
        || name.ends_with("tests.rs")
        || name.ends_with("testing.rs")
        || ["reference.rs", "engine/golden.rs"].contains(&name)
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
        for (_, code) in product(&text) {
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
fn foreign_crates_are_named_where_they_belong() {
    let mut wrong = Vec::new();
    let mut used: Vec<&str> = Vec::new();
    for (name, text) in sources().iter().filter(|(name, _)| !is_test(name)) {
        wrong.extend(breaches(name, text));
        for only in ONLY {
            let is_named = |(_, code): &(usize, &str)| only.words.iter().any(|w| names(code, w));
            if product(text).iter().any(is_named) {
                used.extend(only.places.iter().filter(|place| is_at(name, place)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let idle = ONLY.iter().flat_map(|only| only.places).filter(|place| !used.contains(place));
    assert_eq!(idle.collect::<Vec<_>>(), Vec::<&&str>::new(), "no longer needed");
}

#[test]
fn the_check_of_foreign_crates_can_fail() {
    let check = |name: &str, text: &str, count: usize| {
        assert_eq!(breaches(name, text).len(), count, "{name}: {text}");
    };
    check("gate/mod.rs", "use rusqlite::Connection;\n", 1);
    check("gate/store.rs", "use rusqlite::Connection;\n", 0);
    check("gate/prompt.rs", "fn f(r: actix_web::HttpRequest) {}\n", 1);
    check("gate/api.rs", "fn f(r: actix_web::HttpRequest) {}\n", 0);
    check("models/library.rs", "let t: candle_core::Tensor;\nuse tokenizers::Model;\n", 2);
    check("accounts/own.rs", "use argon2::Argon2;\nuse aes_gcm::Aes256Gcm;\n", 2);
    check("cli/serve.rs", "let path = std::env::var_os(\"HOME\");\n", 1);
    check("audit/log.rs", "let now = std::time::SystemTime::now();\n", 1);
    check("audit/log.rs", "let now = OffsetDateTime::now_utc();\n", 1);
    check("audit/log.rs", "// SystemTime is read in clock.rs\nlet x = \"aes_gcm\";\n", 0);
    check("audit/log.rs", "#[cfg(test)]\nmod tests {\n    use rusqlite::Row;\n}\n", 0);
    check("audit/log.rs", "#[cfg(test)]\nmod tests;\nuse rusqlite::Row;\n", 1);
    check("audit/log.rs", "#[cfg(test)]\nfn f() {\n    g();\n}\nuse rusqlite::Row;\n", 1);
}

#[test]
fn the_map_names_every_room_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let text = fs::read_to_string(root.join("lib.rs")).expect("text");
    let map = map(&text);
    assert!(map.len() > 20, "{map:?}");
    for path in &map {
        let found = root.join(path);
        let is_there = if path.ends_with('/') { found.is_dir() } else { found.is_file() };
        assert!(is_there, "the map names {path}, and it is not there");
    }
    let mapped: Vec<&str> = map.iter().map(|path| room(path)).collect();
    for (name, _) in sources() {
        let room = room(&name);
        let is_entry = ["lib", "main"].contains(&room);
        assert!(is_entry || mapped.contains(&room), "the map does not name {room}");
    }
}

#[test]
fn unsafe_stands_where_it_may() {
    for (name, text) in sources() {
        let may = name.starts_with("engine/kernels/");
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            let code: String = code.split('"').step_by(2).collect();
            if names(&code, "unsafe") {
                assert!(may, "{name}:{}: unsafe outside engine/kernels", number + 1);
                let is_allowed = text.contains("unsafe_code") && text.contains("reason = ");
                assert!(is_allowed, "{name} does not say why it is unsafe");
            }
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
            .any(|word| product(&text).iter().any(|(_, code)| code.contains(word)));
        assert!(!has_sql || is_store || is_test(&name), "{name} has SQL");
    }
}
