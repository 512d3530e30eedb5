//! `/v1/responses` from outside: the real binary with the built-in model. Answers whole and in events,
//! and responses that are kept, which are there for their person alone.

mod common;

use std::path::{Path, PathBuf};

use common::client::{Client, StreamEvent};
use common::refusal::{CANARY, check};
use common::{GUIDE, Home, OWNER, PASSWORD, Server, Session, both, text};
use serde_json::{Value, json};

const RESPONSES: &str = "/v1/responses";

/// A short answer that is the same each time.
fn body(change: &Value) -> Value {
    let mut body =
        json!({"model": GUIDE, "input": "What are you?", "seed": 7, "max_output_tokens": 5});
    for (name, value) in change.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

fn answer(client: &Client, change: &Value) -> Value {
    client.post(RESPONSES, &body(change)).expect(200)
}

fn id(response: &Value) -> String {
    response["id"].as_str().expect("an id").to_owned()
}

fn said(response: &Value) -> String {
    let items = response["output"].as_array().expect("items").iter();
    let parts = items.filter_map(|item| item["content"].as_array()).flatten();
    parts.filter_map(|part| part["text"].as_str()).collect()
}

#[test]
fn a_text_is_answered_whole_and_in_events_and_both_say_the_same() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let client = server.with_key(&home.key());
    let whole = answer(&client, &json!({"metadata": {"ticket": "7"}}));
    assert_eq!((&whole["object"], &whole["model"]), (&json!("response"), &json!(GUIDE)));
    assert!(id(&whole).starts_with("resp_"));
    assert!(!said(&whole).is_empty());
    assert_eq!(whole["metadata"], json!({"ticket": "7"}));
    let usage = &whole["usage"];
    assert_eq!(
        usage["total_tokens"].as_u64(),
        usage["input_tokens"].as_u64().zip(usage["output_tokens"].as_u64()).map(|(a, b)| a + b)
    );
    // The guide's answers are longer than that.
    assert_eq!(whole["status"], "incomplete");
    assert_eq!(whole["incomplete_details"], json!({"reason": "max_output_tokens"}));

    let events: Vec<StreamEvent> =
        client.stream(RESPONSES, &body(&json!({"stream": true}))).collect();
    for (number, event) in events.iter().enumerate() {
        let data = event.json();
        assert_eq!((&data["sequence_number"], &data["type"]), (&json!(number), &json!(event.name)));
    }
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(
        names[..4],
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added"
        ]
    );
    assert_eq!(names.last(), Some(&"response.incomplete"));
    let deltas = events.iter().filter(|event| event.name == "response.output_text.delta");
    let streamed: String =
        deltas.map(|event| event.json()["delta"].as_str().expect("a text").to_owned()).collect();
    assert_eq!(streamed, said(&whole));
    let last = events.last().expect("some").json()["response"].clone();
    assert_eq!(
        (said(&last), &last["usage"]["input_tokens"]),
        (said(&whole), &usage["input_tokens"])
    );

    // A chat of the same words costs the same.
    let chat = json!({"model": GUIDE, "max_tokens": 1, "messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "What are you?"}]});
    let chat = client.post("/v1/chat/completions", &chat).expect(200);
    let framed = answer(&client, &json!({"instructions": "Be brief."}));
    assert_eq!(framed["usage"]["input_tokens"], chat["usage"]["prompt_tokens"]);
    server.assert_alive();
}

#[test]
fn forms_and_functions_bind_and_results_go_back() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let client = server.with_key(&home.key());
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "name": "x", "schema": schema, "strict": true});
    let asked = json!({"text": {"format": format}, "max_output_tokens": 60});
    let held = answer(&client, &asked);
    assert_eq!(held["status"], "completed");
    let value: Value = serde_json::from_str(&said(&held)).expect("JSON");
    assert!(value["ok"].is_boolean());

    let tools = json!([{"type": "function", "name": "look", "description": "Looks.", "strict": true,
        "parameters": schema}]);
    let asked = json!({"tools": tools, "tool_choice": {"type": "function", "name": "look"},
        "parallel_tool_calls": false, "max_output_tokens": 60});
    let called = answer(&client, &asked);
    let call = called["output"].as_array().expect("items").last().expect("a call").clone();
    assert_eq!(
        (&call["type"], &call["name"], &call["status"]),
        (&json!("function_call"), &json!("look"), &json!("completed"))
    );
    let arguments = call["arguments"].as_str().expect("a text");
    assert!(serde_json::from_str::<Value>(arguments).expect("JSON")["ok"].is_boolean());
    let streamed: Vec<StreamEvent> = {
        let mut body = body(&asked);
        body["stream"] = json!(true);
        client.stream(RESPONSES, &body).collect()
    };
    let done = streamed.iter().find(|event| event.name == "response.function_call_arguments.done");
    assert_eq!(done.expect("one").json()["arguments"], arguments);
    assert_eq!(streamed.last().expect("some").name, "response.completed");

    // By its id alone, and with all of it sent again: the model reads the same.
    let result =
        json!({"type": "function_call_output", "call_id": call["call_id"], "output": "Fine."});
    let by_id = json!({"previous_response_id": called["id"], "input": [result], "tools": tools,
        "tool_choice": "none"});
    let mut items = vec![json!({"role": "user", "content": "What are you?"})];
    items.extend(called["output"].as_array().expect("items").iter().cloned());
    items.push(result);
    let by_items = json!({"input": items, "tools": tools, "tool_choice": "none"});
    let (by_id, by_items) = (answer(&client, &by_id), answer(&client, &by_items));
    assert_eq!(by_id["usage"]["input_tokens"], by_items["usage"]["input_tokens"]);
    assert_eq!(said(&by_id), said(&by_items));
    server.assert_alive();
}

#[test]
fn what_is_kept_is_read_gone_on_from_and_deleted() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let client = server.with_key(&home.key());
    let first = answer(
        &client,
        &json!({"input": [
        {"role": "user", "content": "Name a colour."}, {"role": "user", "content": "Or two."}]}),
    );
    assert_eq!(first["store"], true);
    let path = format!("{RESPONSES}/{}", id(&first));
    assert_eq!(client.get(&path).expect(200), first);
    let listed = client.get(&format!("{path}/input_items?order=asc&limit=1")).expect(200);
    assert_eq!((&listed["object"], &listed["has_more"]), (&json!("list"), &json!(true)));
    assert_eq!(listed["data"][0]["content"][0]["text"], "Name a colour.");
    let after = listed["last_id"].as_str().expect("an id");
    let rest = client.get(&format!("{path}/input_items?order=asc&after={after}")).expect(200);
    assert_eq!(rest["data"][0]["content"], json!([{"type": "input_text", "text": "Or two."}]));
    assert_eq!(rest["has_more"], false);

    let second = answer(&client, &json!({"input": "Why?", "previous_response_id": first["id"]}));
    assert_eq!(second["previous_response_id"], first["id"]);
    let mut items = first["output"].as_array().expect("items").clone();
    items.insert(0, json!({"role": "user", "content": "Name a colour."}));
    items.insert(1, json!({"role": "user", "content": "Or two."}));
    items.push(json!({"role": "user", "content": "Why?"}));
    let alone = answer(&client, &json!({"input": items, "store": false}));
    assert_eq!(second["usage"]["input_tokens"], alone["usage"]["input_tokens"]);
    assert_eq!(said(&second), said(&alone));
    // The same item by its id.
    let named = json!({"input": [{"type": "item_reference", "id": first["output"][0]["id"]},
        {"role": "user", "content": "Why?"}]});
    answer(&client, &named);
    // What was not to be kept is not there.
    assert_eq!(alone["store"], false);
    check("not kept", &client.get(&format!("{RESPONSES}/{}", id(&alone))), 404, "not_found");
    let refused = client.post(RESPONSES, &body(&json!({"previous_response_id": alone["id"]})));
    check("not kept", &refused, 404, "not_found");

    // It outlives the server.
    assert!(server.stop().success());
    let mut server = Server::start(&home);
    let client = server.with_key(&home.key());
    assert_eq!(client.get(&path).expect(200), first);
    let gone = client.send("DELETE", &path, None).expect(200);
    assert_eq!(gone, json!({"id": first["id"], "object": "response", "deleted": true}));
    for (method, path) in
        [("GET", path.clone()), ("DELETE", path.clone()), ("GET", format!("{path}/input_items"))]
    {
        check(&format!("{method} {path}"), &client.send(method, &path, None), 404, "not_found");
    }
    // A conversation with a gap is not gone on from in silence.
    let third = client.post(RESPONSES, &body(&json!({"previous_response_id": second["id"]})));
    check("a gap", &third, 404, "not_found");
    assert_eq!(third.expect(404)["error"]["param"], "previous_response_id");
    server.assert_alive();
}

#[test]
fn class_06_what_is_kept_for_somebody_else_is_not_there() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let client = server.with_key(&home.key());
    let theirs = answer(&client, &json!({"input": CANARY}));
    let guest = server.invite(&server.sign_in(), "member");
    let (_, key) = guest.make_key(&json!({"name": "guest"}));
    let stranger = server.with_key(&key);
    let nothing = format!("resp_{}", "0".repeat(32));
    let item = theirs["output"][0]["id"].as_str().expect("an id").to_owned();
    let none = format!("msg_{}o0", "0".repeat(32));
    let asked = |change: Value| Some(body(&change));
    for (method, of, to) in [
        ("GET", id(&theirs), None),
        ("DELETE", id(&theirs), None),
        ("GET", format!("{}/input_items", id(&theirs)), None),
        ("CANCEL", id(&theirs), None),
        ("POST", id(&theirs), asked(json!({"previous_response_id": theirs["id"]}))),
        ("POST", item.clone(), asked(json!({"input": [{"type": "item_reference", "id": item}]}))),
    ] {
        let (method, path) = match method {
            "POST" => (method, RESPONSES.to_owned()),
            "CANCEL" => ("POST", format!("{RESPONSES}/{of}/cancel")),
            _ => (method, format!("{RESPONSES}/{of}")),
        };
        let real = stranger.send(method, &path, to.as_ref());
        check(&format!("{method} {path}"), &real, 404, "not_found");
        // Not there, and not theirs, are the same to the last byte.
        let false_path = path.replace(&id(&theirs), &nothing);
        let false_body = to.map(|body| {
            let text = body.to_string().replace(&id(&theirs), &nothing).replace(&item, &none);
            serde_json::from_str::<Value>(&text).expect("JSON")
        });
        let other = stranger.send(method, &false_path, false_body.as_ref());
        assert_eq!((other.status, other.text()), (real.status, real.text()), "{method} {path}");
    }
    for id in ["x", "resp_", "%00", "resp_zz", &"a".repeat(5_000)] {
        check(id, &stranger.get(&format!("{RESPONSES}/{id}")), 404, "not_found");
    }
    assert_eq!(server.client().get(&format!("{RESPONSES}/{}", id(&theirs))).status, 401);
    client.get(&format!("{RESPONSES}/{}", id(&theirs))).expect(200);
    server.assert_alive();
}

/// Every file below a directory.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn show(directory: &Path, needle: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(directory, &mut found);
    let shows = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
    };
    found.retain(shows);
    found
}

#[test]
fn no_file_shows_it_a_backup_brings_it_back_and_it_goes_with_its_person() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let owner = server.sign_in();
    let guest = server.invite(&owner, "member");
    let (_, key) = guest.make_key(&json!({"name": "guest"}));
    let change = json!({"input": CANARY, "instructions": CANARY, "metadata": {"a": CANARY}});
    let kept = answer(&server.with_key(&key), &change);
    let path = format!("{RESPONSES}/{}", id(&kept));
    server.with_key(&key).get(&path).expect(200);
    let backup = home.path("backup");
    let made = home.strongroom(&["backup", "create", "--to", text(&backup)]);
    assert!(made.status.success(), "{}", both(&made));
    for place in [&home.data(), &backup] {
        assert_eq!(show(place, CANARY), Vec::<PathBuf>::new());
    }
    assert!(!server.log().contains(CANARY));
    for action in ["response.store", "response.read"] {
        let log = owner.client.get(&format!("/api/admin/audit?action={action}")).text();
        assert!(log.contains(&id(&kept)) && !log.contains(CANARY), "{log}");
    }

    // Deleted with the person; what their key opened opens nowhere.
    let person = guest.me["person"]["id"].as_str().expect("an id").to_owned();
    let gone = owner.client.send("DELETE", &format!("/api/admin/people/{person}"), None);
    assert_eq!(gone.status, 204, "{}", gone.text());
    assert!(server.stop().success());
    let database = rusqlite::Connection::open(home.data().join("strongroom.db")).expect("opens");
    let rows: i64 = database
        .query_row("SELECT count(*) FROM responses", [], |row| row.get(0))
        .expect("the table is there");
    assert_eq!(rows, 0);

    // From the time before, it comes back.
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    let file = |name: &str| {
        let line = said.lines().find(|line| line.starts_with(name)).expect("names the file");
        PathBuf::from(line.split_whitespace().nth(1).expect("a path"))
    };
    let (data, keys, root) = (file("data"), file("keys"), home.data().join("keys/root.key"));
    let elsewhere = Home::empty();
    let restored = elsewhere.strongroom(&[
        "backup",
        "restore",
        text(&data),
        "--keys",
        text(&keys),
        "--root-key",
        text(&root),
    ]);
    assert!(restored.status.success(), "{}", both(&restored));
    let server = Server::start(&elsewhere);
    let owner = Session::sign_in(server.client(), OWNER, PASSWORD);
    let guest = Session::sign_in(server.client(), "guest", common::GUEST_PASSWORD);
    let (_, key) = guest.make_key(&json!({"name": "again"}));
    assert_eq!(server.with_key(&key).get(&path).expect(200), kept);
    let (_, key) = owner.make_key(&json!({"name": "owner"}));
    check("the owner's", &server.with_key(&key).get(&path), 404, "not_found");
}

#[test]
fn what_is_too_long_is_cut_where_that_is_asked_for_and_it_is_said_so() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let client = server.with_key(&home.key());
    let old = json!({"role": "user", "content": "long ".repeat(20_000)});
    let input = json!([old, {"role": "assistant", "content": "Well."}, {"role": "user", "content": "Why?"}]);
    let refused = client.post(RESPONSES, &body(&json!({ "input": input })));
    check("too long", &refused, 400, "context_length_exceeded");
    let cut = answer(&client, &json!({"input": input, "truncation": "auto"}));
    assert_eq!(cut["truncation"], "auto");
    let notice =
        json!([{"category": "context", "action": "trimmed", "direction": "input", "count": 2}]);
    assert_eq!(cut["strongroom_notices"], notice);
    let alone = answer(&client, &json!({"input": "Why?"}));
    assert_eq!(cut["usage"]["input_tokens"], alone["usage"]["input_tokens"]);
    // A result is nothing without the call before it.
    let input = json!([old,
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "x"}]);
    let refused = client.post(RESPONSES, &body(&json!({"input": input, "truncation": "auto"})));
    check("too long", &refused, 400, "context_length_exceeded");
    server.assert_alive();
}

#[test]
fn the_configuration_says_what_is_kept() {
    let home = Home::prepared();
    let server = Server::start_with(&home, &["--set", "api.store_responses=false"]);
    let client = server.with_key(&home.key());
    let unasked = answer(&client, &json!({}));
    assert_eq!(unasked["store"], false);
    check("unasked", &client.get(&format!("{RESPONSES}/{}", id(&unasked))), 404, "not_found");
    let asked = answer(&client, &json!({"store": true}));
    client.get(&format!("{RESPONSES}/{}", id(&asked))).expect(200);
    assert!(server.stop().success());
    let mut server = Server::start_with(&home, &["--set", "api.responses_days=0"]);
    let client = server.with_key(&home.key());
    assert_eq!(answer(&client, &json!({}))["store"], false);
    let refused = client.post(RESPONSES, &body(&json!({"store": true})));
    check("none is kept", &refused, 400, "unsupported_parameter");
    assert_eq!(refused.expect(400)["error"]["param"], "store");
    server.assert_alive();
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name_before_anything_is_asked() {
    let home = Home::prepared();
    let mut server = Server::start_with(&home, &["--set", "limits.key.requests_per_minute=2"]);
    let client = server.with_key(&home.key());
    for (change, code, param) in [
        (json!({"background": true}), "unsupported_parameter", "background"),
        (json!({"conversation": "conv_1"}), "unsupported_parameter", "conversation"),
        (json!({"prompt": {"id": "pmpt_1"}}), "unsupported_parameter", "prompt"),
        (json!({"truncation": "most"}), "invalid_value", "truncation"),
        (json!({"tools": [{"type": "web_search"}]}), "unsupported_parameter", "tools[0].type"),
        (json!({"include": ["web_search_call.results"]}), "unsupported_parameter", "include[0]"),
        (
            json!({"input": [{"role": "user", "content": [
                {"type": "input_image", "image_url": format!("https://{CANARY}.example/a.png")}]}]}),
            "unsupported_parameter",
            "input[0].content[0].type",
        ),
        (json!({"input": [{"type": CANARY}]}), "unsupported_parameter", "input[0].type"),
        (json!({"input": []}), "invalid_value", "input"),
        (json!({"input": null}), "invalid_request", "input"),
        (json!({"max_output_tokens": 0}), "invalid_value", "max_output_tokens"),
        (json!({"n": 2}), "unknown_parameter", "n"),
    ] {
        let answer = client.post(RESPONSES, &body(&change));
        check(&change.to_string(), &answer, 400, code);
        assert_eq!(answer.expect(400)["error"]["param"], param);
    }
    for (query, param) in [("stream=true", "stream"), ("colour=1", "colour")] {
        let path = format!("{RESPONSES}/resp_{}?{query}", "0".repeat(32));
        assert_eq!(client.get(&path).expect(400)["error"]["param"], param);
    }
    // None of them counted; these do, and the third is one too many.
    let long = body(&json!({"input": "long ".repeat(20_000)}));
    let refused = client.post(RESPONSES, &long);
    check("too long", &refused, 400, "context_length_exceeded");
    assert_eq!(refused.expect(400)["error"]["param"], "input");
    let nothing = format!("resp_{}", "0".repeat(32));
    let before = body(&json!({"previous_response_id": nothing}));
    check("nothing before", &client.post(RESPONSES, &before), 404, "not_found");
    let limited = client.post(RESPONSES, &before);
    assert_eq!(limited.code(), "rate_limit_exceeded", "{}", limited.text());
    assert_eq!(limited.headers["x-ratelimit-limit-requests"], "2");
    server.assert_alive();
}

#[test]
fn tokens_are_counted_as_they_are_charged_and_nothing_is_answered() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let client = server.with_key(&home.key());
    let count = |change: &Value| {
        let mut body = json!({"model": GUIDE, "input": "What are you?"});
        for (name, value) in change.as_object().expect("an object") {
            body[name] = value.clone();
        }
        client.post(&format!("{RESPONSES}/input_tokens"), &body)
    };
    let tools = json!([{"type": "function", "name": "look", "parameters": {"type": "object"}}]);
    let first = answer(&client, &json!({}));
    for change in [
        json!({}),
        json!({"instructions": "Be brief."}),
        json!({"tools": tools}),
        json!({"tools": tools, "tool_choice": "none"}),
        json!({"previous_response_id": first["id"]}),
    ] {
        let counted = count(&change).expect(200);
        let charged = answer(&client, &change)["usage"]["input_tokens"].clone();
        let expected = json!({"object": "response.input_tokens", "input_tokens": charged});
        assert_eq!(counted, expected, "{change}");
    }
    for (change, status, code, param) in [
        (json!({"max_output_tokens": 5}), 400, "unknown_parameter", "max_output_tokens"),
        (json!({"personality": "friendly"}), 400, "unsupported_parameter", "personality"),
        (json!({"conversation": "conv_1"}), 400, "unsupported_parameter", "conversation"),
        (json!({"input": 1}), 400, "invalid_value", "input"),
        (json!({"model": "none"}), 404, "model_not_found", "model"),
        (
            json!({"previous_response_id": format!("resp_{}", "0".repeat(32))}),
            404,
            "not_found",
            "previous_response_id",
        ),
    ] {
        let refused = count(&change);
        check(&change.to_string(), &refused, status, code);
        assert_eq!(refused.expect(status)["error"]["param"], param);
    }
    let events = server.sign_in().client.get("/api/admin/audit?action=tokens.read").text();
    assert!(events.contains("tokens.read") && !events.contains("Be brief"), "{events}");
    server.assert_alive();
}

#[test]
fn what_is_complete_is_not_cancelled_and_nothing_is_compacted() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let client = server.with_key(&home.key());
    let kept = answer(&client, &json!({}));
    let path = format!("{RESPONSES}/{}/cancel", id(&kept));
    let refused = client.send("POST", &path, None);
    check("complete", &refused, 400, "invalid_request");
    assert!(refused.text().contains("background"), "{}", refused.text());
    client.get(&format!("{RESPONSES}/{}", id(&kept))).expect(200);
    let unknown = format!("{RESPONSES}/resp_{}/cancel", "0".repeat(32));
    check("unknown", &client.send("POST", &unknown, None), 404, "not_found");
    let compact = format!("{RESPONSES}/compact");
    let refused = client.post(&compact, &json!({"model": GUIDE, "input": CANARY}));
    check("compact", &refused, 404, "not_found");
    assert!(refused.text().contains("truncation"), "{}", refused.text());
    for path in [&path, &compact, &format!("{RESPONSES}/input_tokens")] {
        assert_eq!(server.client().send("POST", path, None).status, 401, "{path}");
    }
    server.assert_alive();
}

#[test]
fn beside_functions_an_answer_has_its_form() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let client = server.with_key(&home.key());
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "name": "x", "schema": schema, "strict": true});
    let tools = json!([{"type": "function", "name": "look", "strict": true, "parameters": schema}]);
    let asked = |choice: &str| {
        answer(
            &client,
            &json!({"text": {"format": format}, "tools": tools, "tool_choice": choice,
            "max_output_tokens": 200, "parallel_tool_calls": false}),
        )
    };
    for choice in ["auto", "none", "required"] {
        let answer = asked(choice);
        let items = answer["output"].as_array().expect("items");
        let calls: Vec<&Value> =
            items.iter().filter(|item| item["type"] == "function_call").collect();
        let json = match calls[..] {
            [] => said(&answer),
            [call] => call["arguments"].as_str().expect("a text").to_owned(),
            _ => panic!("{answer}"),
        };
        let value: Value = serde_json::from_str(&json).expect("JSON");
        assert!(value["ok"].is_boolean(), "{choice}: {json}");
        assert!(choice != "none" || calls.is_empty(), "{answer}");
        assert!(choice != "required" || calls.len() == 1, "{answer}");
    }
    server.assert_alive();
}
