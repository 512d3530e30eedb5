//! The specification of what programs may ask for (OpenAPI 3.1), made from the tables and types that the
//! server itself works with. It says nothing of this server's data, and is the same for everybody.

mod answers;
pub(crate) mod api;
mod errors;
mod headers;
mod operations;
mod requests;

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use self::operations::{Field, Gives, Operation, Who};
use self::requests::{Table, shape};

/// The document and what it is known by.
struct Document {
    text: String,
    /// Changes when the text does.
    hash: String,
}

static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let text = build().to_string();
    let hash = hex::encode(&Sha256::digest(&text)[..16]);
    Document { text, hash }
});

/// By which a request is answered once, however often it comes.
const KEY: Field = Field {
    name: "Idempotency-Key",
    place: "header",
    shape: r#"{"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}"#,
    about: "a key of the request's own: where it comes again, it gets the answer that it got before; one for each request",
    is_required: false,
};

const ABOUT: &str = "What programs may ask of this server, by the ways of OpenAI's and of Anthropic's clients. \
    Parameters are honoured or refused by name, never left out in silence; `null` is the same as nothing. \
    Every answer has its number in `x-request-id`.";

fn build() -> Value {
    let mut schemas = answers::all();
    for table in Table::ALL {
        schemas.insert(table.name().to_owned(), table.schema());
    }
    let mut groups: Vec<&str> = operations::all().map(|operation| operation.group).collect();
    groups.dedup();
    let tags: Vec<Value> = groups.iter().map(|name| json!({ "name": name })).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Strongroom",
            "summary": "A private AI server",
            "description": ABOUT,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "security": [{ "bearer": [] }, { "x-api-key": [] }],
        "paths": paths(),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "An API key." },
                "x-api-key": {
                    "type": "apiKey", "in": "header", "name": "x-api-key",
                    "description": "An API key, as Anthropic's clients send it.",
                },
            },
            "headers": headers::all(),
        },
    })
}

fn paths() -> Map<String, Value> {
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations::all() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.to_lowercase()] = written(operation);
    }
    paths
}

fn written(operation: &Operation) -> Value {
    let mut responses = Map::new();
    if !matches!(operation.gives, Gives::Nothing) {
        responses.insert("200".into(), good(operation));
    }
    if matches!(operation.gives, Gives::Document) {
        responses.insert("304".into(), json!({ "description": "It has not changed." }));
    }
    responses.extend(errors::answers(operation));
    let mut written = json!({
        "operationId": operation.id,
        "tags": [operation.group],
        "summary": operation.summary,
        "responses": responses,
    });
    let fields = operation.fields.iter().chain(operation.is_answered_once().then_some(&KEY));
    let parameters: Vec<Value> = in_path(operation.path).chain(fields.map(in_head)).collect();
    if !parameters.is_empty() {
        written["parameters"] = parameters.into();
    }
    if let Some(table) = operation.takes {
        let mut body = json!({ "schema": shape(table.name()) });
        if let Ok(example) = serde_json::from_str::<Value>(operation.example) {
            body["example"] = example;
        }
        written["requestBody"] =
            json!({ "required": true, "content": { "application/json": body } });
    }
    if operation.who == Who::Everybody {
        written["security"] = json!([]);
    }
    written["x-codeSamples"] = samples(operation).into();
    written
}

/// The answer to what is right.
fn good(operation: &Operation) -> Value {
    let json = |name: &str| json!({ "application/json": { "schema": shape(name) } });
    let content = match operation.gives {
        Gives::Nothing => json!({}),
        Gives::Json(name) => json(name),
        Gives::JsonByClient(ours, theirs) => {
            let either = json!({ "anyOf": [shape(ours), shape(theirs)] });
            json!({ "application/json": { "schema": either } })
        }
        Gives::Readiness => json("Readiness"),
        Gives::JsonOrEvents(whole, event) => {
            let mut content = json(whole);
            content["text/event-stream"] = events(event);
            content
        }
        Gives::Text(kind) => json!({ kind: { "schema": { "type": "string" } } }),
        Gives::Document => json!({ "application/json": { "schema": { "type": "object" } } }),
    };
    json!({
        "description": "What was asked for.",
        "headers": headers::of(operation, 200, false),
        "content": content,
    })
}

/// A stream: the shape is that of one event. Chats tell of an error in the shape of any other, and of the
/// end in a word.
fn events(event: &str) -> Value {
    let of_chats = ["ChatCompletionChunk", "Completion"].contains(&event);
    let event =
        if of_chats { json!({ "anyOf": [shape(event), shape("Error")] }) } else { shape(event) };
    let mut data = json!({
        "type": "string", "contentMediaType": "application/json", "contentSchema": event,
    });
    if of_chats {
        data = json!({ "anyOf": [{ "const": "[DONE]" }, data] });
    }
    json!({
        "schema": {
            "description": "One event.",
            "type": "object",
            "properties": { "event": { "type": "string" }, "data": data },
            "required": ["data"],
        },
        "x-event": event,
    })
}

/// The parameters in an address.
fn in_path(path: &str) -> impl Iterator<Item = Value> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).map(|name| {
        let schema = json!({ "type": "string", "minLength": 1 });
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    })
}

fn in_head(field: &Field) -> Value {
    let schema: Value = serde_json::from_str(field.shape).unwrap_or_default();
    json!({
        "name": field.name, "in": field.place, "description": field.about,
        "required": field.is_required, "schema": schema,
    })
}

/// How it is asked, in a shell and in Python. Where the server is and the key come from the environment.
fn samples(operation: &Operation) -> Vec<Value> {
    let mut address = operation.path.replace("{id}", "…");
    for (at, field) in operation.fields.iter().filter(|field| field.is_required).enumerate() {
        address.extend([if at == 0 { "?" } else { "&" }, field.name, "=…"]);
    }
    let mut shell = format!("curl --cacert ca.pem \"$STRONGROOM_URL{address}\"");
    if operation.method != "GET" && operation.example.is_empty() {
        shell.extend([" \\\n  -X ", operation.method]);
    }
    if operation.who == Who::Key {
        shell.push_str(" \\\n  -H \"authorization: Bearer $STRONGROOM_KEY\"");
    }
    if !operation.example.is_empty() {
        shell.push_str(" \\\n  -H \"content-type: application/json\" \\\n  -d '");
        shell.push_str(operation.example);
        shell.push('\'');
    }
    let mut samples = vec![json!({ "lang": "Shell", "label": "curl", "source": shell })];
    if !operation.python.is_empty() {
        let source = format!("{CLIENT}{}", operation.python);
        samples.push(json!({ "lang": "Python", "label": "openai-python", "source": source }));
    }
    samples
}

const CLIENT: &str = r#"import os, ssl
from openai import DefaultHttpxClient, OpenAI

client = OpenAI(
    base_url=os.environ["STRONGROOM_URL"] + "/v1",
    api_key=os.environ["STRONGROOM_KEY"],
    http_client=DefaultHttpxClient(
        verify=ssl.create_default_context(cafile="ca.pem"),
    ),
)
"#;

/// Method and path of all that is in the document, for the test of the routes.
#[cfg(test)]
pub(crate) fn listed() -> Vec<String> {
    operations::all().map(|operation| format!("{} {}", operation.method, operation.path)).collect()
}

#[cfg(test)]
mod tests;
