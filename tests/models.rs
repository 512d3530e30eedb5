//! More than one model behind the real binary: loaded on demand and at somebody's word, cancelled,
//! unloaded while it answers, and its memory given back.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;
#[path = "common/large.rs"]
mod large;

use std::fs;
use std::path::PathBuf;

use common::{Client, GUIDE, Home, Server, Session, both, guide_file, text, wait_for};
use large::{INNER, write_large};
use serde_json::{Value, json};

/// A home with a models directory.
fn home(names: &[&str]) -> (Home, PathBuf) {
    let home = Home::prepared();
    let models = home.path("models");
    fs::create_dir(&models).expect("the directory can be made");
    for name in names {
        fs::copy(guide_file(), models.join(format!("{name}.gguf"))).expect("it can be copied");
    }
    (home, models)
}

fn serve(home: &Home, more: &[&str]) -> Server {
    let directory = format!("models.directory={}", home.path("models").display());
    let mut arguments = vec!["--set", &directory];
    arguments.extend(more);
    Server::start_with(home, &arguments)
}

fn state(session: &Session, name: &str) -> Value {
    let all = session.client.get("/api/admin/models").expect(200);
    let mut models = all["models"].as_array().expect("a list").iter();
    models.find(|model| model["id"] == name).cloned().unwrap_or_else(|| panic!("{name} in {all}"))
}

fn until(session: &Session, name: &str, wanted: &str) -> Value {
    let mut last = Value::Null;
    wait_for(&format!("{name} to be {wanted}"), || {
        last = state(session, name);
        last["state"] == wanted && last["progress"].is_null()
    });
    last
}

fn question(model: &str, max_tokens: u32) -> Value {
    json!({"model": model, "max_tokens": max_tokens, "temperature": 0,
        "messages": [{"role": "user", "content": "Hello"}]})
}

fn ask(client: &Client, model: &str) -> Value {
    client.post("/v1/chat/completions", &question(model, 4)).expect(200)
}

#[test]
fn a_model_of_the_directory_is_loaded_once_by_all_who_ask_and_listed_before() {
    let (home, models) = home(&["first", "second"]);
    let server = serve(&home, &[]);
    let client = server.with_key(&home.key());
    let listed = client.get("/v1/models").expect(200);
    let ids: Vec<&Value> =
        listed["data"].as_array().expect("a list").iter().map(|one| &one["id"]).collect();
    assert_eq!(ids, [GUIDE, "first", "second"]);
    assert_eq!(listed["data"][1]["strongroom"]["state"], "not_loaded");
    let owner = server.sign_in();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| ask(&client, "first"));
        }
    });
    assert_eq!(until(&owner, "first", "ready")["reason"], Value::Null);
    assert_eq!(state(&owner, "second")["state"], "not_loaded");
    let scraper = json!({"name": "prometheus", "scopes": ["metrics.read"]});
    let (_, scraper) = owner.make_key(&scraper);
    let metrics = server.with_key(&scraper).get("/metrics").text();
    for line in [
        "strongroom_model_loads_total{gen_ai_request_model=\"first\",outcome=\"done\"} 1",
        "strongroom_model_state{gen_ai_request_model=\"second\",state=\"not_loaded\"} 1",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}\n{metrics}");
    }
    // No request names a path, and a link out of the directory is no model.
    fs::copy(guide_file(), home.path("outside.gguf")).expect("copied");
    std::os::unix::fs::symlink(home.path("outside.gguf"), models.join("link.gguf")).expect("made");
    let found = owner.client.post("/api/admin/model-scan", &json!({})).expect(200);
    assert_eq!(found["refused"][0]["file"], "link.gguf", "{found}");
    for name in ["link", "../outside", "outside.gguf", "/etc/passwd", text(&models)] {
        let answer = client.post("/v1/chat/completions", &question(name, 4));
        assert_eq!((answer.status, &*answer.code()), (404, "model_not_found"), "{name}");
    }
}

#[test]
fn loading_and_unloading_need_the_permission_and_go_on_record() {
    let (home, _) = home(&["first"]);
    let server = serve(&home, &[]);
    let owner = server.sign_in();
    let guest = server.invite(&owner, "member");
    for what in ["load", "unload", "cancel"] {
        let path = format!("/api/admin/models/first/{what}");
        assert_eq!(guest.client.post(&path, &json!({})).status, 403, "{what}");
    }
    // Without the token of the page, nothing is done.
    let mut bare = server.client();
    let sign_in = json!({"username": common::OWNER, "password": common::PASSWORD});
    bare.post("/api/session", &sign_in).expect(200);
    assert_eq!(bare.post("/api/admin/models/first/load", &json!({})).status, 403);
    bare = owner.client.clone();
    bare.post("/api/admin/models/first/load", &json!({})).expect(202);
    until(&owner, "first", "ready");
    let refused = bare.post("/api/admin/models/first/cancel", &json!({}));
    assert_eq!((refused.status, &*refused.code()), (409, "model_conflict"));
    bare.post("/api/admin/models/first/unload", &json!({})).expect(202);
    until(&owner, "first", "not_loaded");
    assert_eq!(bare.post("/api/admin/models/none/load", &json!({})).status, 404);
    let mut shown = Vec::new();
    wait_for("the unloading to be on record", || {
        let events = bare.get("/api/admin/audit?limit=100").expect(200);
        let events = events["events"].as_array().expect("a list");
        let of_first = events.iter().filter(|event| event["subject"] == "first");
        shown = of_first.map(|one| format!("{} {}", one["action"], one["outcome"])).collect();
        shown.len() >= 4
    });
    shown.reverse();
    let quoted = |action: &str, outcome: &str| format!("\"{action}\" \"{outcome}\"");
    assert_eq!(
        shown,
        [
            quoted("model.load", "started"),
            quoted("model.load", "done"),
            quoted("model.unload", "started"),
            quoted("model.unload", "done"),
        ]
    );
}

#[test]
fn case_28_an_alias_opens_a_model_from_when_it_is_made_until_it_is_taken_away() {
    let (home, _) = home(&["first"]);
    let server = serve(&home, &["--set", "models.aliases.fixed=first"]);
    let owner = server.sign_in();
    let client = server.with_key(&home.key());
    ask(&client, "fixed");
    let add = |alias: &str| {
        owner.client.post("/api/admin/model-aliases", &json!({"alias": alias, "model": "first"}))
    };
    add("gpt-4o").expect(201);
    for taken in ["gpt-4o", "first", "fixed", GUIDE] {
        assert_eq!(add(taken).code(), "model_conflict", "{taken}");
    }
    assert_eq!(add("a b").code(), "invalid_value");
    assert_eq!(ask(&client, "gpt-4o")["model"], "first");
    owner.client.send("DELETE", "/api/admin/model-aliases/gpt-4o", None).expect(204);
    let gone = client.post("/v1/chat/completions", &question("gpt-4o", 4));
    assert_eq!(gone.code(), "model_not_found");
}

#[test]
fn a_large_model_gives_its_memory_back_and_the_command_line_does_it_all() {
    let (home, models) = home(&["first"]);
    let mib = write_large(&models.join("large.gguf"), 100 * INNER);
    assert!(mib > 1_000, "{mib}");
    let server = serve(&home, &["--set", "engine.kv_budget_mib=16"]);
    let owner = server.sign_in();
    let before = server.resident_mib();
    let run = |arguments: &[&str]| {
        let output = home.strongroom(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", both(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(run(&["models", "load", "large"]).contains("large is ready"));
    let loaded = server.resident_mib();
    assert!(loaded >= before + mib, "{before} MiB, then {loaded} with {mib} of weights");
    let list = run(&["models", "list"]);
    let row = list.lines().find(|line| line.starts_with("large ")).expect("a row");
    assert!(row.contains("ready"), "{list}");
    let all: Value = serde_json::from_str(&run(&["models", "list", "--json"])).expect("it is JSON");
    assert_eq!(all["models"].as_array().map(Vec::len), Some(3));
    assert!(run(&["models", "unload", "large"]).contains("is unloaded"));
    assert_eq!(state(&owner, "large")["memory_bytes"], Value::Null);
    let after = server.resident_mib();
    assert!(after < before + mib / 5, "{before} MiB, {loaded} loaded, and {after} after");
    fs::remove_file(models.join("first.gguf")).expect("removed");
    assert!(run(&["models", "scan"]).contains("gone      first"));
    for (arguments, says) in [
        (&["models", "load", "first"][..], "not loaded"),
        (&["models", "unload", "large"], "not loaded"),
        (&["models", "cancel", "large"], "not being loaded"),
        (&["models", "load", "none"], "no such model"),
    ] {
        let output = home.strongroom(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(both(&output).contains(says), "{arguments:?}: {}", both(&output));
    }
    assert!(server.stop().success());
    let output = home.strongroom(&["models", "list"]);
    assert!(both(&output).contains("no server runs on"), "{}", both(&output));
}

#[test]
fn a_load_is_cancelled_or_killed_and_nothing_is_lost() {
    let (home, models) = home(&["first"]);
    write_large(&models.join("large.gguf"), 100 * INNER);
    let small = ["--set", "engine.kv_budget_mib=16"];
    let server = serve(&home, &small);
    let owner = server.sign_in();
    let client = server.with_key(&home.key());
    let act = |what: &str| {
        owner.client.post(&format!("/api/admin/models/large/{what}"), &json!({})).status
    };
    // A fast machine may have read it before anything else is done: then once more.
    let begin_again = || {
        assert_eq!(act("unload"), 202);
        until(&owner, "large", "not_loaded");
    };
    wait_for("a load to be cancelled", || {
        assert_eq!(act("load"), 202);
        ask(&client, GUIDE);
        act("cancel");
        let mut model = Value::Null;
        wait_for("its end", || {
            model = state(&owner, "large");
            let has_ended = model["state"] == "ready" || model["state"] == "not_loaded";
            has_ended && model["progress"].is_null()
        });
        if model["state"] == "ready" {
            begin_again();
            return false;
        }
        assert_eq!(model["reason"], "The loading was cancelled.");
        true
    });
    ask(&client, "first");
    wait_for("the load to be on its way", || {
        assert_eq!(act("load"), 202);
        let mut seen = Value::Null;
        wait_for("its begin", || {
            seen = state(&owner, "large");
            seen["progress"]["bytes"].as_u64().is_some_and(|bytes| bytes > 0)
                || seen["state"] == "ready"
        });
        let is_loading = seen["state"] == "loading";
        if !is_loading {
            begin_again();
        }
        is_loading
    });
    wait_for("the log to tell of it", || server.log().contains("model is being read"));
    server.kill();
    let mut server = serve(&home, &small);
    let owner = server.sign_in();
    assert_eq!(state(&owner, "large")["state"], "not_loaded");
    ask(&server.with_key(&home.key()), "first");
    server.assert_alive();
    assert!(!server.log().contains('\r'), "{}", server.log());
}

#[test]
fn a_model_that_answers_is_unloaded_when_it_has_ended_and_others_are_told() {
    let (home, models) = home(&[]);
    write_large(&models.join("large.gguf"), 20 * INNER);
    let server = serve(&home, &["--set", "engine.kv_budget_mib=16"]);
    let owner = server.sign_in();
    let client = server.with_key(&home.key());
    owner.client.post("/api/admin/models/large/load", &json!({})).expect(202);
    until(&owner, "large", "ready");
    let mut body = json!({"model": "large", "max_tokens": 40, "stream": true, "prompt": "Hello",
        "temperature": 1, "seed": 7});
    let mut answer = client.stream("/v1/completions", &body);
    answer.next().expect("it begins");
    owner.client.post("/api/admin/models/large/unload", &json!({})).expect(202);
    let during = state(&owner, "large");
    let events: Vec<_> = answer.collect();
    let ends: Vec<Value> = events
        .iter()
        .filter(|event| event.data != "[DONE]")
        .map(|event| event.json()["choices"][0]["finish_reason"].clone())
        .filter(|reason| !reason.is_null())
        .collect();
    assert!(ends == [json!("length")] || ends == [json!("stop")], "{ends:?}");
    assert!(["unloading", "not_loaded"].contains(&during["state"].as_str().expect("text")));
    until(&owner, "large", "not_loaded");
    // On demand, it comes back.
    body["stream"] = json!(false);
    client.post("/v1/completions", &body).expect(200);
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers_before_it_is_read() {
    let (home, models) = home(&["first", "second"]);
    let mib = write_large(&models.join("large.gguf"), 100 * INNER);
    let more = ["--set", "engine.kv_budget_mib=4", "--set", "models.memory_mib=400"];
    let server = serve(&home, &more);
    let owner = server.sign_in();
    let client = server.with_key(&home.key());
    ask(&client, "first");
    ask(&client, "second");
    let refused = client.post("/v1/chat/completions", &question("large", 4));
    assert_eq!((refused.status, &*refused.code()), (503, "model_memory"));
    assert!(refused.headers.contains_key("retry-after"));
    let said = refused.text();
    assert!(said.contains("MiB are left"), "{said}");
    let needs: u64 = said
        .split("about ")
        .nth(1)
        .and_then(|it| it.split(' ').next()?.parse().ok())
        .expect("a number");
    assert!(needs >= mib, "{said}");
    assert!(server.resident_mib() < mib);
    // Nobody had to go for one that does not fit anyway.
    assert_eq!(state(&owner, "first")["state"], "ready");
    assert_eq!(state(&owner, "large")["state"], "not_loaded");
    let config = home.strongroom(&["config", "--set", "models.limits.\"a.b\".streams_max=3"]);
    assert!(both(&config).contains("models.limits.\"a.b\".streams_max"), "{}", both(&config));
}
