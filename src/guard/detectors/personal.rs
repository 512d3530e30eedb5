//! Cards, bank accounts, mail and network addresses, telephone numbers.

use std::net::Ipv6Addr;

use regex::Regex;

use super::cards::cards;
use super::checksums::{digits, is_iban};
use super::national::has_word;
use super::{Detector, in_plain, pattern};
use crate::guard::finding::{Category as C, Finding};
use crate::guard::view::View;

/// How far before a number the word for a telephone may stand, in bytes.
const REACH: usize = 32;
const PHONE_WORDS: &[&str] = &[
    "phone",
    "telephone",
    "tel",
    "call",
    "mobile",
    "cell",
    "fax",
    "whatsapp",
    "telefon",
    "handy",
    "téléphone",
    "teléfono",
    "móvil",
    "text me",
];

/// Finds cards, bank accounts, addresses and telephone numbers.
pub(super) struct Personal {
    iban: Regex,
    email: Regex,
    phone: Regex,
    ip: Regex,
    ip6: Regex,
}

impl Personal {
    pub(super) fn new() -> Self {
        Self {
            iban: pattern(
                r"\b[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,4})?\b",
            ),
            email: pattern(
                r"[A-Za-z0-9][A-Za-z0-9._%+'-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,8}[A-Za-z]{2,24}\b",
            ),
            phone: pattern(r"(?:\+|\b00|\(|\b)\d(?:[ ./()-]{0,2}\d){6,14}\b"),
            ip: pattern(r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b"),
            ip6: pattern(r"(?i)[0-9a-f]{1,4}(?::{1,2}[0-9a-f]{1,4}){3,7}"),
        }
    }

    fn numbers(&self, view: &View<'_>, found: &mut Vec<Finding>) {
        let text = view.plain();
        for span in cards(text) {
            found.push(in_plain(view, "personal/card", C::PersonalCard, 0.97, span));
        }
        for hit in self.iban.find_iter(text) {
            if let Some(length) = iban_length(hit.as_str()) {
                let span = hit.start()..hit.start() + length;
                found.push(in_plain(view, "personal/iban", C::PersonalIban, 0.99, span));
            }
        }
        for hit in self.phone.find_iter(text) {
            let count = digits(hit.as_str()).len();
            let number = hit.as_str();
            let international =
                (number.starts_with('+') || number.starts_with("00")) && (8..=15).contains(&count);
            let named =
                (7..=15).contains(&count) && has_word(text, hit.start(), PHONE_WORDS, REACH);
            if (international || named) && !is_inside(text, hit.start(), hit.end()) {
                let score = if international { 0.8 } else { 0.6 };
                found.push(in_plain(view, "personal/phone", C::PersonalPhone, score, hit.range()));
            }
        }
    }

    fn addresses(&self, view: &View<'_>, found: &mut Vec<Finding>) {
        let text = view.plain();
        for hit in self.ip.find_iter(text) {
            let is_version = has_word(text, hit.start(), &["version", "v"], 10);
            if !is_version && !is_inside(text, hit.start(), hit.end()) {
                found.push(in_plain(view, "personal/ip", C::PersonalIp, 0.8, hit.range()));
            }
        }
        for hit in self.ip6.find_iter(text) {
            if hit.as_str().parse::<Ipv6Addr>().is_ok() {
                found.push(in_plain(view, "personal/ip", C::PersonalIp, 0.8, hit.range()));
            }
        }
    }
}

impl Detector for Personal {
    fn name(&self) -> &'static str {
        "personal"
    }

    fn categories(&self) -> &'static [C] {
        &[C::PersonalCard, C::PersonalIban, C::PersonalEmail, C::PersonalPhone, C::PersonalIp]
    }

    fn find(&self, view: &View<'_>, found: &mut Vec<Finding>) {
        let text = view.plain();
        if text.contains('@') {
            for hit in self.email.find_iter(text) {
                found.push(in_plain(view, "personal/email", C::PersonalEmail, 0.95, hit.range()));
            }
        }
        if text.bytes().any(|b| b.is_ascii_digit()) {
            self.numbers(view, found);
            self.addresses(view, found);
        }
    }
}

/// Part of a longer number: `1.2.3.4.5`, a decimal fraction, a hyphenated chain.
fn is_inside(text: &str, start: usize, end: usize) -> bool {
    let before = text.as_bytes()[..start].last().copied();
    let mut after = text.as_bytes()[end..].iter().copied();
    let joins = |b: Option<u8>| matches!(b, Some(b'.' | b'-' | b'_'));
    let ends_in_digit = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_digit());
    let digit_before = start >= 2 && text.as_bytes()[start - 2].is_ascii_digit();
    joins(before) && digit_before || joins(after.next()) && ends_in_digit(after.next())
}

/// How many bytes of a candidate are the account number: the words after it may look like a part.
fn iban_length(candidate: &str) -> Option<usize> {
    let ends = candidate.bytes().enumerate().filter(|(_, b)| b.is_ascii_alphanumeric());
    ends.map(|(at, _)| at + 1).skip(14).find(|end| {
        let next = candidate.as_bytes().get(*end);
        let compact: String =
            candidate[..*end].chars().filter(char::is_ascii_alphanumeric).collect();
        next.is_none_or(|b| !b.is_ascii_alphanumeric()) && is_iban(&compact.to_ascii_uppercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: &[C]) {
        let mut found = Vec::new();
        Personal::new().find(&View::new(text), &mut found);
        let got: Vec<C> = found.iter().map(|f| f.category).collect();
        assert_eq!(got, wanted, "{text}");
    }

    #[test]
    fn personal_data_is_found() {
        check("card 4111 1111 1111 1111 please", &[C::PersonalCard]);
        check("3782-822463-10005", &[C::PersonalCard]);
        check("４１１１ １１１１ １１１１ １１１１", &[C::PersonalCard]);
        check("4111 1111 1111 1111 12/27", &[C::PersonalCard]);
        check("4111\u{1} 1111\u{fff9} 11\u{332}11 1111", &[C::PersonalCard]);
        check("4111\u{a0}\u{2007}1111\u{2011}1111\u{ff0d}1111", &[C::PersonalCard]);
        check("IBAN DE89 3704 0044 0532 0130 00 and", &[C::PersonalIban]);
        check("GB29NWBK60161331926819", &[C::PersonalIban]);
        check("write to ann.b+x@mail.example.org.", &[C::PersonalEmail]);
        check("+49 30 901820", &[C::PersonalPhone]);
        check("call me: (415) 555-2671", &[C::PersonalPhone]);
        check("from 192.168.10.7", &[C::PersonalIp]);
        check("2001:db8:0:0:8:800:200c:417a", &[C::PersonalIp]);
    }

    #[test]
    fn near_misses_are_left_alone() {
        for text in [
            "",
            "4111 1111 1111 1112",
            "order 12345678",
            "version 1.2.3.4",
            "256.1.1.1",
            "DE89 3704 0044 0532 0130 01",
            "a @ b",
            "user@localhost",
            "in 2024-05-06 07:08",
            "3.14159265358979323846",
            "1.2.3.4.5",
        ] {
            check(text, &[]);
        }
    }
}
