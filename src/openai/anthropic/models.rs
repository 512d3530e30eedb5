//! `/v1/models` as Anthropic's clients read it: they name the version of their API with every request, and
//! get the same models that everybody else gets.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::gate::Model;
use crate::openai::addresses::{Address, honoured};
use crate::openai::fields::wrong;
use crate::openai::parameters::unknown;
use crate::web::ApiError;

const LIMIT: usize = 20;
const LIMIT_MAX: usize = 1000;
/// The stages of a model's life; what is here is in the first.
const STAGES: [&str; 3] = ["active", "deprecated", "retired"];

/// A model.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "MessagesModel")]
pub(crate) struct ModelView {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "model"))]
    kind: &'static str,
    id: String,
    display_name: String,
    created_at: String,
    #[schemars(extend("const" = "active"))]
    lifecycle: &'static str,
    #[schemars(with = "()")]
    line: Option<Value>,
    /// Prompt and answer together; none where the model was not read yet.
    max_input_tokens: Option<usize>,
    max_tokens: Option<usize>,
    #[schemars(with = "()")]
    capabilities: Option<Value>,
    #[schemars(with = "()")]
    deprecated_at: Option<String>,
    #[schemars(with = "()")]
    retires_at: Option<String>,
}

/// Some of the models.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "MessagesModelPage")]
pub(crate) struct ModelPage {
    data: Vec<ModelView>,
    has_more: bool,
    first_id: Option<String>,
    last_id: Option<String>,
}

/// Where in the list a page begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cursor {
    After(String),
    Before(String),
}

/// Which of the models are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    cursor: Option<Cursor>,
    limit: usize,
    /// Whether those in use are among them, which all are.
    is_active: bool,
}

impl Page {
    /// Reads the query of a list.
    pub(crate) fn read(query: &[(String, String)]) -> Result<Self, ApiError> {
        let mut page = Self { cursor: None, limit: LIMIT, is_active: true };
        let mut stages: Vec<&str> = Vec::new();
        for (name, value) in honoured(query, Address::TheirModels)? {
            match name {
                "after_id" | "before_id" if page.cursor.is_some() => {
                    return Err(wrong(name, "one of `after_id` and `before_id`, once"));
                }
                "after_id" => page.cursor = Some(Cursor::After(value.to_owned())),
                "before_id" => page.cursor = Some(Cursor::Before(value.to_owned())),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    page.limit =
                        limit.ok_or_else(|| wrong(name, "a whole number from 1 to 1000"))?;
                }
                "lifecycle" | "lifecycle[]" if STAGES.contains(&value) => {
                    stages.push(value);
                }
                "lifecycle" | "lifecycle[]" => {
                    return Err(wrong("lifecycle", "`active`, `deprecated` or `retired`"));
                }
                _ => return Err(unknown(name)),
            }
        }
        page.is_active = stages.is_empty() || stages.contains(&STAGES[0]);
        Ok(page)
    }

    /// Those of the models that it asks for.
    pub(crate) fn of(&self, models: &[Arc<Model>]) -> Result<ModelPage, ApiError> {
        let models = if self.is_active { models } else { &[] };
        let find = |name: &str, id: &str| {
            let at = models.iter().position(|model| model.name == id);
            at.ok_or_else(|| wrong(name, "the id of a model of the list"))
        };
        let (shown, has_more) = match &self.cursor {
            None => (&models[..self.limit.min(models.len())], self.limit < models.len()),
            Some(Cursor::After(id)) => {
                let rest = &models[find("after_id", id)? + 1..];
                (&rest[..self.limit.min(rest.len())], self.limit < rest.len())
            }
            Some(Cursor::Before(id)) => {
                let rest = &models[..find("before_id", id)?];
                (&rest[rest.len().saturating_sub(self.limit)..], self.limit < rest.len())
            }
        };
        let id = |model: Option<&Arc<Model>>| model.map(|model| model.name.clone());
        Ok(ModelPage {
            first_id: id(shown.first()),
            last_id: id(shown.last()),
            data: shown.iter().map(|model| view(model)).collect(),
            has_more,
        })
    }
}

/// One model.
pub(crate) fn view(model: &Model) -> ModelView {
    let context = model.info().map(|info| info.context_tokens);
    ModelView {
        kind: "model",
        id: model.name.clone(),
        display_name: model.name.clone(),
        created_at: model.since.rfc3339(),
        lifecycle: STAGES[0],
        line: None,
        max_input_tokens: context,
        max_tokens: context,
        capabilities: None,
        deprecated_at: None,
        retires_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn pairs(query: &[(&str, &str)]) -> Vec<(String, String)> {
        query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn models() -> Vec<Arc<Model>> {
        let since = Timestamp::from_ms(1_800_000_000_000);
        ["a", "b", "c/d", "e"].map(|name| Arc::new(Model::new(name, since))).to_vec()
    }

    #[test]
    fn models_come_in_pages_from_either_side_of_one() {
        for (query, ids, has_more) in [
            (&[][..], "a b c/d e", false),
            (&[("limit", "2")], "a b", true),
            (&[("limit", "2"), ("after_id", "b")], "c/d e", false),
            (&[("limit", "1"), ("after_id", "b")], "c/d", true),
            (&[("after_id", "e")], "", false),
            (&[("limit", "2"), ("before_id", "e")], "b c/d", true),
            (&[("limit", "3"), ("before_id", "e")], "a b c/d", false),
            (&[("before_id", "a")], "", false),
            (&[("lifecycle[]", "retired")], "", false),
            (&[("lifecycle[]", "retired"), ("lifecycle[]", "active")], "a b c/d e", false),
            (&[("beta", "true")], "a b c/d e", false),
        ] {
            let page = Page::read(&pairs(query)).expect("passes").of(&models()).expect("is there");
            let shown: Vec<&str> = page.data.iter().map(|model| model.id.as_str()).collect();
            assert_eq!((shown.join(" ").as_str(), page.has_more), (ids, has_more), "{query:?}");
            assert_eq!(page.first_id.as_deref(), shown.first().copied());
            assert_eq!(page.last_id.as_deref(), shown.last().copied());
        }
        let one = serde_json::to_value(view(&models()[0])).expect("plain");
        assert_eq!((&one["type"], &one["display_name"]), (&"model".into(), &"a".into()));
        assert_eq!(one["created_at"], "2027-01-15T08:00:00.000Z");
    }

    #[test]
    fn what_cannot_be_asked_is_refused_by_name() {
        let refused = |result: Result<ModelPage, ApiError>| {
            result.err().and_then(|error| error.at_fault().map(str::to_owned))
        };
        for (query, param) in [
            (&[("limit", "0")][..], "limit"),
            (&[("limit", "1001")], "limit"),
            (&[("after_id", "nothing")], "after_id"),
            (&[("before_id", "")], "before_id"),
            (&[("before_id", "a"), ("after_id", "a")], "after_id"),
            (&[("lifecycle", "new")], "lifecycle"),
            (&[("colour", "1")], "colour"),
        ] {
            let page = Page::read(&pairs(query)).and_then(|page| page.of(&models()));
            assert_eq!(refused(page).as_deref(), Some(param), "{query:?}");
        }
    }
}
