//! What an operator does at the console: backups, checks, evaluations, configuration, stopping.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{GUIDE, Home, OWNER, PASSWORD, Server, Session, both, text};
use serde_json::{Value, json};

const TITLE: &str = "Heron count";

/// A server in which something was said, and the conversation's id.
fn server_with_a_conversation(home: &Home) -> (Server, String) {
    let server = Server::start(home);
    let session = server.sign_in();
    let id = session.begin_conversation(TITLE);
    session.say(&id, "How do I make an API key?");
    (server, id)
}

fn paths_of(output: &std::process::Output) -> (PathBuf, PathBuf) {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let path = |name: &str| {
        let line = said.lines().find(|line| line.starts_with(name)).expect("names the file");
        PathBuf::from(line.split_whitespace().nth(1).expect("a path"))
    };
    (path("data"), path("keys"))
}

#[test]
fn a_backup_made_beside_a_running_server_brings_everything_back() {
    let home = Home::prepared();
    let (mut server, id) = server_with_a_conversation(&home);
    let target = home.path("kept");
    let made = home.strongroom(&["backup", "create", "--to", text(&target)]);
    assert!(made.status.success(), "{}", both(&made));
    let (data, keys) = paths_of(&made);
    let before = server.sign_in().client.get(&format!("/api/conversations/{id}")).expect(200);
    server.assert_alive();
    for file in [&data, &keys] {
        let bytes = fs::read(file).expect("a backup file");
        assert!(!bytes.windows(TITLE.len()).any(|window| window == TITLE.as_bytes()));
    }
    assert!(server.stop().success());

    let root = home.data().join("keys/root.key");
    let elsewhere = Home::empty();
    let restore =
        ["backup", "restore", text(&data), "--keys", text(&keys), "--root-key", text(&root)];
    let restored = elsewhere.strongroom(&restore);
    assert!(restored.status.success(), "{}", both(&restored));
    let server = Server::start(&elsewhere);
    let session = Session::sign_in(server.client(), OWNER, PASSWORD);
    let after = session.client.get(&format!("/api/conversations/{id}")).expect(200);
    assert_eq!(after["messages"], before["messages"]);
    server.with_key(&home.key()).get("/v1/models").expect(200);
    let verified = elsewhere.strongroom(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", both(&verified));
}

#[test]
fn a_damaged_backup_is_refused_before_anything_is_touched() {
    let home = Home::prepared();
    let made = home.strongroom(&["backup", "create", "--to", text(&home.path("kept"))]);
    assert!(made.status.success(), "{}", both(&made));
    let (data, keys) = paths_of(&made);
    let root = home.data().join("keys/root.key");
    let whole = fs::read(&data).expect("a backup file");
    for at in [8, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let file = home.write("damaged", &damaged);
        let elsewhere = Home::empty();
        let restore =
            ["backup", "restore", text(&file), "--keys", text(&keys), "--root-key", text(&root)];
        let refused = elsewhere.strongroom(&restore);
        assert_eq!(refused.status.code(), Some(1), "byte {at}: {}", both(&refused));
        assert!(!elsewhere.data().join("strongroom.db").exists(), "byte {at}");
    }
}

#[test]
fn a_term_signal_lets_the_running_answer_end() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let body = json!({
        "model": GUIDE, "prompt": "Strongroom is", "max_tokens": 400, "stream": true, "seed": 7,
    });
    let mut events = server.with_key(&home.key()).stream("/v1/completions", &body);
    assert!(events.next().is_some(), "the answer begins");
    let stopping = std::thread::spawn(move || server.stop());
    let rest: Vec<_> = events.collect();
    assert_eq!(rest.last().map(|event| event.data.as_str()), Some("[DONE]"));
    assert!(stopping.join().expect("waits").success());
    let verified = home.strongroom(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", both(&verified));
}

#[test]
fn doctor_says_the_same_beside_the_server_and_without_it() {
    let home = Home::prepared();
    let posture = |home: &Home| -> Value {
        let output = home.strongroom(&["doctor", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", both(&output)))
    };
    let state = |posture: &Value, wanted: &str| -> String {
        let practices = posture["practices"].as_array().expect("practices");
        assert_eq!(practices.len(), 6);
        let items = practices.iter().flat_map(|one| one["items"].as_array().expect("items"));
        let item = items.clone().find(|item| item["id"] == wanted).expect("the item is there");
        item["state"].as_str().expect("a state").to_owned()
    };
    let stopped = posture(&home);
    assert_eq!(state(&stopped, "guard"), "met");
    assert_eq!(state(&stopped, "file_modes"), "met");
    assert_eq!(state(&stopped, "mfa"), "due");
    let server = Server::start(&home);
    let running = posture(&home);
    assert_eq!(state(&running, "guard"), "met");
    let over_http = server.sign_in().client.get("/api/admin/posture").expect(200);
    assert_eq!(state(&over_http, "guard"), "met");
    drop(server);

    use std::os::unix::fs::PermissionsExt as _;
    let key = home.data().join("keys/root.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("changes the mode");
    let open = home.strongroom(&["doctor", "--json"]);
    assert_eq!(open.status.code(), Some(1));
    let open: Value = serde_json::from_slice(&open.stdout).expect("JSON");
    assert_eq!(state(&open, "file_modes"), "failing");
}

#[test]
fn advisories_are_found_without_a_network() {
    let home = Home::prepared();
    let sbom = home.strongroom(&["sbom"]);
    let sbom: Value = serde_json::from_slice(&sbom.stdout).expect("CycloneDX JSON");
    assert_eq!(sbom["bomFormat"], "CycloneDX");
    let components = sbom["components"].as_array().expect("components");
    assert!(components.iter().any(|one| one["name"] == "rustls"));

    let check = |db: &Path| home.strongroom(&["advisories", "check", "--db", text(db)]);
    assert_eq!(check(&home.path("nowhere")).status.code(), Some(1));
    let db = home.path("advisory-db");
    let place = db.join("crates/rustls");
    fs::create_dir_all(&place).expect("makes the directory");
    fs::create_dir_all(db.join("crates/not-in-here")).expect("makes the directory");
    let advisory = |number: u32, package: &str, patched: &str| {
        format!(
            "```toml\n[advisory]\nid = \"RUSTSEC-2026-{number}\"\npackage = \"{package}\"\ndate = \"2026-01-01\"\n\n[versions]\npatched = [\"{patched}\"]\n```\n\n# A hole\n\nWords.\n"
        )
    };
    let (other, file) = ("RUSTSEC-2026-9998.md", "RUSTSEC-2026-9999.md");
    fs::write(db.join("crates/not-in-here").join(other), advisory(9998, "not-in-here", ">= 1.0.0"))
        .expect("writes");
    let clean = check(&db);
    assert_eq!(clean.status.code(), Some(0), "{}", both(&clean));
    fs::write(place.join(file), advisory(9999, "rustls", ">= 999.0.0")).expect("writes");
    let found = check(&db);
    assert_eq!(found.status.code(), Some(3), "{}", both(&found));
    assert!(both(&found).contains("RUSTSEC-2026-9999"), "{}", both(&found));
    fs::write(place.join(file), "no advisory").expect("writes");
    let broken = check(&db);
    assert_eq!(broken.status.code(), Some(1), "{}", both(&broken));
    assert!(both(&broken).contains(file), "{}", both(&broken));
}

#[test]
fn a_fairness_run_leaves_a_report_and_is_listed() {
    let home = Home::prepared();
    let report = home.path("report.html");
    let run = ["eval", "fairness", "--model", GUIDE, "--out", text(&report)];
    let done = home.strongroom(&run);
    assert!(done.status.success(), "{}", both(&done));
    let page = fs::read_to_string(&report).expect("a report");
    assert!(page.contains("<svg") && !page.contains("<script"), "charts, and nothing that runs");
    let unknown = home.strongroom(&["eval", "fairness", "--model", "nobody"]);
    assert_eq!(unknown.status.code(), Some(1));

    let server = Server::start(&home);
    let session = server.sign_in();
    let listed = session.client.get("/api/admin/evaluations").expect(200);
    let runs = listed["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 1, "{listed}");
    let path = format!("/api/admin/evaluations/{}/report", runs[0]["id"].as_str().expect("an id"));
    let kept = session.client.get(&path);
    assert_eq!(kept.status, 200);
    assert!(
        kept.headers["content-security-policy"].to_str().is_ok_and(|it| it.contains("sandbox"))
    );
    let beside = home.strongroom(&run);
    assert_eq!(beside.status.code(), Some(1), "the directory is the server's");
}

#[test]
fn a_configuration_that_is_wrong_is_named_with_key_file_and_line() {
    let home = Home::empty();
    let file = home.write("my.toml", "[server]\nworkers = 2\nlisten_on = \"127.0.0.1:1\"\n");
    for arguments in [&["serve", "--config", text(&file)][..], &["config", "--config", text(&file)]]
    {
        let refused = home.strongroom(arguments);
        assert_eq!(refused.status.code(), Some(1));
        let said = both(&refused);
        assert!(
            said.contains("my.toml") && said.contains('3') && said.contains("listen_on"),
            "{said}"
        );
    }
    assert!(!home.data().exists(), "nothing was made");
    let file = home.write("guard.toml", "[input]\nnothing = \"flag\"\n");
    let setting = format!("guard.policy_file={}", text(&file));
    let refused = home.strongroom(&["serve", "--listen", "127.0.0.1:0", "--set", &setting]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(both(&refused).contains("guard.toml"), "{}", both(&refused));
    let shown = home.strongroom(&["config", "--set", "server.workers=3"]);
    assert!(both(&shown).contains("server.workers") && both(&shown).contains('3'));
}
