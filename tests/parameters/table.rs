//! The tables of parameters, as they stand in the documentation.

use crate::common::numbered::{rows, tables};

/// What is done with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happens {
    Honoured,
    /// It is taken, whatever it is, and has no effect.
    Nothing,
    /// All values but those that mean what happens anyway are refused.
    Refused,
}

/// A parameter of one endpoint.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    /// The endpoint, by its column or by its table.
    pub on: String,
    pub happens: Happens,
    pub accepted: String,
}

/// Every row of every table of parameters, once for each endpoint that it is on.
pub fn all() -> Vec<Row> {
    let mut found = Vec::new();
    for page in ["openai-compat.md", "anthropic-compat.md"] {
        for name in tables(page) {
            read(&name, &rows(page, &name), &mut found);
        }
    }
    // Far fewer would mean that nothing was read.
    assert!(found.len() > 200, "{} rows", found.len());
    found
}

fn read(name: &str, rows: &[Vec<String>], found: &mut Vec<Row>) {
    let (head, rows) = rows.split_first().expect("a head");
    // Tables of something else are not looked at.
    if head[0] != "parameter" {
        return;
    }
    let columns = head.iter().position(|column| column == "what happens").expect("a column") - 1;
    for line in rows {
        assert_eq!(line.len(), head.len(), "{name}: {line:?}");
        let row = |on: &str| Row {
            name: line[0].trim_matches('`').to_owned(),
            on: on.to_owned(),
            happens: happens(&line[columns + 1]),
            accepted: line[columns + 2].clone(),
        };
        if columns == 0 {
            found.push(row(name));
        }
        for place in 1..=columns {
            match line[place].as_str() {
                "yes" => found.push(row(&head[place])),
                other => assert_eq!(other, "", "{name}: {line:?}"),
            }
        }
    }
}

fn happens(words: &str) -> Happens {
    if words.starts_with("honoured") {
        Happens::Honoured
    } else if words.starts_with("no effect") {
        Happens::Nothing
    } else {
        assert!(words.starts_with("other values are refused"), "{words}");
        Happens::Refused
    }
}
