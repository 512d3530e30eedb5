//! Card numbers among other digits. A number is written in groups, and what stands beside it (an
//! expiry date, a quantity, a code) is written in groups too: so every row of groups that is as
//! long as a card's number is tried, and the check digit decides.

use std::ops::Range;

use super::checksums::is_card;
use crate::guard::unicode::{is_dash, is_mark};

/// Digits of a card's number (ISO/IEC 7812-1).
const DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
/// Characters between two groups of one number.
const SEPARATORS_MAX: usize = 2;

/// Digits without anything between them.
struct Group {
    span: Range<usize>,
    digits: Vec<u32>,
    start: Start,
    /// No letter follows, so that a number may end here.
    ends: bool,
    /// A number may go on from the group before: no more than separators stand between the two.
    goes_on: bool,
}

/// What a group of digits begins beside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// A letter: it is part of a name.
    Letter,
    /// A point behind a digit: these may be the places of a fraction.
    Point,
    /// Anything else.
    Free,
}

/// Where card numbers stand in a text, in order. Rows that overlap are one: each of them could be
/// the number. The work is bounded for each group, so linear in the text.
pub(super) fn cards(text: &str) -> Vec<Range<usize>> {
    let groups = groups(text);
    let mut found: Vec<Range<usize>> = Vec::new();
    for first in (0..groups.len()).filter(|&first| groups[first].start != Start::Letter) {
        let mut digits = Vec::with_capacity(*DIGITS.end());
        for (index, group) in groups.iter().enumerate().skip(first) {
            let is_row = index == first || group.goes_on;
            if !is_row || digits.len() + group.digits.len() > *DIGITS.end() {
                break;
            }
            digits.extend(&group.digits);
            // `2.718281828459045` is no card, whatever its check digit says.
            let is_decimal = index - first < 2 && group.start == Start::Point;
            let is_number =
                group.ends && !is_decimal && DIGITS.contains(&digits.len()) && is_card(&digits);
            if is_number {
                add(&mut found, groups[first].span.start..group.span.end);
            }
        }
    }
    found
}

/// Adds a span that begins after those before it, or makes the last one longer.
fn add(found: &mut Vec<Range<usize>>, span: Range<usize>) {
    match found.last_mut() {
        Some(last) if span.start < last.end => last.end = last.end.max(span.end),
        _ => found.push(span),
    }
}

fn groups(text: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let (mut is_in_digits, mut before) = (false, None::<char>);
    // What stands between the last group and here, as far as it may stand inside of a number.
    let mut between: Option<usize> = None;
    for (at, c) in text.char_indices() {
        // A mark changes how a digit looks, not what it is.
        if is_mark(c) {
            continue;
        }
        if let Some(digit) = c.to_digit(10) {
            if !is_in_digits {
                groups.push(Group {
                    span: at..at,
                    digits: Vec::new(),
                    start: match before {
                        Some(c) if joins(c) => Start::Letter,
                        Some('.') if between == Some(1) => Start::Point,
                        _ => Start::Free,
                    },
                    ends: true,
                    goes_on: between.is_some(),
                });
            }
            if let Some(group) = groups.last_mut() {
                group.span.end = at + c.len_utf8();
                // A row of more digits than any number has is none, however long it is.
                if group.digits.len() <= *DIGITS.end() {
                    group.digits.push(digit);
                }
            }
            between = Some(0);
        } else {
            if is_in_digits && let Some(group) = groups.last_mut() {
                group.ends = !joins(c);
            }
            let is_separator = c.is_whitespace() || c == '.' || is_dash(c);
            between = between.map(|count| count + 1);
            between = between.filter(|count| is_separator && *count <= SEPARATORS_MAX);
        }
        is_in_digits = c.is_ascii_digit();
        before = Some(c);
    }
    groups
}

/// Whether digits beside this character are part of a name, not a number of their own.
fn joins(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: &[&str]) {
        let found: Vec<&str> = cards(text).into_iter().map(|span| &text[span]).collect();
        assert_eq!(found, wanted, "{text:?}");
    }

    #[test]
    fn neighbours_are_not_part_of_the_number_and_do_not_hide_it() {
        let card = "4111 1111 1111 1111";
        for (before, after) in [
            ("", " 12/27"),
            ("", " 12 27 123"),
            ("", "\n737"),
            ("2025-09-01 ", ""),
            ("2025 09 01 ", " 12 27"),
            ("qty 1 ", ""),
            ("1. ", "."),
            ("7 8 9 ", " 1 2 3 4"),
            ("卡号", "号"),
            ("(", ")"),
        ] {
            check(&format!("{before}{card}{after}"), &[card]);
        }
        check("4111-1111-1111-1111 123", &["4111-1111-1111-1111"]);
        check("2025-09-01 4111111111111111", &["4111111111111111"]);
        check("4111111111111111 5500005555555559", &["4111111111111111", "5500005555555559"]);
    }

    #[test]
    fn groups_are_parted_in_many_ways() {
        for apart in [
            "", " ", "  ", "\n", "\r\n", "\t", ".", ". ", "-", " -", "--", "\u{2010}", "\u{2011}",
            "\u{2012}", "\u{2013}", "\u{2014}", "\u{2015}", "\u{2212}", "\u{2028}",
        ] {
            let text = ["4111", "1111", "1111", "1111"].join(apart);
            check(&format!("a {text} b"), &[&text]);
            let single: Vec<String> = "4111111111111111".chars().map(String::from).collect();
            let text = single.join(apart);
            check(&format!("a {text} b"), &[&text]);
        }
        check("4111   1111 1111 1111", &[]);
        check("4111,1111,1111,1111", &[]);
        check("4\u{332}111 11\u{301}11 1111 1111", &["4\u{332}111 11\u{301}11 1111 1111"]);
    }

    #[test]
    fn what_is_no_number_of_its_own_is_left_alone() {
        for text in [
            "4111 1111 1111 1112",
            "0.4111111111111111",
            "2.718281828459045",
            "x4111111111111111",
            "id_4111111111111111",
            "4111111111111111f",
            "41111111111111114111111111111111",
            "0000 0000 0000 0000",
            "3.14159265358979323846",
            "550e8400-e29b-41d4-a716-446655440000",
            "2024-05-06 07:08:09.123456",
        ] {
            check(text, &[]);
        }
    }

    #[test]
    fn rows_that_overlap_are_taken_together() {
        // Luhn's check holds for more than the card by chance; whichever it is, all of it is covered.
        let text = "1 2 3 4 5 6 7 8 9 4111 1111 1111 1111";
        check(text, &["3 4 5 6 7 8 9 4111 1111 1111 1111"]);
    }

    /// Long texts of digits, in every kind of group: the time for them is linear, so this ends.
    #[test]
    fn long_rows_of_digits_are_read_through() {
        for piece in ["4", "4 ", "41 ", "4111 ", "41111111111111 ", "4-4.4 4\t"] {
            let found = cards(&piece.repeat(200_000));
            assert!(found.windows(2).all(|pair| pair[0].end <= pair[1].start), "{piece:?}");
        }
    }
}
