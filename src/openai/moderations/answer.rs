//! The answer of `/v1/moderations`: the categories that OpenAI publishes, as far as the guard looks for
//! anything of the kind, and beside them what it found by its own names.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::gate::{Found, MODERATOR};
use crate::guard::Category;
use crate::ids::RequestId;

/// Every category that OpenAI publishes, and what of ours is one of the kind. Where there is nothing, no
/// detector looks for it: the score of such a category applies to no input, and says so.
const CATEGORIES: &[(&str, &[Category])] = &[
    ("harassment", &[]),
    ("harassment/threatening", &[]),
    ("hate", &[]),
    ("hate/threatening", &[]),
    // What the operator forbids, and what is to bring a model to do what is forbidden.
    ("illicit", &[Category::Denied, Category::Injection]),
    ("illicit/violent", &[]),
    ("self-harm", &[]),
    ("self-harm/instructions", &[]),
    ("self-harm/intent", &[]),
    ("sexual", &[]),
    ("sexual/minors", &[]),
    ("violence", &[]),
    ("violence/graphic", &[]),
];

/// The whole answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::openai) struct Moderation {
    id: String,
    model: &'static str,
    results: Vec<Judged>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ModerationResult")]
struct Judged {
    /// Whether the policy would do anything about it.
    flagged: bool,
    categories: BTreeMap<&'static str, bool>,
    category_scores: BTreeMap<&'static str, f32>,
    category_applied_input_types: BTreeMap<&'static str, &'static [&'static str]>,
    strongroom: Own,
}

/// An extension.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GuardFindings")]
struct Own {
    /// The strongest of what would be done.
    action: &'static str,
    categories: Vec<OwnCategory>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GuardFinding")]
struct OwnCategory {
    category: &'static str,
    action: &'static str,
    score: f32,
    count: u32,
}

impl Moderation {
    /// The answer to this request, input by input.
    pub(super) fn new(request: RequestId, all: &[Vec<Found>]) -> Self {
        Self {
            id: format!("modr-{}", hex::encode(request.as_bytes())),
            model: MODERATOR,
            results: all.iter().map(|found| judged(found)).collect(),
        }
    }
}

fn judged(found: &[Found]) -> Judged {
    let score = |of: &[Category]| {
        let scores = found.iter().filter(|one| of.contains(&one.category)).map(|one| one.score);
        scores.fold(0.0, f32::max)
    };
    let is_there = |of: &[Category]| found.iter().any(|one| of.contains(&one.category));
    let own = |one: &Found| OwnCategory {
        category: one.category.name(),
        action: one.action.name(),
        score: one.score,
        count: one.count,
    };
    let strongest = found.iter().map(|one| one.action).max();
    let applied = |of: &[Category]| -> &'static [&'static str] {
        if of.is_empty() { &[] } else { &["text"] }
    };
    Judged {
        flagged: !found.is_empty(),
        categories: CATEGORIES.iter().map(|(name, of)| (*name, is_there(of))).collect(),
        category_scores: CATEGORIES.iter().map(|(name, of)| (*name, score(of))).collect(),
        category_applied_input_types: CATEGORIES
            .iter()
            .map(|(name, of)| (*name, applied(of)))
            .collect(),
        strongroom: Own {
            action: strongest.map_or("allow", |action| action.name()),
            categories: found.iter().map(own).collect(),
        },
    }
}

/// The table of categories as Markdown, for docs/openai-compat.md.
#[cfg(test)]
pub(crate) fn markdown() -> String {
    let mut text = String::from("| category | of the guard |\n| --- | --- |\n");
    for (name, of) in CATEGORIES {
        let ours: Vec<String> = of.iter().map(|one| format!("`{}`", one.name())).collect();
        let ours = if ours.is_empty() { "not looked for".to_owned() } else { ours.join(", ") };
        text.extend(["| `", name, "` | ", &ours, " |\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::guard::Action;

    #[test]
    fn what_is_found_stands_in_both_namings() {
        let found = |category, action, score| Found { category, action, score, count: 2 };
        let all = [
            vec![],
            vec![
                found(Category::PersonalCard, Action::Redact, 1.0),
                found(Category::Injection, Action::Flag, 0.75),
            ],
        ];
        let answer = json!(Moderation::new(RequestId::new(), &all));
        assert!(answer["id"].as_str().is_some_and(|id| id.starts_with("modr-")));
        let [clean, flagged] = answer["results"].as_array().expect("a list").as_slice() else {
            panic!("{answer}")
        };
        assert_eq!((&clean["flagged"], &flagged["flagged"]), (&json!(false), &json!(true)));
        assert_eq!(clean["strongroom"], json!({"action": "allow", "categories": []}));
        assert_eq!(flagged["strongroom"]["action"], "redact");
        assert_eq!(
            flagged["strongroom"]["categories"][1],
            json!({"category": "injection", "action": "flag", "score": 0.75, "count": 2})
        );
        for name in ["categories", "category_scores", "category_applied_input_types"] {
            assert_eq!(flagged[name].as_object().map(serde_json::Map::len), Some(13), "{name}");
        }
        assert_eq!(flagged["categories"]["illicit"], true);
        assert_eq!(flagged["category_scores"]["illicit"], 0.75);
        assert_eq!(flagged["category_applied_input_types"]["illicit"], json!(["text"]));
        // Nothing here looks for hatred, and nothing is said of it.
        assert_eq!(flagged["categories"]["hate"], false);
        assert_eq!(flagged["category_applied_input_types"]["hate"], json!([]));
    }
}
