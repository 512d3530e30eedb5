//! Chat templates of published models, against Jinja2 in the environment of transformers.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};
use strongroom::engine::PromptError;
use strongroom::engine::gguf::File;
use strongroom::engine::template::Template;
use strongroom::engine::tokenizer::Tokenizer;

/// The data that lies outside the repository.
fn shared(name: &str) -> Option<PathBuf> {
    let given = std::env::var_os("STRONGROOM_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let places = given.into_iter().chain([beside]).map(|root| root.join("data").join(name));
    places.into_iter().find(|path| path.exists())
}

/// A Python that has Jinja2; `tests/run` makes one and names it.
fn python() -> Option<PathBuf> {
    std::env::var_os("STRONGROOM_PYTHON").map(PathBuf::from)
}

fn skip(reason: &str) {
    let test = "published_templates_render_as_jinja2_renders_them";
    let _ = std::io::stderr().write_all(format!("\nSKIPPED test {test}: {reason}\n").as_bytes());
}

#[test]
fn published_templates_render_as_jinja2_renders_them() {
    let (Some(folder), Some(vocabs)) = (shared("templates"), shared("vocabs")) else {
        return skip("data/templates is neither in STRONGROOM_SHARED nor in ../shared");
    };
    let Some(python) = python() else {
        return skip("STRONGROOM_PYTHON names no Python with Jinja2; tests/run makes one");
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/render_templates.py");
    let made = Command::new(python).arg(script).arg(&folder).output().expect("Python runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let cases = String::from_utf8(made.stdout).expect("text");
    let file = File::open(&vocabs.join("ggml-vocab-gpt-2.gguf")).expect("a model file");
    let tokenizer = Tokenizer::from_gguf(&file).expect("a tokenizer");
    let mut templates: BTreeMap<String, Result<Template, PromptError>> = BTreeMap::new();
    let (mut equal, mut refused, mut failing, mut wrong) = (0, 0, 0, Vec::new());
    for line in cases.lines() {
        let case: Map<String, Value> = serde_json::from_str(line).expect("a case");
        let text = |name: &str| case.get(name).and_then(Value::as_str);
        let (template, name) = (text("template").expect("named"), text("case").expect("named"));
        let program = templates.entry(template.to_owned()).or_insert_with(|| {
            let source = std::fs::read_to_string(folder.join(template)).expect("a template");
            Template::new(&source, &tokenizer)
        });
        let names = case["names"].as_object().expect("names");
        let date = time::Date::from_calendar_date(2026, time::Month::March, 5).ok();
        let rendered = program.as_ref().map_err(Clone::clone).and_then(|t| t.render(names, date));
        match (text("text"), text("refusal"), &rendered) {
            (Some(expected), _, Ok(rendered)) if expected == rendered => equal += 1,
            (_, Some(expected), Err(PromptError::Refused(reason))) if expected == reason => {
                refused += 1;
            }
            // Jinja2 itself fails, for a reason that has nothing to do with the conversation.
            (None, None, _) => failing += 1,
            (expected, refusal, _) => {
                wrong.push(difference(template, name, expected.or(refusal), &rendered));
            }
        }
    }
    println!("{} templates: {equal} equal, {refused} refused, {failing} fail", templates.len());
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("templates.txt");
    std::fs::write(&all, wrong.concat()).expect("written");
    let shown: String = wrong.iter().take(SHOWN).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} differ, all in {}:\n{shown}", wrong.len(), all.display());
    assert!(templates.len() > 90 && equal > 7_000 && refused > 900, "too few cases");
}

/// How many differences are shown at once.
const SHOWN: usize = 20;

/// Where two texts part.
fn difference(
    template: &str,
    case: &str,
    expected: Option<&str>,
    rendered: &Result<String, PromptError>,
) -> String {
    let expected = expected.unwrap_or_default();
    let found = match rendered {
        Ok(text) => text.as_str(),
        Err(error) => return format!("{template} [{case}]: {error:?}\n"),
    };
    let same = expected.chars().zip(found.chars()).take_while(|(a, b)| a == b).count();
    let around =
        |text: &str| text.chars().skip(same.saturating_sub(30)).take(80).collect::<String>();
    format!("{template} [{case}]:\n  want {:?}\n  have {:?}\n", around(expected), around(found))
}
