//! Tests that carry a number in their names, and the tables in the documentation that tests read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The numbers behind this word in the names of tests: of the binary, of the code, and of clients.
pub fn numbers(word: &str) -> BTreeSet<u32> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("tests"), &mut files);
    collect(&root.join("src"), &mut files);
    let mut found = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("it is UTF-8");
        for line in text.lines().map(str::trim_start) {
            let begins = ["fn ", "async fn ", "def test_", "test(\""];
            let name = begins.iter().find_map(|begin| line.strip_prefix(begin));
            let number =
                name.and_then(|name| name.strip_prefix(word)?.get(..2)?.parse::<u32>().ok());
            found.extend(number);
        }
    }
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let is_source = |kind: &std::ffi::OsStr| ["rs", "py", "mjs"].iter().any(|one| kind == *one);
        if path.is_dir() && !path.ends_with("node_modules") {
            collect(&path, found);
        } else if path.extension().is_some_and(is_source) {
            found.push(path);
        }
    }
}

/// The rows of a table that is made from code, the head first, without the line below it.
pub fn rows(page: &str, table: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = fs::read_to_string(path).expect("the page is there");
    let (_, rest) = text.split_once(&format!("<!-- table: {table} -->")).expect("the table begins");
    let (table, _) = rest.split_once("<!-- end -->").expect("the table ends");
    let mut rows: Vec<Vec<String>> = table.trim().lines().map(cells).collect();
    assert!(rows.len() > 2, "{page}: it is empty");
    rows.remove(1);
    rows
}

/// The names of all tables of a page.
pub fn tables(page: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = fs::read_to_string(path).expect("the page is there");
    let parts = text.split("<!-- table: ").skip(1);
    parts.filter_map(|part| part.split_once(" -->")).map(|(name, _)| name.to_owned()).collect()
}

fn cells(line: &str) -> Vec<String> {
    let inside = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|'));
    let inside = inside.expect("a row").replace("\\|", "\u{0}");
    inside.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}
