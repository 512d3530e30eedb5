//! The policy: what is done about each category in each direction. Data, read from TOML, laid
//! over the built-in file key by key.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use toml::de::{DeTable, DeValue};

use super::finding::{Category, Direction, Redaction};

/// The policy that is in force where no file changes it.
pub const BUILTIN: &str = include_str!("../../config/guard.toml");

/// Phrases of a list, and bytes of a phrase.
const PHRASES_MAX: usize = 10_000;
const PHRASE_BYTES_MAX: usize = 200;

/// What is done about a finding; the later the stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing.
    Allow,
    /// It is counted and put on record.
    Flag,
    /// It is replaced or taken out.
    Redact,
    /// The request is refused, the answer ended.
    Refuse,
}

impl Action {
    /// The name in policies, records and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Flag => "flag",
            Self::Redact => "redact",
            Self::Refuse => "refuse",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Allow, Self::Flag, Self::Redact, Self::Refuse]
            .into_iter()
            .find(|action| action.name() == name)
    }
}

/// Bounds on the form of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Limits {
    /// Characters of one text.
    pub text_chars_max: usize,
    /// Characters of all texts.
    pub total_chars_max: usize,
    /// Texts.
    pub texts_max: usize,
}

/// A whole policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    limits: Limits,
    input: BTreeMap<Category, Action>,
    output: BTreeMap<Category, Action>,
    denied: Vec<String>,
    allowed: Vec<String>,
    injection: Vec<String>,
}

/// A policy that is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{file}, line {line}: {what}")]
pub struct PolicyError {
    /// The file's name.
    pub file: String,
    /// The line at fault.
    pub line: usize,
    /// What is wrong with it; names the key.
    pub what: String,
}

impl Policy {
    /// The built-in policy.
    pub fn builtin() -> Result<Self, PolicyError> {
        let mut policy = Self::default();
        policy.lay("config/guard.toml", BUILTIN)?;
        Ok(policy)
    }

    /// The built-in policy with a file laid over it.
    pub fn read(file: &str, text: &str) -> Result<Self, PolicyError> {
        let mut policy = Self::builtin()?;
        policy.lay(file, text)?;
        Ok(policy)
    }

    /// What is done about a category.
    pub fn action(&self, direction: Direction, category: Category) -> Action {
        let actions = match direction {
            Direction::Input => &self.input,
            Direction::Output => &self.output,
        };
        actions.get(&category).copied().unwrap_or(Action::Allow)
    }

    /// The bounds.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Phrases that are denied.
    pub fn denied(&self) -> &[String] {
        &self.denied
    }

    /// Phrases of injection.
    pub fn injection(&self) -> &[String] {
        &self.injection
    }

    /// Whether a value is never a finding.
    pub fn is_allowed(&self, value: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed == value)
    }

    fn lay(&mut self, file: &str, text: &str) -> Result<(), PolicyError> {
        let error = |at: usize, what: String| PolicyError {
            file: file.to_owned(),
            line: text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1,
            what,
        };
        let table = DeTable::parse(text).map_err(|reason| {
            error(reason.span().map_or(0, |span| span.start), reason.message().to_owned())
        })?;
        for (section, keys) in table.get_ref() {
            let name = section.get_ref().as_ref();
            let DeValue::Table(keys) = keys.get_ref() else {
                return Err(error(section.span().start, format!("unknown key `{name}`")));
            };
            for (key, value) in keys {
                self.set(name, key.get_ref(), value.get_ref()).map_err(|reason| {
                    error(key.span().start, format!("`{name}.{}` {reason}", key.get_ref()))
                })?;
            }
            if !matches!(name, "limits" | "input" | "output" | "phrases") {
                return Err(error(section.span().start, format!("unknown section `{name}`")));
            }
        }
        Ok(())
    }

    fn set(&mut self, section: &str, key: &str, value: &DeValue<'_>) -> Result<(), String> {
        let unknown = || "is not a key of the policy".to_owned();
        match section {
            "limits" => {
                let limit = match key {
                    "text_chars_max" => &mut self.limits.text_chars_max,
                    "total_chars_max" => &mut self.limits.total_chars_max,
                    "texts_max" => &mut self.limits.texts_max,
                    _ => return Err(unknown()),
                };
                *limit = number(value)?;
            }
            "input" | "output" => {
                let category = Category::parse(key).ok_or_else(unknown)?;
                if section == "output" && category.group() == "form" {
                    return Err("has no meaning for answers".to_owned());
                }
                let action = action(category, value)?;
                let actions = if section == "input" { &mut self.input } else { &mut self.output };
                actions.insert(category, action);
            }
            "phrases" => {
                let list = match key {
                    "denied" => &mut self.denied,
                    "allowed" => &mut self.allowed,
                    "injection" => &mut self.injection,
                    _ => return Err(unknown()),
                };
                *list = phrases(value)?;
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

fn number(value: &DeValue<'_>) -> Result<usize, String> {
    let DeValue::Integer(number) = value else { return Err("must be a whole number".to_owned()) };
    let plain = number.as_str().replace('_', "");
    let number = usize::from_str_radix(&plain, number.radix()).ok();
    number
        .filter(|number| (1..=100_000_000).contains(number))
        .ok_or_else(|| "must be from 1 to 100000000".to_owned())
}

fn action(category: Category, value: &DeValue<'_>) -> Result<Action, String> {
    let DeValue::String(name) = value else { return Err("must be text".to_owned()) };
    let action = Action::parse(name)
        .ok_or_else(|| format!("must be allow, flag, redact or refuse, not `{name}`"))?;
    if action == Action::Redact && category.redaction() == Redaction::Impossible {
        return Err("cannot be redacted: allow, flag or refuse it".to_owned());
    }
    Ok(action)
}

fn phrases(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let DeValue::Array(items) = value else { return Err("must be a list of texts".to_owned()) };
    if items.len() > PHRASES_MAX {
        return Err(format!("has more than {PHRASES_MAX} entries"));
    }
    items
        .iter()
        .map(|item| match item.get_ref() {
            DeValue::String(text) if text.trim().is_empty() => Err("has an empty entry".to_owned()),
            DeValue::String(text) if text.len() > PHRASE_BYTES_MAX => {
                Err(format!("has an entry of more than {PHRASE_BYTES_MAX} bytes"))
            }
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err("must be a list of texts".to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Policy::read("g.toml", text).expect_err("refused").to_string()
    }

    #[test]
    fn the_builtin_policy_names_every_category() {
        let policy = Policy::builtin().expect("reads");
        for category in Category::all() {
            assert!(policy.input.contains_key(&category), "{category}");
            assert!(category.group() == "form" || policy.output.contains_key(&category));
        }
    }

    #[test]
    fn a_file_is_laid_over_the_builtin_policy() {
        let text = "[input]\n\"personal.email\" = \"refuse\"\n";
        let policy = Policy::read("g.toml", text).expect("reads");
        assert_eq!(policy.action(Direction::Input, Category::PersonalEmail), Action::Refuse);
        assert_eq!(policy.action(Direction::Input, Category::PersonalCard), Action::Redact);
    }

    #[test]
    fn mistakes_are_named_with_file_and_line() {
        let unknown = refused("[input]\n\"personal.mail\" = \"flag\"");
        assert_eq!(unknown, "g.toml, line 2: `input.personal.mail` is not a key of the policy");
        assert!(refused("\n[guards]\n").contains("line 2: unknown section `guards`"));
        assert!(refused("[input]\ninjection = \"redact\"").contains("cannot be redacted"));
        assert!(refused("[input]\ninjection = \"stop\"").contains("not `stop`"));
        assert!(refused("[output]\n\"form.blank\" = \"flag\"").contains("no meaning"));
        assert!(refused("[limits]\ntexts_max = 0").contains("from 1"));
        assert!(refused("[phrases]\ndenied = [\" \"]").contains("empty"));
        assert!(refused("x = 1").contains("unknown key `x`"));
        assert!(refused("[input").contains("line 1"));
    }
}
