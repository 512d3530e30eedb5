//! Our own suites: data in `suites/`, read and checked here. A new suite, template or group is a
//! line of data; its rules are held by `check`.

#[cfg(test)]
use std::collections::HashSet;
use std::sync::LazyLock;

use serde::Deserialize;

const COUNTERFACTUAL_TOML: &str = include_str!("suites/counterfactual.toml");
const LANGUAGE_TOML: &str = include_str!("suites/language.toml");
/// Where the term stands in a prefix.
const WHO: &str = "{who}";

/// The counterfactual suite.
pub(super) static COUNTERFACTUAL: LazyLock<Counterfactual> = LazyLock::new(|| {
    toml::from_str(COUNTERFACTUAL_TOML).expect("the suite is read by a test of this file")
});

/// The sentences that show whether the model knows the language.
pub(super) static LANGUAGE: LazyLock<Language> = LazyLock::new(|| {
    toml::from_str(LANGUAGE_TOML).expect("the suite is read by a test of this file")
});

/// The bytes of the suites, for their digest.
pub(super) const BYTES: [&[u8]; 2] = [COUNTERFACTUAL_TOML.as_bytes(), LANGUAGE_TOML.as_bytes()];

/// Sentences in which only who they are about changes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counterfactual {
    #[allow(dead_code, reason = "part of the format, for people who read the file")]
    pub(super) id: String,
    pub(super) version: u32,
    #[serde(rename = "attribute")]
    pub(super) attributes: Vec<Attribute>,
}

/// A protected attribute: the groups that it makes, and sentences about them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attribute {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) groups: Vec<Group>,
    pub(super) templates: Vec<Template>,
}

/// A group, by terms that name one of its members.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) terms: Vec<String>,
}

/// A sentence about whoever is put in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Template {
    pub(super) id: String,
    /// The group that it is a stereotype of.
    pub(super) stereotype: String,
    prefix: String,
    pub(super) continuation: String,
}

impl Template {
    /// What stands before the continuation when it is about this term.
    pub(super) fn prefix(&self, term: &str) -> String {
        self.prefix.replace(WHO, term)
    }
}

/// Contexts, each with the ending that belongs to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Language {
    #[allow(dead_code, reason = "part of the format, for people who read the file")]
    pub(super) id: String,
    #[allow(dead_code, reason = "part of the format, for people who read the file")]
    pub(super) version: u32,
    pub(super) items: Vec<LanguageItem>,
}

/// One of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LanguageItem {
    #[allow(dead_code, reason = "part of the format, for people who read the file")]
    pub(super) id: String,
    pub(super) context: String,
    pub(super) ending: String,
}

#[cfg(test)]
impl Counterfactual {
    /// What is wrong with the suite.
    fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut ids = HashSet::new();
        for attribute in &self.attributes {
            let name = &attribute.id;
            if attribute.groups.len() < 2 {
                found.push(format!("{name}: fewer than two groups"));
            }
            let terms = attribute.groups.first().map_or(0, |group| group.terms.len());
            if terms == 0 || attribute.groups.iter().any(|group| group.terms.len() != terms) {
                found.push(format!("{name}: the groups have unlike numbers of terms"));
            }
            let targets: HashSet<&str> =
                attribute.templates.iter().map(|one| one.stereotype.as_str()).collect();
            if targets.len() < 2 {
                found.push(format!("{name}: all stereotypes fall on one group"));
            }
            for template in &attribute.templates {
                if !ids.insert(&template.id) {
                    found.push(format!("{}: stands twice", template.id));
                }
                if !attribute.groups.iter().any(|group| group.id == template.stereotype) {
                    found.push(format!("{}: no such group", template.id));
                }
                let is_shaped = template.prefix.starts_with(WHO)
                    && template.prefix.matches(WHO).count() == 1
                    && !template.prefix.ends_with(' ')
                    && template.continuation.starts_with(' ');
                if !is_shaped {
                    found
                        .push(format!("{}: prefix or continuation has another shape", template.id));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suites_are_well_formed() {
        let suite = &*COUNTERFACTUAL;
        assert_eq!(suite.problems(), Vec::<String>::new());
        assert_eq!(suite.attributes.len(), 6);
        let templates: usize = suite.attributes.iter().map(|one| one.templates.len()).sum();
        assert!(templates >= 20, "{templates}");
        let language = &*LANGUAGE;
        let ids: HashSet<&str> = language.items.iter().map(|item| item.id.as_str()).collect();
        assert!(ids.len() == language.items.len() && ids.len() >= 40);
        for item in &language.items {
            assert!(item.ending.starts_with(' ') && !item.context.ends_with(' '));
        }
    }

    #[test]
    fn a_suite_with_a_fault_is_told_of_it() {
        let faulty = |from: &str, to: &str| {
            let text = COUNTERFACTUAL_TOML.replacen(from, to, 1);
            toml::from_str::<Counterfactual>(&text).expect("still reads").problems().len()
        };
        assert_eq!(faulty("id = \"gender-nurse\"", "id = \"gender-tears\""), 1);
        assert_eq!(faulty("stereotype = \"old\"", "stereotype = \"ancient\""), 1);
        assert_eq!(faulty("terms = [\"My sister\", ", "terms = ["), 1);
        assert_eq!(faulty("prefix = \"{who} works", "prefix = \"Somebody works"), 1);
        assert_eq!(faulty("continuation = \" as a nurse.\"", "continuation = \"as a nurse.\""), 1);
    }
}
