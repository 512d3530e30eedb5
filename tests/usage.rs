//! Who used what, from outside: the sums are those of the answers' own `usage`, by person, key, model and
//! purpose, whatever became of an answer and of the server.

#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::path::Path;

use common::{Client, GUIDE, Home, Server, Session, both, text, wait_for};
use serde_json::{Value, json};

const PRICES: [&str; 6] = [
    "--set",
    "models.prices.guide.input=0.5",
    "--set",
    "models.prices.guide.cached_input=0.05",
    "--set",
    "models.prices.guide.output=1.5",
];

/// What answers said that they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    requests: u64,
    input: u64,
    cached: u64,
    output: u64,
}

impl Told {
    fn add(&mut self, usage: &Value) {
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{usage}"));
        self.requests += 1;
        self.input += number(&usage["prompt_tokens"]);
        self.cached += usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0);
        self.output += usage["completion_tokens"].as_u64().unwrap_or(0);
    }

    fn of(row: &Value) -> Self {
        let number = |name: &str| row[name].as_u64().unwrap_or_else(|| panic!("{row}"));
        Self {
            requests: number("requests"),
            input: number("input_tokens"),
            cached: number("cached_tokens"),
            output: number("output_tokens"),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            input: self.input + other.input,
            cached: self.cached + other.cached,
            output: self.output + other.output,
        }
    }

    /// At the prices of above, in units of the currency.
    fn cost(self) -> String {
        let parts =
            (self.input - self.cached) * 500_000 + self.cached * 50_000 + self.output * 1_500_000;
        let text = format!("{}.{:012}", parts / 1_000_000_000_000, parts % 1_000_000_000_000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// Longer than what the cache keeps apart.
fn long(words: &str) -> String {
    [words; 12].join(" ")
}

fn body(words: &str, is_streamed: bool) -> Value {
    let mut body = json!({"model": GUIDE, "max_tokens": 6, "stream": is_streamed,
        "messages": [{"role": "user", "content": words}]});
    if is_streamed {
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}

/// Asks once in one piece and once streamed.
fn ask_twice(client: &Client, words: &str) -> Told {
    let mut told = Told::default();
    let whole = client.post("/v1/chat/completions", &body(words, false)).expect(200);
    told.add(&whole["usage"]);
    let events = client.stream("/v1/chat/completions", &body(words, true));
    let usage = events.filter(|event| event.data != "[DONE]").map(|event| event.json());
    let usage = usage.filter(|event| event["usage"].is_object()).last().expect("it was asked for");
    told.add(&usage["usage"]);
    told
}

fn report(owner: &Session, query: &str) -> Value {
    owner.client.get(&format!("/api/admin/usage?{query}")).expect(200)
}

/// The row that has this value under this name.
fn row<'a>(report: &'a Value, name: &str, value: &str) -> &'a Value {
    let rows = report["rows"].as_array().expect("rows");
    let row = rows.iter().find(|row| row[name] == value);
    &row.unwrap_or_else(|| panic!("no {value} in {report}"))["used"]
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn id(session: &Session) -> String {
    session.me["person"]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn the_ledger_agrees_with_what_every_answer_said() {
    let home = Home::prepared();
    let server = Server::start_with(&home, &PRICES);
    let owner = server.sign_in();
    let guest = server.invite(&owner, "member");
    let (first_id, first) = guest.make_key(&json!({"name": "first"}));
    let (second_id, second) = guest.make_key(&json!({"name": "second"}));
    let by_first = ask_twice(&server.with_key(&first), &long("What is a heron?"));
    let by_second = ask_twice(&server.with_key(&second), "What is a mill?");
    let by_owner = ask_twice(&server.with_key(&home.key()), "What is an otter?");
    assert!(by_first.cached > 0, "the second time the prompt is in the cache: {by_first:?}");
    let keys = report(&owner, "group_by=key");
    assert_eq!(Told::of(row(&keys, "key_id", &first_id)), by_first);
    assert_eq!(Told::of(row(&keys, "key_id", &second_id)), by_second);
    let people = report(&owner, "group_by=person");
    let of_guest = by_first.and(by_second);
    assert_eq!(Told::of(row(&people, "person", "guest")), of_guest);
    assert_eq!(row(&people, "person", "guest")["cost"], of_guest.cost());
    assert_eq!(Told::of(row(&people, "person", "olivia")), by_owner);
    let total = of_guest.and(by_owner);
    assert_eq!(Told::of(&people["total"]), total);
    assert_eq!(people["total"]["cost"], total.cost());
    assert_eq!(Told::of(row(&report(&owner, "group_by=model"), "model", GUIDE)), total);
    // Everybody sees what is their own, and nobody else's.
    let own = guest.client.get("/api/me/usage?group_by=model").expect(200);
    assert_eq!(Told::of(&own["total"]), of_guest);
    assert_eq!(guest.client.get("/api/admin/usage").code(), "permission_denied");
}

#[test]
fn chats_texts_and_tokens_are_kept_apart_by_what_they_were_for() {
    let home = Home::prepared();
    let files = ["bert-mean", "bert-rank"].map(|name| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/embeddings");
        folder.join(format!("{name}.gguf"))
    });
    let own = ["--set", "models.default=guide", "--set", "models.prices.bert-mean.input=0.1"];
    let models = ["--model", text(&files[0]), "--model", text(&files[1])];
    let server = Server::start_with(&home, &[&PRICES[..], &own, &models].concat());
    let owner = server.sign_in();
    let chat = owner.begin_conversation("Herons");
    let events = owner.say(&chat, "What is a heron?");
    let done = events.iter().find(|event| event.name == "done").expect("an end").json();
    let client = server.with_key(&home.key());
    client.post("/v1/moderations", &json!({"input": "What is a heron?"})).expect(200);
    client.post("/v1/tokenize", &json!({"model": GUIDE, "prompt": "heron"})).expect(200);
    let texts = json!({"model": "bert-mean", "input": ["t9 t10", "t11"]});
    let embedded = client.post("/v1/embeddings", &texts).expect(200);
    let pairs = json!({"model": "bert-rank", "query": "t9", "documents": ["t10 t11", "t12"]});
    let ranked = client.post("/v1/rerank", &pairs).expect(200);
    let kinds = report(&owner, "group_by=kind,person");
    for (kind, answer) in [("embeddings", &embedded), ("rerank", &ranked)] {
        let input = number(&answer["usage"]["total_tokens"]);
        let expected = Told { requests: 1, input, ..Told::default() };
        assert_eq!(Told::of(row(&kinds, "kind", kind)), expected, "{kind}");
    }
    let cost = 100_000 * number(&embedded["usage"]["total_tokens"]);
    let shown = row(&kinds, "kind", "embeddings")["cost"].as_str().expect("a cost");
    assert_eq!(format!("0.{cost:012}").trim_end_matches('0'), shown);
    assert_eq!(row(&kinds, "kind", "rerank")["cost"], "0", "it has no price");
    let mut told = Told::default();
    told.add(&done["usage"]);
    assert_eq!(
        Told { cached: 0, ..Told::of(row(&kinds, "kind", "chat")) },
        Told { cached: 0, ..told }
    );
    for kind in ["moderation", "tokens"] {
        let expected = Told { requests: 1, ..Told::default() };
        assert_eq!(Told::of(row(&kinds, "kind", kind)), expected, "{kind}");
    }
    // A model that nobody has named is refused, and is in no sum.
    let refused = client.post("/v1/tokenize", &json!({"model": "nobody", "prompt": "heron"}));
    assert_eq!(refused.code(), "model_not_found");
    assert_eq!(Told::of(&report(&owner, "")["total"]).requests, 5);
}

#[test]
fn a_stream_that_is_cut_off_counts_what_it_took() {
    let home = Home::prepared();
    let server = Server::start_with(&home, &PRICES);
    let owner = server.sign_in();
    let client = server.with_key(&home.key());
    let long = json!({"model": GUIDE, "stream": true, "max_tokens": 200,
        "messages": [{"role": "user", "content": "Tell me of the herons beside the old mill."}]});
    let mut events = client.stream("/v1/chat/completions", &long);
    for _ in 0..3 {
        events.next().expect("a piece");
    }
    drop(events);
    // The end comes when the server notices that nobody reads any more, or has written it all.
    wait_for("the end of the exchange", || Told::of(&report(&owner, "")["total"]).requests == 1);
    let told = Told::of(&report(&owner, "")["total"]);
    let record = owner.client.get("/api/admin/audit?action=generation.end").expect(200);
    let detail = &record["events"][0]["detail"];
    let recorded = |name: &str| detail[name].as_u64().expect("a number");
    assert!(told.input > 0 && told.output > 0, "{told:?}");
    assert_eq!(
        (told.input, told.output),
        (recorded("prompt_tokens"), recorded("completion_tokens"))
    );
}

#[test]
fn a_sudden_death_loses_nothing_of_what_was_finished() {
    let home = Home::prepared();
    let server = Server::start_with(&home, &PRICES);
    let mut told = Told::default();
    for words in ["What is a heron?", "What is a mill?"] {
        told = told.and(ask_twice(&server.with_key(&home.key()), words));
    }
    server.kill();
    // Other prices change nothing of what was used before.
    let dearer = ["--set", "models.prices.guide.input=1000"];
    let server = Server::start_with(&home, &dearer);
    let owner = server.sign_in();
    let total = report(&owner, "")["total"].clone();
    assert_eq!(Told::of(&total), told);
    assert_eq!(total["cost"], told.cost());
    assert!(server.stop().success());
}

#[test]
fn pages_of_the_published_form_have_every_bucket_and_the_same_sums() {
    let home = Home::prepared();
    let server = Server::start_with(&home, &PRICES);
    let owner = server.sign_in();
    let told = ask_twice(&server.with_key(&home.key()), "What is a heron?");
    let (_, key) = owner.make_key(&json!({"name": "books", "scopes": ["usage.read"]}));
    let reader = server.with_key(&key);
    let record = owner.client.get("/api/admin/audit?action=generation.end").expect(200);
    assert_eq!(record["events"].as_array().map(Vec::len), Some(2));
    // The server's own time, by what it has just written.
    let today = report(&owner, "group_by=day")["rows"][0]["day"].clone();
    let midnight = midnight_of(today.as_str().expect("a day"));
    let start = midnight - 4 * 86_400;
    let (mut sum, mut buckets, mut page) = (Told::default(), Vec::new(), String::new());
    loop {
        let path = format!(
            "/v1/organization/usage/completions?start_time={start}&limit=2&group_by=model{page}"
        );
        let found = reader.get(&path).expect(200);
        for bucket in found["data"].as_array().expect("buckets") {
            buckets.push(bucket["start_time"].as_i64().expect("a time"));
            for result in bucket["results"].as_array().expect("results") {
                assert_eq!(result["model"], GUIDE);
                let number = |name: &str| result[name].as_u64().expect("a number");
                sum = sum.and(Told {
                    requests: number("num_model_requests"),
                    input: number("input_tokens"),
                    cached: number("input_cached_tokens"),
                    output: number("output_tokens"),
                });
            }
        }
        let Some(next) = found["next_page"].as_str() else { break };
        assert_eq!(found["has_more"], true);
        page = format!("&page={next}");
    }
    // Midnight may have passed since.
    assert_eq!(buckets[..5], [0, 1, 2, 3, 4].map(|day| start + day * 86_400));
    assert_eq!(sum, told);
    let costs = reader.get(&format!("/v1/organization/costs?start_time={midnight}")).expect(200);
    let amount = &costs["data"][0]["results"][0]["amount"];
    assert_eq!(amount["currency"], "usd");
    assert_eq!(amount["value"].as_f64(), told.cost().parse().ok());
    let hours = reader.get(&format!(
        "/v1/organization/usage/completions?start_time={midnight}&bucket_width=1h&limit=168"
    ));
    let hours = hours.expect(200);
    let in_hours =
        |bucket: &Value| bucket["results"][0]["num_model_requests"].as_u64().unwrap_or(0);
    assert_eq!(hours["data"].as_array().expect("buckets").iter().map(in_hours).sum::<u64>(), 2);
    let minutes =
        format!("/v1/organization/usage/completions?start_time={midnight}&bucket_width=1m");
    assert_eq!(reader.get(&minutes).code(), "unsupported_parameter");
    let plain = server.with_key(&home.key());
    assert_eq!(plain.get(&minutes).code(), "permission_denied");
}

/// The first second of a day.
fn midnight_of(day: &str) -> i64 {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    let date = time::Date::parse(day, &format).expect("a day");
    date.midnight().assume_utc().unix_timestamp()
}

#[test]
fn the_console_gives_the_same_report_beside_the_server_and_without_it() {
    let home = Home::prepared();
    let server = Server::start_with(&home, &PRICES);
    let owner = server.sign_in();
    let told = ask_twice(&server.with_key(&home.key()), "What is a heron?");
    let ask = |arguments: &[&str]| {
        let output = home.strongroom(&[&["usage"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", both(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    let check = || {
        let object: Value =
            serde_json::from_str(&ask(&["--by", "person", "--json"])).expect("JSON");
        assert_eq!(Told::of(row(&object, "person", "olivia")), told);
        let table = ask(&["--by", "person,model", "--csv"]);
        let mut lines = table.lines();
        assert!(lines.next().expect("a head").starts_with("person_id,person,model,requests,"));
        let expected = format!(
            "{},olivia,{GUIDE},2,{},{},{},",
            id(&owner),
            told.input,
            told.cached,
            told.output
        );
        assert!(lines.next().expect("a row").starts_with(&expected), "{table}");
        let shown = ask(&["--by", "person"]);
        assert!(shown.contains("olivia") && shown.contains("total"), "{shown}");
    };
    check();
    let read = owner.client.get("/api/admin/audit?action=usage.read").expect(200);
    let events = read["events"].as_array().expect("events");
    assert_eq!(events.len(), 3, "each is on record");
    assert!(events.iter().all(|event| event["actor"] == "system"));
    assert!(server.stop().success());
    // Where no server runs, the prices are those of the configuration, and costs nobody anything anew.
    check();
    let wrong = home.strongroom(&["usage", "--from", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(both(&wrong).contains("`from`"), "{}", both(&wrong));
    let file = home.path("january.csv");
    std::fs::write(&file, ask(&["--from", "2020-01-01", "--to", "2020-01-31", "--csv"]))
        .expect("writes");
    let empty = std::fs::read_to_string(text(&file)).expect("reads");
    assert_eq!(empty.lines().count(), 1, "{empty}");
}
