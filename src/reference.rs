//! The tables of the API reference, made from the types, and held to what stands in `docs/`.
//!
//! A table stands between `<!-- table: NAME -->` and `<!-- end -->`. When a test here fails, the code
//! has changed: `STRONGROOM_WRITE_DOCS=1 cargo test --lib reference` writes the pages anew.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::access::permission::{BuiltinRole, Permission};
use crate::access::route::Access;
use crate::audit::Action;
use crate::gate::examples;
use crate::web::{ApiError, ErrorCode};
use crate::{openai, routes};

fn keep(page: &str, name: &str, table: &str) {
    let path = format!("{}/docs/{page}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the page is there");
    let mark = format!("<!-- table: {name} -->\n");
    let start = text.find(&mark).expect("the page has a place for the table") + mark.len();
    let end = start + text[start..].find("<!-- end -->").expect("the place has an end");
    if std::env::var_os("STRONGROOM_WRITE_DOCS").is_some() {
        let text = [&text[..start], table, &text[end..]].concat();
        std::fs::write(path, text).expect("writes");
    } else {
        assert_eq!(&text[start..end], table, "{page}: run again with STRONGROOM_WRITE_DOCS=1");
    }
}

/// A table of these columns; a cell's bars are escaped.
fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", columns.join(" | "), " --- |".repeat(columns.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        writeln!(text, "| {} |", cells.join(" | ")).expect("writes to a text");
    }
    text
}

#[test]
fn parameters() {
    keep("openai-compat.md", "parameters", &openai::markdown());
}

#[test]
fn parameters_of_texts() {
    for (name, table) in openai::text_markdown() {
        keep("openai-compat.md", name, &table);
    }
}

#[test]
fn parameters_of_responses() {
    keep("openai-compat.md", "responses", &openai::responses::markdown());
}

#[test]
fn parameters_of_addresses() {
    for (page, name, table) in openai::address_markdown() {
        keep(page, name, &table);
    }
}

#[test]
fn categories_of_moderations() {
    keep("openai-compat.md", "moderation-categories", &openai::moderations_markdown());
}

#[test]
fn parameters_of_messages() {
    keep("anthropic-compat.md", "parameters", &openai::anthropic_markdown());
}

#[test]
fn errors() {
    let rows = ErrorCode::ALL.iter().map(|code| {
        vec![
            code.status().as_u16().to_string(),
            format!("`{}`", code.name()),
            format!("`{}`", code.kind()),
            code.names().describe(),
            retry(&(*code).into()),
            code.default_message().to_owned(),
        ]
    });
    let columns = ["status", "code", "type", "param", "again", "meaning"];
    keep("api.md", "errors", &table(&columns, rows));
}

#[test]
fn refusals_of_the_road() {
    let rows = examples::refusals().into_iter().map(|(name, error)| {
        vec![
            format!("`{name}`"),
            error.code().status().as_u16().to_string(),
            format!("`{}`", error.code().name()),
            format!("`{}`", error.code().kind()),
            error.at_fault().map_or_else(String::new, |param| format!("`{param}`")),
            retry(&error),
        ]
    });
    let columns = ["refusal", "status", "code", "type", "param", "again"];
    keep("api.md", "refusals", &table(&columns, rows));
}

/// What a client is told of asking again.
fn retry(error: &ApiError) -> String {
    let when = match error.wait() {
        None => String::new(),
        Some(wait) if error.code().wait() == Some(wait) => format!("after {} s", wait.as_secs()),
        Some(_) => "as `retry-after` says".to_owned(),
    };
    match (error.asks_again(), when.is_empty()) {
        (true, _) => when,
        (false, true) => "not unasked".to_owned(),
        (false, false) => format!("not unasked; {when}"),
    }
}

#[test]
fn every_route() {
    let routes = routes::all();
    let rows = routes.table().iter().map(|row| {
        let who = match row.access {
            Access::Public => "everybody".to_owned(),
            Access::SignedIn => "who is signed in".to_owned(),
            Access::Permission(permission) => format!("`{}`", permission.name()),
        };
        vec![row.method.to_string(), format!("`{}`", row.path), who]
    });
    keep("api.md", "routes", &table(&["method", "path", "who"], rows));
}

#[test]
fn permissions() {
    let roles = BuiltinRole::ALL.iter().map(|role| role.name());
    let columns: Vec<&str> = ["permission", "allows"].into_iter().chain(roles).collect();
    let rows = Permission::ALL.iter().map(|permission| {
        let holds = |role: &BuiltinRole| {
            if role.permissions().has(*permission) { "yes".to_owned() } else { String::new() }
        };
        let first = [format!("`{}`", permission.name()), permission.meaning().to_owned()];
        first.into_iter().chain(BuiltinRole::ALL.iter().map(holds)).collect()
    });
    keep("security.md", "permissions", &table(&columns, rows));
}

#[test]
fn audit_actions() {
    let rows = Action::ALL
        .iter()
        .map(|action| vec![format!("`{}`", action.name()), action.meaning().to_owned()]);
    keep("security.md", "actions", &table(&["action", "meaning"], rows));
}

/// A schema as TypeScript writes it, `indent` deep.
fn shape(schema: &Value, indent: usize) -> String {
    let alternatives = ["anyOf", "oneOf"].iter().find_map(|key| schema[*key].as_array());
    if let Some(all) = alternatives {
        return all.iter().map(|one| shape(one, indent)).collect::<Vec<_>>().join(" | ");
    }
    if let Some(all) = schema["enum"].as_array() {
        return all.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    if schema["const"] != Value::Null {
        return schema["const"].to_string();
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return "any".to_owned(),
    };
    let one = |kind: &&str| match *kind {
        "object" => object(schema, indent),
        "array" => {
            let item = shape(&schema["items"], indent);
            if item.contains(" | ") { format!("({item})[]") } else { format!("{item}[]") }
        }
        "integer" | "number" => "number".to_owned(),
        other => other.to_owned(),
    };
    kinds.iter().map(one).collect::<Vec<_>>().join(" | ")
}

fn object(schema: &Value, indent: usize) -> String {
    let Some(fields) = schema["properties"].as_object() else { return "object".to_owned() };
    let required = schema["required"].as_array();
    let space = "  ".repeat(indent + 1);
    let mut text = "{\n".to_owned();
    for (name, field) in fields {
        let is_required = required.is_some_and(|all| all.iter().any(|one| one == name));
        let mark = if is_required { "" } else { "?" };
        let about = match (field["description"].as_str(), field["format"].as_str()) {
            (Some(about), _) => format!("  // {}", about.replace('\n', " ")),
            (None, Some(format)) if format == "date-time" || format.contains('_') => {
                format!("  // {format}")
            }
            _ => String::new(),
        };
        let kind = shape(field, indent + 1);
        // What is said of an object stands where it opens.
        let (first, rest) = kind.split_at(kind.find('\n').unwrap_or(kind.len()));
        writeln!(text, "{space}{name}{mark}: {first}{about}{rest}").expect("writes to a text");
    }
    text + &"  ".repeat(indent) + "}"
}

#[test]
fn every_body_of_the_web_app() {
    let settings = |settings: SchemaSettings| settings.with(|it| it.inline_subschemas = true);
    let mut takes = settings(SchemaSettings::draft2020_12().for_deserialize()).into_generator();
    let mut gives = settings(SchemaSettings::draft2020_12().for_serialize()).into_generator();
    let mut text = String::new();
    let routes = routes::all();
    for row in routes.table().iter().filter(|row| row.path.starts_with("/api/")) {
        let asked = (row.describe)(&mut takes);
        let Some((status, answer)) = (row.describe)(&mut gives).answer else { continue };
        write!(text, "\n### {} {}\n\n```ts\n", row.method, row.path).expect("writes to a text");
        for (name, schema) in [("query", asked.query), ("request", asked.request)] {
            if let Some(schema) = schema {
                writeln!(text, "{name} {}", shape(schema.as_value(), 0)).expect("writes");
            }
        }
        match answer {
            None => writeln!(text, "{status}"),
            Some(schema) => writeln!(text, "{status} {}", shape(schema.as_value(), 0)),
        }
        .expect("writes to a text");
        text.push_str("```\n");
    }
    keep("api.md", "bodies", &text);
}
