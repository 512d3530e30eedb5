//! National identity, tax and insurance numbers: by form, by check digit, and, where the form is
//! no more than a row of digits, by a word before it.

use regex::Regex;

use super::checksums as check;
use super::{Detector, in_plain, pattern};
use crate::guard::finding::{Category, Finding};
use crate::guard::view::View;

struct Rule {
    name: &'static str,
    pattern: Regex,
    check: fn(&str) -> bool,
    /// Words of which one must stand shortly before; none: the form is enough.
    words: &'static [&'static str],
}

/// How far before a number its word may stand, in bytes.
const REACH: usize = 48;

/// Finds national numbers.
pub(super) struct NationalIds(Vec<Rule>);

impl NationalIds {
    pub(super) fn new() -> Self {
        let rule = |name, text, check, words| Rule { name, pattern: pattern(text), check, words };
        let ssn: &[&str] = &["ssn", "social security"];
        Self(vec![
            rule("national-id/us", r"\b\d{3}-\d{2}-\d{4}\b", check::us_ssn, &[]),
            rule("national-id/us", r"\b\d{3} ?\d{2} ?\d{4}\b", check::us_ssn, ssn),
            rule("national-id/uk", r"\b\d{3}[ -]?\d{3}[ -]?\d{4}\b", check::uk_nhs, &["nhs"]),
            rule(
                "national-id/de",
                r"\b\d{2} ?\d{3} ?\d{3} ?\d{3}\b",
                check::de_tax,
                &["steuer", "idnr", "tax id", "tin"],
            ),
            rule(
                "national-id/fr",
                r"\b[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[ABab]) ?\d{3} ?\d{3} ?\d{2}\b",
                check::fr_nir,
                &[],
            ),
            rule("national-id/es", r"\b(?:\d{8}|[XYZxyz]-?\d{7})-?[A-Za-z]\b", check::es_dni, &[]),
            rule(
                "national-id/it",
                r"\b[A-Za-z]{6}[0-9LMNPQRSTUV]{2}[A-EHLMPRSTa-ehlmprst][0-9LMNPQRSTUV]{2}[A-Za-z][0-9LMNPQRSTUV]{3}[A-Za-z]\b",
                check::it_cf,
                &[],
            ),
            rule(
                "national-id/nl",
                r"\b\d{4}[. ]?\d{2}[. ]?\d{3}\b",
                check::nl_bsn,
                &["bsn", "burgerservice", "sofinummer"],
            ),
            rule("national-id/pl", r"\b\d{11}\b", check::pl_pesel, &["pesel"]),
            rule("national-id/br", r"\b\d{3}\.\d{3}\.\d{3}-\d{2}\b", check::br_cpf, &[]),
            rule("national-id/br", r"\b\d{11}\b", check::br_cpf, &["cpf"]),
        ])
    }
}

impl Detector for NationalIds {
    fn name(&self) -> &'static str {
        "national-id"
    }

    fn categories(&self) -> &'static [Category] {
        &[Category::PersonalNationalId]
    }

    fn find(&self, view: &View<'_>, found: &mut Vec<Finding>) {
        let text = view.plain();
        if !text.bytes().any(|b| b.is_ascii_digit()) {
            return;
        }
        for rule in &self.0 {
            for hit in rule.pattern.find_iter(text) {
                if (rule.check)(hit.as_str()) && has_word(text, hit.start(), rule.words, REACH) {
                    let category = Category::PersonalNationalId;
                    found.push(in_plain(view, rule.name, category, 0.95, hit.range()));
                }
            }
        }
    }
}

/// Whether one of the words stands shortly before a position; true where none is asked for.
pub(super) fn has_word(text: &str, at: usize, words: &[&str], reach: usize) -> bool {
    if words.is_empty() {
        return true;
    }
    let mut start = at.saturating_sub(reach);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let before = text[start..at].to_lowercase();
    words.iter().any(|word| {
        before
            .match_indices(word)
            .any(|(at, _)| !before[..at].chars().next_back().is_some_and(char::is_alphanumeric))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(text: &str) -> usize {
        let mut found = Vec::new();
        NationalIds::new().find(&View::new(text), &mut found);
        found.len()
    }

    #[test]
    fn numbers_are_found_by_form_or_word() {
        for text in [
            "SSN 536-90-4399",
            "my ssn is 536904399",
            "NHS number: 943 476 5919",
            "Steuer-ID 86095742719",
            "2 55 08 14 168 025 38",
            "DNI 12345678Z",
            "RSSMRA85T10A562S",
            "BSN: 111222333",
            "PESEL 44051401359",
            "529.982.247-25",
        ] {
            assert_eq!(finds(text), 1, "{text}");
        }
        for text in [
            "536904399",
            "943 476 5919",
            "86095742719",
            "order 111222333",
            "44051401359",
            "12345678A",
            "on 12-05-2024",
            "the mass is 3.1415926535",
            "",
        ] {
            assert_eq!(finds(text), 0, "{text}");
        }
    }
}
