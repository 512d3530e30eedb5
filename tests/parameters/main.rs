//! Every parameter of every endpoint, as the tables in docs/openai-compat.md and docs/anthropic-compat.md
//! have it: the real server is sent each, one after the other, on top of a request that is right, with values
//! that it takes and with values that it refuses. What stands in an address is sent there. The tables are made
//! from the code that reads requests (a test beside that holds them to it); a row without an example in `examples`,
//! `others` or `addresses` fails, so that a new parameter brings its own.

mod addresses;
#[path = "../common/mod.rs"]
mod common;
mod examples;
mod others;
mod table;

use std::path::Path;

use addresses::Known;
use common::{Answer, Client, GUIDE, Home, Server, text};
use examples::{Example, UNSUPPORTED};
use others::{JUDGING, MAKING, NESTED};
use serde_json::{Value, json};
use table::{Happens, Row};

/// Values that are taken where a parameter has no effect.
const ANYTHING: [&str; 3] = ["7", "\"other\"", "{\"a\": [1]}"];
/// Values that mean something else than what happens anyway, whatever that is.
const SOMETHING_ELSE: [&str; 5] = ["7", "\"other\"", "{\"a\": 1}", "[{}]", "true"];

/// Where the parameters of a request stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Body,
    Address,
    /// The same, of a client of Anthropic's.
    TheirAddress,
}

/// An address, and a request to it that is right.
struct Endpoint {
    /// Its name in the tables.
    name: &'static str,
    path: String,
    place: Place,
    /// All parameters of that request, wherever they stand.
    body: Value,
    examples: Vec<Example>,
}

/// Those whose parameters stand in the address.
fn asked_by_address(known: &Known) -> Vec<Endpoint> {
    let of = |name, path: &str, body, examples| {
        let place = if path == "models" { Place::TheirAddress } else { Place::Address };
        Endpoint { name, path: format!("/v1/{path}"), place, body, examples }
    };
    let (from, nothing) = (json!({"start_time": addresses::yesterday()}), json!({}));
    let (kept, usage) = (format!("responses/{}", known.response), addresses::usage(known));
    let items = format!("{kept}/input_items");
    vec![
        of(
            "usage of completions",
            "organization/usage/completions",
            from.clone(),
            addresses::usage_of_completions(known),
        ),
        of("other usage", "organization/usage/embeddings", from.clone(), usage.clone()),
        of("other usage", "organization/usage/moderations", from.clone(), usage),
        of("costs", "organization/costs", from, addresses::costs(known)),
        of("a response", &kept, nothing.clone(), addresses::response()),
        of("input items", &items, nothing.clone(), addresses::input_items(known)),
        of("models", "models", nothing, addresses::models()),
    ]
}

fn endpoints(kept: &str) -> Vec<Endpoint> {
    let said = json!([{"role": "user", "content": "Hello"}]);
    let of = |name, path: &str, body, examples| Endpoint {
        name,
        path: path.to_owned(),
        place: Place::Body,
        body,
        examples,
    };
    vec![
        of(
            "chat",
            "/v1/chat/completions",
            json!({"model": GUIDE, "messages": said, "max_tokens": 2}),
            examples::chat(),
        ),
        of(
            "completions",
            "/v1/completions",
            json!({"model": GUIDE, "prompt": "Hello", "max_tokens": 2}),
            examples::completions(),
        ),
        of(
            "responses",
            "/v1/responses",
            json!({"model": GUIDE, "input": "Hello", "max_output_tokens": 2, "store": false}),
            examples::responses(kept),
        ),
        of(
            "embeddings",
            "/v1/embeddings",
            json!({"model": MAKING, "input": "t9"}),
            others::embeddings(),
        ),
        of(
            "rerank",
            "/v1/rerank",
            json!({"model": JUDGING, "query": "t9", "documents": ["t10", "t11"]}),
            others::rerank(),
        ),
        of(
            "tokenize",
            "/v1/tokenize",
            json!({"model": GUIDE, "prompt": "Hello"}),
            others::tokenize(),
        ),
        of(
            "detokenize",
            "/v1/detokenize",
            json!({"model": GUIDE, "tokens": [300]}),
            others::detokenize(),
        ),
        of("moderations", "/v1/moderations", json!({"input": "Hello"}), others::moderations()),
        of(
            "messages",
            "/v1/messages",
            json!({"model": GUIDE, "messages": said, "max_tokens": 2}),
            others::messages(),
        ),
        of(
            "count_tokens",
            "/v1/messages/count_tokens",
            json!({"model": GUIDE, "messages": said}),
            others::counts(),
        ),
    ]
}

fn serve(home: &Home) -> Server {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/embeddings");
    let files = [MAKING, NESTED, JUDGING].map(|name| folder.join(format!("{name}.gguf")));
    let mut arguments = vec!["--set", "models.default=guide"];
    for file in &files {
        arguments.extend(["--model", text(file)]);
    }
    for setting in [
        "limits.person.requests_per_minute=0",
        "limits.person.tokens_per_minute=0",
        "limits.person.tokens_per_day=0",
        "limits.person.concurrent=0",
        "limits.key.requests_per_minute=0",
        "limits.key.tokens_per_minute=0",
        "limits.key.tokens_per_day=0",
        "limits.key.concurrent=0",
    ] {
        arguments.extend(["--set", setting]);
    }
    Server::start_with(home, &arguments)
}

impl Endpoint {
    /// Sends a request with these parameters.
    fn ask(&self, client: &Client, parameters: &Value) -> Answer {
        if self.place == Place::Body {
            return client.post(&self.path, parameters);
        }
        let mut query = Vec::new();
        for (name, value) in parameters.as_object().expect("an object") {
            let values: &[Value] = match value {
                Value::Null => &[],
                Value::Array(values) => values.as_slice(),
                one => std::slice::from_ref(one),
            };
            query.extend(values.iter().map(|value| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                format!("{}={}", encoded(name), encoded(&text))
            }));
        }
        let address = format!("{}?{}", self.path, query.join("&"));
        if self.place == Place::TheirAddress {
            return client.clone().with("anthropic-version", "2023-06-01").get(&address);
        }
        client.get(&address)
    }
}

/// A name or a value as it stands in an address.
fn encoded(text: &str) -> String {
    let one = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(one).collect()
}

/// What was not as the tables say.
struct Faults<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    found: Vec<String>,
}

impl Faults<'_> {
    /// Sends the request with this beside it; both in the order in which they stand.
    fn send(&self, beside: &Value, name: &str, value: &Value) -> Answer {
        let mut body = self.endpoint.body.clone();
        for (name, value) in beside.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        body[name] = value.clone();
        self.endpoint.ask(self.client, &body)
    }

    fn add(&mut self, name: &str, value: &Value, expected: &str, answer: &Answer) {
        let (status, shown) = (answer.status, value.to_string());
        let shown: String = shown.chars().take(120).collect();
        let told: String = answer.text().chars().take(300).collect();
        let place = self.endpoint.name;
        self.found.push(format!("{place}: {name}: {shown} is not {expected}: {status} {told}"));
    }

    fn taken(&mut self, beside: &Value, name: &str, value: &Value) {
        let answer = self.send(beside, name, value);
        if answer.status != 200 {
            self.add(name, value, "taken", &answer);
        }
    }

    fn refused(&mut self, beside: &Value, name: &str, value: &Value, code: &str) {
        let answer = self.send(beside, name, value);
        let named = param(&answer);
        let rest = named.strip_prefix(name);
        let is_named = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        if answer.status != 400 || answer.code() != code || !is_named {
            self.add(name, value, &format!("refused by name with {code}"), &answer);
        }
    }

    fn row(&mut self, row: &Row) {
        let name = row.name.as_str();
        let nothing = Value::Null;
        let examples = &self.endpoint.examples;
        let Some(example) = examples.iter().find(|example| example.name == name) else {
            let says_all = match row.happens {
                Happens::Honoured => false,
                Happens::Nothing => true,
                Happens::Refused => row.accepted == "nothing",
            };
            if !says_all {
                self.found.push(format!("{}: {name} has no example", self.endpoint.name));
            }
            return self.by_table(row, &nothing);
        };
        let has_both = !example.takes.is_empty() && !example.refuses.is_empty();
        if row.happens == Happens::Honoured && !has_both {
            let place = self.endpoint.name;
            self.found.push(format!("{place}: {name} needs values of both kinds"));
        }
        let (beside, is_required) = (example.beside.clone(), example.is_required);
        let (takes, refuses) = (example.takes.clone(), example.refuses.clone());
        for value in &takes {
            self.taken(&beside, name, value);
        }
        for (value, code) in &refuses {
            let is_all = row.happens == Happens::Refused;
            self.refused(&beside, name, value, if is_all { UNSUPPORTED } else { code });
        }
        // Clients write what they leave empty.
        if is_required {
            self.refused(&nothing, name, &nothing, "invalid_request");
        } else {
            self.taken(&nothing, name, &nothing);
        }
        self.by_table(row, &beside);
    }

    /// What the table says by itself.
    fn by_table(&mut self, row: &Row, beside: &Value) {
        let read = |text: &str| serde_json::from_str::<Value>(text).expect("a value");
        match row.happens {
            Happens::Honoured => {}
            Happens::Nothing => {
                for value in ANYTHING.map(read) {
                    self.taken(beside, &row.name, &value);
                }
            }
            Happens::Refused => {
                self.taken(beside, &row.name, &Value::Null);
                let examples = self.endpoint.examples.iter();
                let mut examples = examples.filter(|example| example.name == row.name);
                let takes = examples.next().map(|example| example.takes.clone());
                let takes = takes.unwrap_or_default();
                if takes.is_empty() != (row.accepted == "nothing") {
                    let (place, name) = (self.endpoint.name, &row.name);
                    self.found.push(format!("{place}: {name} takes {}", row.accepted));
                }
                let others = SOMETHING_ELSE.map(read).into_iter();
                for value in others.filter(|value| !takes.contains(value)) {
                    self.refused(beside, &row.name, &value, UNSUPPORTED);
                }
            }
        }
    }
}

/// The parameter that an error names, in either shape.
fn param(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let error = &body["error"];
    let named = error["param"].as_str().or(error["details"]["param"].as_str());
    named.unwrap_or_default().to_owned()
}

fn faults(client: &Client, endpoint: &Endpoint, rows: &[Row]) -> Vec<String> {
    let mut faults = Faults { client, endpoint, found: Vec::new() };
    let plain = endpoint.ask(client, &endpoint.body);
    if plain.status != 200 {
        faults.add("nothing", &endpoint.body, "taken", &plain);
        return faults.found;
    }
    let (here, elsewhere): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| row.on == endpoint.name);
    for row in &here {
        faults.row(row);
    }
    let has = |name: &str| here.iter().any(|row| row.name == name);
    for example in endpoint.examples.iter().filter(|example| !has(example.name)) {
        faults.found.push(format!("{}: {} is in no table", endpoint.name, example.name));
    }
    let mut strangers: Vec<&str> = elsewhere.iter().map(|row| row.name.as_str()).collect();
    strangers.extend(["colour", "Model", "__proto__", "temperature ", "max-tokens"]);
    strangers.sort_unstable();
    strangers.dedup();
    for name in strangers.into_iter().filter(|name| !has(name)) {
        faults.refused(&Value::Null, name, &json!(1), "unknown_parameter");
    }
    faults.found
}

#[test]
fn each_parameter_of_the_tables_is_taken_and_refused_as_they_say() {
    let home = Home::prepared();
    let mut server = serve(&home);
    let scopes = json!({"name": "all of it", "scopes": ["api.use", "usage.read"]});
    let (key, secret) = server.sign_in().make_key(&scopes);
    let client = server.with_key(&secret);
    let kept = json!({"model": GUIDE, "input": "Hello", "max_output_tokens": 2, "store": true});
    let kept = client.post("/v1/responses", &kept).expect(200);
    let response = kept["id"].as_str().expect("an id").to_owned();
    let items = client.get(&format!("/v1/responses/{response}/input_items")).expect(200);
    let item = items["first_id"].as_str().expect("an id").to_owned();
    let mut endpoints = endpoints(&response);
    endpoints.extend(asked_by_address(&Known { response, item, key }));
    let rows = table::all();
    for row in &rows {
        let is_there = endpoints.iter().any(|endpoint| endpoint.name == row.on);
        assert!(is_there, "no request to `{}` is known here", row.on);
    }
    let (client, rows) = (&client, &rows);
    let found: Vec<String> = std::thread::scope(|scope| {
        let start = |endpoint| scope.spawn(move || faults(client, endpoint, rows));
        let running: Vec<_> = endpoints.iter().map(start).collect();
        running.into_iter().flat_map(|one| one.join().expect("it ends")).collect()
    });
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));
    server.assert_alive();
}
