//! What the program is made from, what it would take from elsewhere, and what it would run: nothing that
//! was not pinned, nothing by itself, nothing at all.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha384};

use super::words::encoded;
use super::{CHAT, start};
use crate::common::numbered::rows;
use crate::common::refusal::chat_body;
use crate::common::{Home, Server, both, text, wait_for};

const CRATES: &str = "registry+https://github.com/rust-lang/crates.io-index";
const NPM: &str = "https://registry.npmjs.org/";
const OURS: &str = "strongroom";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a directory with this ending, but what was installed there.
fn files(directory: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("node_modules") {
            files(&path, ending, found);
        } else if path.to_str().is_some_and(|path| path.ends_with(ending)) {
            found.push(path);
        }
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Crates of a lock file that could be something else tomorrow.
fn loose_crates(lock: &toml::Table) -> Vec<String> {
    let packages = lock["package"].as_array().expect("a list");
    let word = |package: &toml::Value, name: &str| {
        package.get(name).and_then(toml::Value::as_str).unwrap_or_default().to_owned()
    };
    let is_loose = |package: &&toml::Value| {
        let is_pinned = word(package, "source") == CRATES && is_hex(&word(package, "checksum"), 64);
        word(package, "name") != OURS && !is_pinned
    };
    packages.iter().filter(is_loose).map(|package| word(package, "name")).collect()
}

/// Packages of a lock file of npm that could be.
fn loose_modules(lock: &Value) -> Vec<String> {
    let packages = lock["packages"].as_object().expect("an object").iter();
    let is_loose = |(name, package): &(&String, &Value)| {
        let has_digest = package["integrity"].as_str().is_some_and(|it| it.starts_with("sha512-"));
        let is_foreign = package["resolved"].as_str().is_some_and(|it| !it.starts_with(NPM));
        !name.is_empty() && (!has_digest || is_foreign || !package["link"].is_null())
    };
    packages.filter(is_loose).map(|(name, _)| name.clone()).collect()
}

/// Lines of a list for pip that could be. A list without versions is none of what is installed.
fn loose_wheels(list: &str) -> Vec<String> {
    let list = list.replace("\\\n", " ");
    let lines = list.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let is_pinned = |line: &&str| {
        let mut digests = line.split("--hash=sha256:").skip(1);
        let is_one = line.split_whitespace().next().is_some_and(|name| name.contains("=="));
        let has_digests = digests.clone().next().is_some();
        is_one && has_digests && digests.all(|digest| is_hex(digest.trim(), 64))
    };
    lines.filter(|line| !is_pinned(line)).map(str::to_owned).collect()
}

#[test]
fn class_13_what_it_is_made_from_and_tested_with_is_pinned_by_digest() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("text");
    let lock: toml::Table = lock.parse().expect("TOML");
    assert_eq!(loose_crates(&lock), Vec::<String>::new());
    // What the binary says that is in it is what the lock file names, digest by digest.
    let output = Home::empty().strongroom(&["sbom"]);
    assert!(output.status.success(), "{}", both(&output));
    let bill: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut locked = BTreeMap::new();
    for package in lock["package"].as_array().expect("a list") {
        let word = |name: &str| package.get(name).and_then(toml::Value::as_str);
        let id = format!(
            "pkg:cargo/{}@{}",
            package["name"].as_str().expect("a name"),
            package["version"].as_str().expect("a version")
        );
        locked.insert(id, word("checksum").unwrap_or_default().to_owned());
    }
    let parts = bill["components"].as_array().expect("a list");
    assert!(parts.len() > 100, "{}", parts.len());
    for part in parts {
        let id = part["purl"].as_str().expect("text");
        let digest = part["hashes"][0]["content"].as_str();
        assert_eq!(locked.get(id).map(String::as_str), digest, "{id}");
    }

    let (mut modules, mut lists) = (Vec::new(), Vec::new());
    files(&root().join("tests"), "package-lock.json", &mut modules);
    for place in ["tests", "benches"] {
        files(&root().join(place), ".txt", &mut lists);
    }
    assert!(modules.len() >= 3 && lists.len() >= 10, "{modules:?} {lists:?}");
    for path in modules {
        let lock = fs::read(&path).expect("a file");
        let lock = serde_json::from_slice(&lock).expect("JSON");
        assert_eq!(loose_modules(&lock), Vec::<String>::new(), "{}", path.display());
    }
    for path in lists {
        let list = fs::read_to_string(&path).expect("text");
        // What Open WebUI is installed without is no list of what is installed.
        if !path.ends_with("open-webui/without.txt") {
            assert_eq!(loose_wheels(&list), Vec::<String>::new(), "{}", path.display());
        }
    }
}

#[test]
fn class_13_the_libraries_of_the_pages_are_those_that_were_looked_at() {
    let vendor = root().join("static/vendor");
    let lock = fs::read(vendor.join("vendor.lock.json")).expect("a file");
    let lock: Value = serde_json::from_slice(&lock).expect("JSON");
    let packages = lock["packages"].as_array().expect("a list").iter();
    let entries: Vec<&Value> =
        packages.flat_map(|package| package["files"].as_array().expect("a list")).collect();
    let mut named: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = vendor.join(entry["file"].as_str().expect("a name"));
        let digest = Sha384::digest(fs::read(&path).expect("it is there"));
        let digest = format!("sha384-{}", STANDARD.encode(digest));
        assert_eq!(entry["sha384"], digest.as_str(), "{}", path.display());
        named.push(path);
    }
    let mut scripts = Vec::new();
    files(&vendor, ".js", &mut scripts);
    assert!(scripts.len() > 5, "{scripts:?}");
    let unnamed: Vec<&PathBuf> = scripts.iter().filter(|path| !named.contains(path)).collect();
    assert_eq!(unnamed, Vec::<&PathBuf>::new());
}

#[test]
fn class_13_a_list_that_pins_nothing_would_be_found() {
    let crates = |line: &str| {
        let lock = format!("[[package]]\nname = \"x\"\nversion = \"1.0.0\"\n{line}");
        loose_crates(&lock.parse().expect("TOML"))
    };
    let digest = "a".repeat(64);
    let pinned = format!("source = \"{CRATES}\"\nchecksum = \"{digest}\"");
    assert!(crates(&pinned).is_empty());
    for loose in [
        String::new(),
        format!("source = \"{CRATES}\""),
        format!("source = \"git+https://github.com/x/x\"\nchecksum = \"{digest}\""),
    ] {
        assert_eq!(crates(&loose), ["x"], "{loose}");
    }
    let modules = |package: Value| loose_modules(&json!({"packages": {"": {}, "x": package}}));
    assert!(modules(json!({"integrity": "sha512-x"})).is_empty());
    for loose in [
        json!({"version": "1.0.0"}),
        json!({"integrity": "sha1-x"}),
        json!({"integrity": "sha512-x", "resolved": "https://elsewhere.example/x.tgz"}),
    ] {
        assert_eq!(modules(loose.clone()), ["x"], "{loose}");
    }
    assert!(loose_wheels(&format!("# x\nx==1 \\\n    --hash=sha256:{digest}\n")).is_empty());
    for loose in ["x", "x==1", "x>=1 --hash=sha256:aa", "x==1 --hash=sha256:aa"] {
        assert_eq!(loose_wheels(loose).len(), 1, "{loose}");
    }
}

#[test]
fn class_16_no_model_is_fetched_from_anywhere_by_whatever_name() {
    let home = Home::prepared();
    let bait = TcpListener::bind("127.0.0.1:0").expect("a port");
    bait.set_nonblocking(true).expect("it can");
    let host = bait.local_addr().expect("an address").to_string();
    let names = [
        format!("http://{host}/library/x.gguf"),
        format!("https://{host}/x.gguf"),
        format!("{host}/library/x"),
        format!("{host}/library/x:q4_k_m"),
        format!("hf://{host}/x/x.gguf"),
        format!("ollama://{host}/library/x:latest"),
        format!("oci://{host}/x@sha256:{}", "0".repeat(64)),
    ];
    let directory = home.path("models");
    fs::create_dir(&directory).expect("made");
    let setting = format!("models.directory={}", directory.display());
    let mut server = start(&home, &[&setting]);
    let (owner, program) = (server.sign_in(), server.with_key(&home.key()));
    for name in &names {
        let mut body = chat_body();
        body["model"] = json!(name);
        let answer = program.post(CHAT, &body);
        assert_eq!((answer.status, &*answer.code()), (404, "model_not_found"), "{name}");
        let whole = encoded(name);
        for act in ["load", "unload", "cancel"] {
            let path = format!("/api/admin/models/{whole}/{act}");
            assert_eq!(owner.client.post(&path, &json!({})).status, 404, "{act} {name}");
            let output = home.strongroom(&["models", act, name]);
            assert!(!output.status.success(), "{act} {name}: {}", both(&output));
        }
        let alias = json!({"alias": "x", "model": name});
        assert_eq!(owner.client.post("/api/admin/model-aliases", &alias).status, 404, "{name}");
    }
    owner.client.post("/api/admin/model-scan", &json!({})).expect(200);
    server.assert_alive();
    assert!(server.stop().success());
    // Nor where the operator writes it in the place of a file.
    for name in names.iter().step_by(2) {
        let files = format!("models.files=[\"{name}\"]");
        let draft = format!("engine.draft_file={name}");
        for arguments in [["--model", name], ["--set", &files], ["--set", &draft]] {
            match Server::launch(&home, &arguments) {
                // It serves what is there.
                Ok(server) => {
                    wait_for("the file to be looked for", || server.log().contains("No such file"));
                }
                Err(said) => assert!(said.contains("is no name"), "{name}: {said}"),
            }
        }
        let output = home.strongroom(&["advisories", "check", "--db", name]);
        assert!(!output.status.success(), "{name}: {}", both(&output));
    }
    let nobody = bait.accept().expect_err("nobody came");
    assert_eq!(nobody.kind(), ErrorKind::WouldBlock, "{nobody}");
}

/// Names that a program which renews itself, or asks another to, would run.
const PROGRAMS: [&str; 12] = [
    "strongroom",
    "strongroom.new",
    "sh",
    "bash",
    "curl",
    "wget",
    "git",
    "tar",
    "cargo",
    "apt-get",
    "systemctl",
    "xdg-open",
];
const MARK: &str = "ran.txt";

/// A file that anybody who runs it leaves a mark by.
fn plant(directory: &Path, name: &str, mark: &Path) {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\necho $0 >> {}\n", mark.display())).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
}

#[test]
fn class_18_nothing_renews_the_program_and_it_runs_no_other() {
    let home = Home::prepared();
    let binary = Path::new(env!("CARGO_BIN_EXE_strongroom"));
    let digest = || Sha256::digest(fs::read(binary).expect("it is there"));
    let before = digest();
    for name in ["update", "upgrade", "self-update", "install"] {
        let output = home.strongroom(&[name]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", both(&output));
        let is_door = |row: &Vec<String>| row[1].contains(name);
        assert!(!rows("api.md", "routes")[1..].iter().any(is_door), "{name}");
    }
    let mark = home.path(MARK);
    let planted = home.path("programs");
    fs::create_dir(&planted).expect("made");
    for name in PROGRAMS {
        plant(&planted, name, &mark);
        plant(&home.data(), name, &mark);
    }
    // The trap is one: by that path a program is found, and leaves its mark.
    let sprung = std::process::Command::new("curl").env("PATH", &planted).status();
    assert!(sprung.expect("it is found").success() && mark.exists());
    fs::remove_file(&mark).expect("it was there");

    let server = Server::launch_with(&home, &[], &[("PATH", text(&planted))]).expect("it starts");
    server.wait_until(200);
    server.with_key(&home.key()).post(CHAT, &chat_body()).expect(200);
    let owner = server.sign_in();
    owner.client.get("/api/admin/posture").expect(200);
    assert!(server.stop().success());
    assert!(!mark.exists(), "{}", fs::read_to_string(&mark).unwrap_or_default());
    assert!(digest() == before, "the program was changed");
    // Of its own it has put nothing there that could be run.
    let mut all = Vec::new();
    files(&home.data(), "", &mut all);
    for path in all.iter().filter(|path| !PROGRAMS.iter().any(|name| path.ends_with(name))) {
        let mode = fs::symlink_metadata(path).expect("it is there").permissions().mode();
        let begin = fs::read(path).unwrap_or_default();
        let is_program = begin.starts_with(b"\x7fELF") || begin.starts_with(b"#!");
        assert!(mode & 0o111 == 0 && !is_program, "{}", path.display());
    }
}
