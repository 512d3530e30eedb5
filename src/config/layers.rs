//! The layers of the configuration as flat lists of dotted keys, each value with its origin.

use std::collections::BTreeMap;
use std::fmt;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::settings::{MODEL_NAME_RULE, is_model_name};
use super::{ConfigError, ROLES, Settings};

const DEFAULTS: &str = include_str!("../../config/strongroom.toml");

/// A section below which people choose the names.
struct Open {
    section: &'static str,
    names: Names,
    holds: Holds,
}

/// Which names may stand below an open section.
enum Names {
    These(&'static [&'static str]),
    OfModels,
}

/// What stands under each name.
enum Holds {
    /// A section like this one.
    Like(&'static str),
    /// A section of these settings, each with the one that holds where it is absent.
    Fields(&'static [(&'static str, &'static str)]),
    /// A value such as this one's.
    Value(&'static str),
}

const OPEN: &[Open] = &[
    Open {
        section: "limits.roles",
        names: Names::These(&ROLES),
        holds: Holds::Like("limits.person"),
    },
    Open {
        section: "limits.weights",
        names: Names::These(&ROLES),
        holds: Holds::Value("limits.person.concurrent"),
    },
    Open {
        section: "models.limits",
        names: Names::OfModels,
        holds: Holds::Fields(&[
            ("load", "models.load"),
            ("idle_minutes", "models.idle_minutes"),
            ("answer_tokens_max", "models.answer_tokens_max"),
            ("context_tokens_max", "engine.context_tokens_max"),
            ("kv_budget_mib", "engine.kv_budget_mib"),
            ("streams_max", "engine.streams_max"),
            ("queue_max", "engine.queue_max"),
            ("draft_file", "engine.draft_file"),
            ("person_requests_per_minute", "limits.person.requests_per_minute"),
            ("person_tokens_per_minute", "limits.person.tokens_per_minute"),
            ("person_requests_per_day", "limits.person.requests_per_day"),
            ("person_tokens_per_day", "limits.person.tokens_per_day"),
            ("person_requests_per_month", "limits.person.requests_per_month"),
            ("person_tokens_per_month", "limits.person.tokens_per_month"),
        ]),
    },
    Open {
        section: "models.prices",
        names: Names::OfModels,
        holds: Holds::Fields(&[
            ("input", "models.default"),
            ("cached_input", "models.default"),
            ("output", "models.default"),
        ]),
    },
    Open {
        section: "models.aliases",
        names: Names::OfModels,
        holds: Holds::Value("models.default"),
    },
];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The built-in defaults.
    Default,
    /// A line of the configuration file.
    File { name: String, line: usize },
    /// An environment variable.
    Environment(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { name, line } => write!(formatter, "{name}, line {line}"),
            Self::Environment(name) => write!(formatter, "environment {name}"),
            Self::Flag => formatter.write_str("command line"),
        }
    }
}

/// All layers, merged so far.
pub(super) struct Layers {
    values: BTreeMap<String, (Value, Origin)>,
    sections: Vec<String>,
}

impl Layers {
    pub(super) fn defaults() -> Result<Self, ConfigError> {
        let mut layers = Self { values: BTreeMap::new(), sections: Vec::new() };
        let table = parse("config/strongroom.toml", DEFAULTS)?;
        flatten("", &table, &mut |key, value| {
            if let DeValue::Table(_) = value.get_ref() {
                layers.sections.push(key.to_owned());
            } else {
                layers.values.insert(key.to_owned(), (plain(value.get_ref()), Origin::Default));
            }
            Ok(())
        })?;
        Ok(layers)
    }

    pub(super) fn add_file(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let table = parse(name, text)?;
        flatten("", &table, &mut |key, value| {
            let origin =
                Origin::File { name: name.to_owned(), line: line_of(text, value.span().start) };
            if let DeValue::Table(_) = value.get_ref() {
                if let Some(error) = unknown_name(key, &origin) {
                    return Err(error);
                }
                return match self.pattern(key) {
                    None => Ok(()),
                    Some(known) => Err(wrong_type(origin, key, known, "a section")),
                };
            }
            self.put(key, plain(value.get_ref()), origin)
        })
    }

    pub(super) fn add_variable(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let wanted = name.strip_prefix("STRONGROOM_").unwrap_or(name).to_ascii_lowercase();
        let key = self.values.keys().find(|key| key.replace('.', "_") == wanted).cloned();
        let origin = Origin::Environment(name.to_owned());
        match key {
            Some(key) => self.put_text(&key, text, origin),
            None => {
                Err(ConfigError::UnknownKey { origin, key: name.to_owned(), hint: String::new() })
            }
        }
    }

    pub(super) fn add_flag(&mut self, key: &str, text: &str) -> Result<(), ConfigError> {
        self.put_text(key, text, Origin::Flag)
    }

    /// A value that comes as text: text stays text, anything else is read as TOML.
    fn put_text(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let as_toml = || {
            let line = format!("value = {text}");
            line.parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"))
        };
        let value = match self.pattern(key) {
            Some(Value::String(_)) | None => Value::String(text.to_owned()),
            Some(Value::Array(_)) => as_toml().unwrap_or_else(|| {
                Value::Array(
                    text.split(',').map(|part| Value::String(part.trim().into())).collect(),
                )
            }),
            Some(_) => as_toml().unwrap_or_else(|| Value::String(text.to_owned())),
        };
        self.put(key, value, origin)
    }

    fn put(&mut self, key: &str, value: Value, origin: Origin) -> Result<(), ConfigError> {
        let Some(known) = self.pattern(key) else {
            if let Some(error) = unknown_name(key, &origin) {
                return Err(error);
            }
            if self.sections.iter().any(|section| section == key) {
                let found = type_name(&value);
                return Err(ConfigError::WrongType {
                    origin,
                    key: key.into(),
                    expected: "a section",
                    found,
                });
            }
            let hint = self.hint(key);
            return Err(ConfigError::UnknownKey { origin, key: key.to_owned(), hint });
        };
        if !known.same_type(&value) {
            return Err(wrong_type(origin, key, known, type_name(&value)));
        }
        self.values.insert(key.to_owned(), (value, origin));
        Ok(())
    }

    /// The value that shows a key's type, if there is such a key.
    fn pattern(&self, key: &str) -> Option<&Value> {
        if let Some((value, _)) = self.values.get(key) {
            return Some(value);
        }
        let (below, open) = below_open(key)?;
        let (name, field) = split(below);
        if !open.names.has(name) {
            return None;
        }
        let like = match (&open.holds, field) {
            (Holds::Like(section), Some(field)) => format!("{section}.{field}"),
            (Holds::Fields(fields), Some(field)) => {
                fields.iter().find(|(name, _)| *name == field)?.1.to_owned()
            }
            (Holds::Value(like), None) => (*like).to_owned(),
            _ => return None,
        };
        self.values.get(&like).map(|(value, _)| value)
    }

    fn hint(&self, key: &str) -> String {
        let close = self.values.keys().min_by_key(|known| distance(known, key));
        match close {
            Some(known) if distance(known, key) <= 2 => format!("; did you mean `{known}`?"),
            _ => String::new(),
        }
    }

    /// The typed settings.
    pub(super) fn settings(&self) -> Result<Settings, ConfigError> {
        Settings::read(&self.table()).map_err(|reason| self.blame(reason))
    }

    fn table(&self) -> toml::Table {
        let mut root = toml::Table::new();
        for section in &self.sections {
            insert(&mut root, section, Value::Table(toml::Table::new()));
        }
        for (key, (value, _)) in &self.values {
            insert(&mut root, key, value.clone());
        }
        root
    }

    /// Finds the key at fault: one value at a time on top of the defaults.
    fn blame(&self, reason: String) -> ConfigError {
        let trial = Self::defaults().map(|layers| layers.table()).unwrap_or_default();
        for (key, (value, origin)) in &self.values {
            let mut changed = trial.clone();
            insert(&mut changed, key, value.clone());
            if let Err(reason) = Settings::read(&changed) {
                let reason = reason.trim().replace('\n', " ");
                return ConfigError::BadValue {
                    origin: origin.clone(),
                    key: key.clone(),
                    reason: format!("is not accepted: {reason}"),
                };
            }
        }
        ConfigError::BadValue { origin: Origin::Default, key: "settings".into(), reason }
    }

    pub(super) fn into_values(self) -> BTreeMap<String, (Value, Origin)> {
        self.values
    }
}

impl Names {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::These(names) => names.contains(&name),
            Self::OfModels => is_model_name(name),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::These(names) => format!("; there are: {}", names.join(", ")),
            Self::OfModels => format!("; {MODEL_NAME_RULE}"),
        }
    }
}

/// What stands below an open section, and which that is.
fn below_open(key: &str) -> Option<(&str, &'static Open)> {
    let below =
        |open: &'static Open| Some((key.strip_prefix(open.section)?.strip_prefix('.')?, open));
    OPEN.iter().find_map(below)
}

/// The key of a setting under a name below an open section.
pub(super) fn key(section: &str, name: &str, field: &str) -> String {
    format!("{section}.{}.{field}", part(name))
}

/// The first part of a dotted key, and the rest. A part that has dots of its own stands in quotes.
fn split(key: &str) -> (&str, Option<&str>) {
    if let Some((name, rest)) = key.strip_prefix('"').and_then(|key| key.split_once('"')) {
        return (name, rest.strip_prefix('.'));
    }
    key.split_once('.').map_or((key, None), |(name, rest)| (name, Some(rest)))
}

/// A part of a dotted key.
fn part(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if name.chars().all(is_bare) { name.to_owned() } else { format!("\"{name}\"") }
}

/// What is wrong with a key below an open section whose name is none of those that may stand there.
fn unknown_name(key: &str, origin: &Origin) -> Option<ConfigError> {
    let (below, Open { section, names, .. }) = below_open(key)?;
    let name = split(below).0;
    if names.has(name) {
        return None;
    }
    let key = format!("{section}.{}", part(name));
    Some(ConfigError::UnknownKey { origin: origin.clone(), key, hint: names.hint() })
}

fn parse<'a>(name: &str, text: &'a str) -> Result<Spanned<DeTable<'a>>, ConfigError> {
    DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        file: name.to_owned(),
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        reason: error.message().to_owned(),
    })
}

/// Calls `visit` for every section and every value, sections before what they hold.
fn flatten<'a>(
    prefix: &str,
    table: &Spanned<DeTable<'a>>,
    visit: &mut impl FnMut(&str, &Spanned<DeValue<'a>>) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    for (name, value) in table.get_ref() {
        let name = part(name.get_ref());
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        visit(&key, value)?;
        if let DeValue::Table(inner) = value.get_ref() {
            let inner = Spanned::new(value.span(), inner.clone());
            flatten(&key, &inner, visit)?;
        }
    }
    Ok(())
}

fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(&number.as_str().replace('_', ""), number.radix())
                .map_or_else(|_| Value::String(number.as_str().to_owned()), Value::Integer)
        }
        DeValue::Float(number) => {
            number.as_str().parse().map_or(Value::Float(f64::NAN), Value::Float)
        }
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(moment) => Value::Datetime(*moment),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| plain(item.get_ref())).collect())
        }
        DeValue::Table(_) => Value::Table(toml::Table::new()),
    }
}

fn insert(root: &mut toml::Table, key: &str, value: Value) {
    match split(key) {
        (name, None) => {
            root.insert(name.to_owned(), value);
        }
        (section, Some(rest)) => {
            let entry = root.entry(section).or_insert_with(|| Value::Table(toml::Table::new()));
            if let Value::Table(inner) = entry {
                insert(inner, rest, value);
            }
        }
    }
}

fn wrong_type(origin: Origin, key: &str, known: &Value, found: &'static str) -> ConfigError {
    ConfigError::WrongType { origin, key: key.to_owned(), expected: type_name(known), found }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// Levenshtein's distance between two short keys.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, one) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(one != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}
