//! Phrases from the policy, found whatever their case and however their letters are disguised.

use aho_corasick::{AhoCorasick, MatchKind};

use super::Detector;
use crate::guard::finding::{Category, Finding};
use crate::guard::unicode::fold;
use crate::guard::view::View;

/// Finds phrases as whole words.
pub(super) struct Phrases {
    name: &'static str,
    categories: &'static [Category],
    finder: Option<AhoCorasick>,
}

impl Phrases {
    pub(super) fn new(name: &'static str, category: Category, phrases: &[String]) -> Self {
        let folded = phrases.iter().map(|phrase| {
            let mut out = String::new();
            phrase.chars().for_each(|c| fold(c, &mut out));
            out
        });
        let categories: &'static [Category] = match category {
            Category::Denied => &[Category::Denied],
            _ => &[Category::Injection],
        };
        // An automaton that does not fit in memory would need a policy of gigabytes: its file is
        // bounded when it is read.
        let finder = (!phrases.is_empty()).then(|| {
            AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(folded).ok()
        });
        Self { name, categories, finder: finder.flatten() }
    }
}

impl Detector for Phrases {
    fn name(&self) -> &'static str {
        self.name
    }

    fn categories(&self) -> &'static [Category] {
        self.categories
    }

    fn find(&self, view: &View<'_>, found: &mut Vec<Finding>) {
        let Some(finder) = &self.finder else { return };
        let text = view.folded();
        let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        for hit in finder.find_iter(text) {
            let before = is_word(text[..hit.start()].chars().next_back());
            let after = is_word(text[hit.end()..].chars().next());
            if !before && !after {
                found.push(Finding {
                    detector: self.name,
                    category: self.categories[0],
                    score: 0.5,
                    span: view.raw_of_folded(hit.range()),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_found_as_whole_words() {
        let phrases = Phrases::new("denied", Category::Denied, &["Project Falcon".to_owned()]);
        let finds = |text: &str| {
            let mut found = Vec::new();
            phrases.find(&View::new(text), &mut found);
            found.len()
        };
        assert_eq!(finds("about PROJECT falcon!"), 1);
        assert_eq!(finds("prоject fal\u{200b}con"), 1);
        assert_eq!(finds("project falcons"), 0);
        assert_eq!(finds("a project, falcon"), 0);
    }
}
