//! The tables of the API reference, made from the types, and held to what stands in `docs/`.
//!
//! A table stands between `<!-- table: NAME -->` and `<!-- end -->`. When a test here fails, the code
//! has changed: `STRONGROOM_WRITE_DOCS=1 cargo test --lib reference` writes the pages anew.

use std::fmt::Write as _;

use crate::access::permission::{BuiltinRole, Permission};
use crate::access::route::Access;
use crate::audit::Action;
use crate::web::ErrorCode;
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
fn errors() {
    let rows = ErrorCode::ALL.iter().map(|code| {
        vec![
            code.status().as_u16().to_string(),
            format!("`{}`", code.name()),
            format!("`{}`", code.kind()),
            code.default_message().to_owned(),
        ]
    });
    keep("api.md", "errors", &table(&["status", "code", "type", "meaning"], rows));
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
