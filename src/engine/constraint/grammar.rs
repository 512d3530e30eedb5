//! Grammars as people send them, and their bounds.

use std::borrow::Cow;

use llguidance::JsonCompileOptions;
use llguidance::api::TopLevelGrammar;
use serde_json::{Map, Value, json};

use crate::engine::{Extent, message};

/// What an answer is held to.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// Any JSON object.
    JsonObject,
    /// A JSON value by this schema (JSON Schema 2020-12, the part of it that llguidance knows; what
    /// it does not know is refused, not ignored).
    JsonSchema(Value),
    /// A text that this regular expression matches as a whole (syntax of the Rust crate `regex`).
    Regex(String),
    /// A text of this grammar (Lark, as llguidance reads it).
    Lark(String),
    /// One of these texts.
    Choice(Vec<String>),
}

/// Why an answer cannot be held to a grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// The grammar is wrong, uses what is not known, or is too large. The reason may quote it: it is
    /// for whoever sent it, and for no log.
    #[error("the grammar cannot be used")]
    Unusable(String),
    /// This model's vocabulary does not allow it.
    #[error("this model cannot be held to a grammar")]
    Unavailable,
}

impl GrammarError {
    pub(super) fn unusable(reason: &str) -> Self {
        let line = reason.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let shown = line.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX);
        Self::Unusable(shown.collect())
    }
}

impl Grammar {
    /// Every text in it, names of fields among them.
    pub fn texts(&self) -> Vec<Cow<'_, str>> {
        match self {
            Self::JsonObject => Vec::new(),
            Self::JsonSchema(schema) => message::texts(schema),
            Self::Regex(text) | Self::Lark(text) => vec![text.into()],
            Self::Choice(texts) => texts.iter().map(Cow::from).collect(),
        }
    }

    /// How many bytes all texts have together.
    pub fn bytes(&self) -> usize {
        match self {
            Self::JsonObject => 0,
            Self::JsonSchema(schema) => message::bytes(schema),
            Self::Regex(text) | Self::Lark(text) => text.len(),
            Self::Choice(texts) => texts.iter().map(String::len).sum(),
        }
    }

    /// How much there is in it for a guard to look through.
    pub fn extent(&self) -> Extent {
        match self {
            Self::JsonObject => message::extent(0, None),
            Self::JsonSchema(schema) => message::extent(0, Some(schema)),
            Self::Regex(_) | Self::Lark(_) => message::extent(1, None),
            Self::Choice(texts) => message::extent(texts.len(), None),
        }
    }

    /// The grammar with other texts in the place of its own, in the order of `texts`.
    #[must_use]
    pub fn with_texts(&self, replace: &mut dyn FnMut(&str) -> String) -> Self {
        match self {
            Self::JsonObject => Self::JsonObject,
            Self::JsonSchema(schema) => {
                Self::JsonSchema(message::with_named_texts(schema, replace))
            }
            Self::Regex(text) => Self::Regex(replace(text)),
            Self::Lark(text) => Self::Lark(replace(text)),
            Self::Choice(texts) => Self::Choice(texts.iter().map(|text| replace(text)).collect()),
        }
    }

    /// What stands for it in a grammar of calls, beside which an answer may have this form.
    pub(super) fn rule(&self) -> Result<String, GrammarError> {
        self.check_size()?;
        match self {
            Self::JsonObject => {
                let object = Map::from_iter([("type".to_owned(), json!("object"))]);
                Ok(format!("%json {}", with_white_space(object)))
            }
            Self::JsonSchema(Value::Object(fields)) => {
                Ok(format!("%json {}", with_white_space(fields.clone())))
            }
            Self::JsonSchema(_) => Err(GrammarError::unusable("a schema is an object")),
            Self::Choice(texts) => alternatives(texts),
            Self::Regex(_) | Self::Lark(_) => Err(GrammarError::unusable(
                "beside `tools` that may be called, an answer is held to JSON or to a choice",
            )),
        }
    }

    fn check_size(&self) -> Result<(), GrammarError> {
        if self.bytes() > BYTES_MAX {
            return Err(GrammarError::unusable("it has more than 65536 bytes"));
        }
        Ok(())
    }

    /// What llguidance compiles.
    pub(super) fn compiled(&self) -> Result<TopLevelGrammar, GrammarError> {
        self.check_size()?;
        match self {
            Self::JsonObject => Ok(schema(Map::from_iter([("type".to_owned(), json!("object"))]))),
            Self::JsonSchema(Value::Object(fields)) => Ok(schema(fields.clone())),
            Self::JsonSchema(_) => Err(GrammarError::unusable("a schema is an object")),
            Self::Regex(text) => {
                check_nesting(text)?;
                Ok(TopLevelGrammar::from_regex(text))
            }
            Self::Lark(text) => {
                check_nesting(text)?;
                Ok(TopLevelGrammar::from_lark(text.clone()))
            }
            Self::Choice(texts) => {
                Ok(TopLevelGrammar::from_lark(format!("start: {}", alternatives(texts)?)))
            }
        }
    }
}

/// One of these texts, in Lark.
fn alternatives(texts: &[String]) -> Result<String, GrammarError> {
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(GrammarError::unusable("choices are one or more texts, none empty"));
    }
    let quoted: Vec<_> = texts.iter().map(|text| json!(text).to_string()).collect();
    Ok(quoted.join(" | "))
}

/// A schema with our white space: one space after `,` and `:` or none. What a schema leaves open
/// otherwise, a model at a high temperature fills for ever.
fn schema(fields: Map<String, Value>) -> TopLevelGrammar {
    TopLevelGrammar::from_json_schema(with_white_space(fields))
}

/// A schema that says which white space there may be, and which escapes.
pub(super) fn with_white_space(mut fields: Map<String, Value>) -> Value {
    let options = JsonCompileOptions {
        item_separator: ", ?".to_owned(),
        key_separator: ": ?".to_owned(),
        whitespace_flexible: false,
        // No `\\u`: whoever looks at the text sees what it says.
        json_allowed_escapes: Some("nrbtf\\\"".to_owned()),
        ..JsonCompileOptions::default()
    };
    // In its place would be what the sender's schema says about the same.
    fields.remove("x-guidance");
    let mut value = Value::Object(fields);
    options.apply_to(&mut value);
    value
}

/// Refuses what nests deeper than a compiler by recursion should go. Brackets inside of texts count
/// too: better one grammar too many refused.
fn check_nesting(text: &str) -> Result<(), GrammarError> {
    let (mut depth, mut deepest) = (0_usize, 0);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > NESTING_MAX {
        return Err(GrammarError::unusable("its brackets nest deeper than 100"));
    }
    Ok(())
}

/// The most bytes of all texts of a grammar.
const BYTES_MAX: usize = 64 * 1024;
/// The deepest brackets.
const NESTING_MAX: usize = 100;
/// How much of the compiler's reason is passed on.
const REASON_CHARS_MAX: usize = 300;
