//! The texts of a JSON value: names of fields, texts and numbers. The guard sees each value with the nearest
//! name above it: `hunter2` is a secret where it is the `password`, or stands in a list of `passwords`.
//! The depth of a value is bounded by its parser.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// What stands between a name and its value.
const NAMED: &str = ": ";
/// Bytes of a name that go with each of its values, from the end of it: a list repeats it with every item.
const NAME_BYTES_MAX: usize = 64;
/// Bytes that a number is counted with.
const NUMBER_BYTES: usize = 24;

/// How much there is for a guard to look through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Texts, names of fields and numbers among them.
    pub texts: usize,
    /// Bytes of JSON values, each value with its name.
    pub json_bytes: usize,
}

impl Extent {
    /// Adds all of a value, which has a name of so many bytes.
    pub(super) fn add_value(&mut self, value: &Value, name_bytes: usize) {
        let name_bytes = name_bytes.min(NAME_BYTES_MAX) + NAMED.len();
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(_) => self.add(name_bytes + NUMBER_BYTES),
            Value::String(text) => self.add(name_bytes + text.len()),
            Value::Array(items) => {
                for item in items {
                    self.add_value(item, name_bytes);
                }
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.add(name.len());
                    self.add_value(value, name.len());
                }
            }
        }
    }

    fn add(&mut self, bytes: usize) {
        self.texts += 1;
        self.json_bytes = self.json_bytes.saturating_add(bytes);
    }
}

/// How many bytes the texts of a value have, without those of names that go with them.
pub(super) fn bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 0,
        Value::Number(number) => number.to_string().len(),
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + bytes(value)).sum(),
    }
}

/// Adds every text of a value that has this name, each value with the nearest one.
pub(super) fn collect<'a>(value: &'a Value, name: Option<&str>, texts: &mut Vec<Cow<'a, str>>) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => texts.push(named(name, &number.to_string()).into()),
        Value::String(text) if name.is_none() => texts.push(text.into()),
        Value::String(text) => texts.push(named(name, text).into()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, name, texts)),
        Value::Object(fields) => {
            for (name, value) in fields {
                texts.push(name.into());
                collect(value, Some(name), texts);
            }
        }
    }
}

/// What takes a text and gives the one for its place.
pub(super) type Replace<'a> = dyn FnMut(&str) -> String + 'a;

/// How the texts of a value are seen by what replaces them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// Each by itself.
    Alone,
    /// Each value with the nearest name, in the order of `collect`; above them all stands this one.
    Named(Option<Name<'a>>),
}

/// The name of a field, as it was and as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) old: &'a str,
    pub(super) new: &'a str,
}

/// A value with other texts in the place of its own. A number whose text is another one becomes that text.
pub(super) fn replaced(value: &Value, seen: Seen<'_>, replace: &mut Replace<'_>) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Number(number) => {
            let text = number.to_string();
            let new = replaced_text(&text, seen, replace);
            if new == text { value.clone() } else { Value::String(new) }
        }
        Value::String(text) => Value::String(replaced_text(text, seen, replace)),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| replaced(item, seen, replace)).collect())
        }
        Value::Object(fields) => {
            let mut all = Map::with_capacity(fields.len());
            for (old, value) in fields {
                let new = replace(old);
                let below = match seen {
                    Seen::Alone => Seen::Alone,
                    Seen::Named(_) => Seen::Named(Some(Name { old, new: &new })),
                };
                let value = replaced(value, below, replace);
                all.insert(new, value);
            }
            Value::Object(all)
        }
    }
}

fn replaced_text(text: &str, seen: Seen<'_>, replace: &mut Replace<'_>) -> String {
    let Seen::Named(Some(Name { old, new })) = seen else { return replace(text) };
    let both = replace(&named(Some(old), text));
    // Where the name was taken out along with the value, nothing of either is left.
    let value = |name: &str| both.strip_prefix(tail(name))?.strip_prefix(NAMED).map(str::to_owned);
    let value = value(old).or_else(|| value(new));
    value.unwrap_or(both)
}

fn named(name: Option<&str>, text: &str) -> String {
    name.map_or_else(|| text.to_owned(), |name| [tail(name), NAMED, text].concat())
}

/// The end of a name, from the start of a character.
fn tail(name: &str) -> &str {
    let mut start = name.len().saturating_sub(NAME_BYTES_MAX);
    while !name.is_char_boundary(start) {
        start += 1;
    }
    &name[start..]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(value: &Value) -> Vec<Cow<'_, str>> {
        let mut texts = Vec::new();
        collect(value, None, &mut texts);
        texts
    }

    fn with(value: &Value, mut replace: impl FnMut(&str) -> String) -> Value {
        replaced(value, Seen::Named(None), &mut replace)
    }

    #[test]
    fn every_value_is_seen_with_the_nearest_name() {
        for (value, expected) in [
            (json!({"password": "x"}), vec!["password", "password: x"]),
            (json!({"password": ["x", ["y"]]}), vec!["password", "password: x", "password: y"]),
            (json!({"login": {"password": "x"}}), vec!["login", "password", "password: x"]),
            (json!({"a": [{"pin": 1.5}, 7]}), vec!["a", "pin", "pin: 1.5", "a: 7"]),
            (json!({"a": {"b": []}, "c": null, "d": true}), vec!["a", "b", "c", "d"]),
            (json!(["x", 1]), vec!["x", "1"]),
        ] {
            assert_eq!(texts(&value), expected, "{value}");
            let mut seen = Vec::new();
            let same = with(&value, |text| {
                seen.push(text.to_owned());
                text.to_owned()
            });
            assert_eq!(seen, expected, "{value}");
            assert_eq!(same, value);
        }
    }

    #[test]
    fn a_value_is_replaced_and_its_name_stays() {
        let value =
            json!({"password": ["hunter2", {"n": [1.5]}], "card": 4_111_111_111_111_111_u64});
        let hidden = with(&value, |text| {
            text.replace("hunter2", "[secret]").replace("4111111111111111", "[card]")
        });
        assert_eq!(hidden, json!({"password": ["[secret]", {"n": [1.5]}], "card": "[card]"}));
        // What takes the name along with the text leaves nothing of the text.
        let whole = with(&value, |text| text.replace("password: hunter2", "[both]"));
        assert_eq!(whole["password"][0], "[both]");
        let louder = with(&json!({"name": ["x"]}), str::to_uppercase);
        assert_eq!(louder, json!({"NAME": ["X"]}), "the name may change with it");
    }

    #[test]
    fn by_themselves_texts_are_seen_without_a_name() {
        let value = json!({"a": ["b", 1], "c": {"d": "e"}});
        let mut seen = Vec::new();
        let marked = replaced(&value, Seen::Alone, &mut |text: &str| {
            seen.push(text.to_owned());
            format!("<{text}>")
        });
        assert_eq!(seen, ["a", "b", "1", "c", "d", "e"]);
        assert_eq!(marked, json!({"<a>": ["<b>", "<1>"], "<c>": {"<d>": "<e>"}}));
    }

    #[test]
    fn a_long_name_goes_with_its_values_by_its_end() {
        let name = format!("{}é password", "x".repeat(1 << 20));
        let value = json!({ &name: vec!["hunter2"; 100] });
        let all = texts(&value);
        assert!(all[1].ends_with("password: hunter2") && all[1].len() < 80, "{}", all[1]);
        let hidden = with(&value, |text| text.replace("hunter2", "[secret]"));
        assert_eq!(hidden[&name][99], "[secret]");
        let mut extent = Extent::default();
        extent.add_value(&value, 0);
        assert_eq!(extent.texts, all.len());
        let bytes: usize = all.iter().map(|text| text.len()).sum();
        assert!((bytes..bytes + 400).contains(&extent.json_bytes), "{extent:?} {bytes}");
        assert_eq!(super::bytes(&value), name.len() + 700);
    }
}
