//! What an operator does at the console: checks, evaluations, configuration, stopping.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::fs;
use std::path::Path;

use common::{Client, GUIDE, Home, Server, both, text, wait_for};
use serde_json::{Value, json};

/// The tokens that end an answer are ruled out, so this one is as long as it may be.
fn long_answer() -> Value {
    json!({
        "model": GUIDE, "prompt": "Strongroom is", "max_tokens": 400, "stream": true, "seed": 7,
        "logit_bias": {"0": -100, "1": -100, "2": -100},
    })
}

#[test]
fn a_term_signal_lets_the_running_answer_end_and_nothing_new_begin() {
    let home = Home::prepared();
    // However slow the machine is, the answer has the time that it needs.
    let server = Server::start_with(&home, &["--set", "server.shutdown_grace_s=3600"]);
    // One client has a connection already, the other makes one for each request.
    let kept = server.with_key(&home.key());
    kept.get("/v1/models").expect(200);
    let mut events = server.with_key(&home.key()).stream("/v1/completions", &long_answer());
    assert!(events.next().is_some(), "the answer begins");
    let fresh = || server.with_key(&home.key());
    let short = json!({"model": GUIDE, "prompt": "Strongroom", "max_tokens": 1}).to_string();
    let begins = |client: &Client| {
        let headers = [("content-type", "application/json")];
        let body = Some(short.clone().into_bytes());
        match client.try_send("POST", "/v1/completions", &headers, body) {
            Ok(answer) if answer.status == 200 => true,
            Ok(answer) => {
                assert_eq!(answer.code(), "shutting_down", "{}", answer.text());
                false
            }
            // Nobody listens any more.
            Err(_) => false,
        }
    };
    server.ask_to_stop();
    wait_for("new work to be refused", || !begins(&fresh()) && !begins(&kept));
    assert!(!begins(&fresh()) && !begins(&kept), "what is refused stays refused");
    let rest: Vec<_> = events.collect();
    assert_eq!(rest.last().map(|event| event.data.as_str()), Some("[DONE]"));
    let tokens = rest.iter().rev().nth(1).expect("the last piece").json();
    assert_eq!(tokens["choices"][0]["finish_reason"], "length", "not one word is missing");
    assert_eq!(server.wait().code(), Some(0));
    let verified = home.strongroom(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", both(&verified));
    let log = home.strongroom(&["audit", "export"]);
    let log = String::from_utf8(log.stdout).expect("UTF-8");
    let log: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let at_console = |event: &Value| {
        ["audit.verify", "audit.export"].iter().any(|action| event["action"] == *action)
    };
    let last = log.iter().rev().find(|event| !at_console(event)).expect("events");
    assert_eq!(last["action"], "server.stop");
    let is_long = |event: &Value| event["detail"]["completion_tokens"] == 400;
    let ended = log.iter().filter(|event| event["action"] == "generation.end" && is_long(event));
    assert_eq!(ended.count(), 1, "the long answer's end is on record");
}

#[test]
fn an_answer_that_outlives_the_grace_is_told_why_it_ends() {
    let home = Home::prepared();
    // On a fast machine the answer may end before the server has begun to stop: then once more.
    wait_for("an answer to be cut off", || {
        let server = Server::start_with(&home, &["--set", "server.shutdown_grace_s=0"]);
        let mut events = server.with_key(&home.key()).stream("/v1/completions", &long_answer());
        assert!(events.next().is_some(), "the answer begins");
        server.ask_to_stop();
        let rest: Vec<_> = events.collect();
        assert_eq!(server.wait().code(), Some(0));
        let last = rest.last().expect("it ends with a word");
        if last.data == "[DONE]" {
            return false;
        }
        assert_eq!(last.json()["error"]["code"], "shutting_down", "{last:?}");
        true
    });
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
        let expected = format!(
            "strongroom: {}, line 3: there is no setting `server.listen_on`\n",
            text(&file)
        );
        assert_eq!(both(&refused), expected);
    }
    assert!(!home.data().exists(), "nothing was made");
    let file = home.write("guard.toml", "[input]\nnothing = \"flag\"\n");
    let setting = format!("guard.policy_file={}", text(&file));
    let refused = home.strongroom(&["serve", "--listen", "127.0.0.1:0", "--set", &setting]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(
        said.lines().last(),
        Some(&*format!(
            "strongroom: the guard's policy is not accepted: {}, line 2: `input.nothing` is not a key of the policy",
            text(&file)
        ))
    );
    let shown = home.strongroom(&["config", "--set", "server.workers=3"]);
    let shown = both(&shown);
    let line = shown.lines().find(|line| line.starts_with("server.workers ")).expect("its line");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words, ["server.workers", "3", "#", "command", "line"]);
    let line = shown.lines().find(|line| line.starts_with("server.listen ")).expect("its line");
    assert!(line.ends_with("# default"), "{line}");
}
