//! Phrases from the policy, found whatever their case and however their letters are disguised.

use aho_corasick::{AhoCorasick, MatchKind};

use super::Detector;
use crate::guard::finding::{Category, Finding};
use crate::guard::view::View;

/// Finds phrases as whole words.
pub(super) struct Phrases {
    name: &'static str,
    categories: &'static [Category],
    finder: Option<AhoCorasick>,
}

impl Phrases {
    pub(super) fn new(name: &'static str, category: Category, phrases: &[String]) -> Self {
        let folded =
            phrases.iter().map(|phrase| Spaced::new(View::new(phrase).folded().trim()).text);
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
        let spaced = Spaced::new(view.folded());
        let text = spaced.text.as_str();
        let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        for hit in finder.find_iter(text) {
            let before = is_word(text[..hit.start()].chars().next_back());
            let after = is_word(text[hit.end()..].chars().next());
            if !before && !after {
                found.push(Finding {
                    detector: self.name,
                    category: self.categories[0],
                    score: 0.5,
                    span: view.raw_of_folded(spaced.origin(hit.start())..spaced.origin(hit.end())),
                });
            }
        }
    }
}

/// A text in which every run of white space is one space, and the way back.
struct Spaced {
    text: String,
    /// Places in `text` from which on the original is so many bytes further.
    shifts: Vec<(usize, usize)>,
}

impl Spaced {
    fn new(original: &str) -> Self {
        let (mut text, mut shifts) = (String::with_capacity(original.len()), Vec::new());
        let mut is_in_run = false;
        for (at, c) in original.char_indices() {
            let is_space = c.is_whitespace();
            if !(is_space && is_in_run) {
                let shift = at - text.len();
                if shifts.last().map_or(0, |(_, shift)| *shift) != shift {
                    shifts.push((text.len(), shift));
                }
                text.push(if is_space { ' ' } else { c });
            }
            is_in_run = is_space;
        }
        Self { text, shifts }
    }

    /// The place in the original.
    fn origin(&self, at: usize) -> usize {
        let after = self.shifts.partition_point(|(from, _)| *from <= at);
        at + after.checked_sub(1).map_or(0, |index| self.shifts[index].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_the_original_with_its_white_space() {
        let phrases = Phrases::new("denied", Category::Denied, &["project falcon".to_owned()]);
        for text in
            ["a  b \n\n Project \t\n FALCON, and\u{2003}\u{2003}more", "project\u{a0} falcon"]
        {
            let mut found = Vec::new();
            phrases.find(&View::new(text), &mut found);
            let words: Vec<&str> = text[found[0].span.clone()].split_whitespace().collect();
            assert_eq!(words.join(" ").to_lowercase(), "project falcon");
        }
    }

    #[test]
    fn a_phrase_with_marks_is_found_with_and_without_them() {
        let phrases = Phrases::new("denied", Category::Denied, &["Café  Łódź".to_owned()]);
        for text in ["cafe łodz", "the CAFE\u{301} Łódź"] {
            let mut found = Vec::new();
            phrases.find(&View::new(text), &mut found);
            assert_eq!(found.len(), 1, "{text}");
        }
    }

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
        assert_eq!(finds("project  falcon"), 1);
        assert_eq!(finds("the project\r\n\u{2003} falcon"), 1);
        for hidden in [
            "proj\u{332}ect falcon",
            "projéct falcon",
            "proj\u{1}ect falcon",
            "proj\u{fffa}ect falcon",
        ] {
            assert_eq!(finds(hidden), 1, "{hidden:?}");
        }
        assert_eq!(finds("projectfalcon"), 0);
        assert_eq!(finds("project falcons"), 0);
        assert_eq!(finds("a project, falcon"), 0);
    }
}
