//! Names: the one people sign in with, and the one they are shown by.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use super::AccountError;

/// A sign-in name: 3 to 32 lower-case letters, digits, `-` or `_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Username(String);

impl Username {
    /// Reads a name; upper case is not corrected but refused, so that what is typed is what is.
    pub(crate) fn parse(raw: &str) -> Result<Self, AccountError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        if (3..=32).contains(&raw.len()) && raw.chars().all(fits) {
            Ok(Self(raw.to_owned()))
        } else {
            Err(AccountError::BadUsername)
        }
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name to be shown by: 1 to 80 characters, none of them invisible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DisplayName(String);

impl DisplayName {
    /// Reads a name; blanks around it are dropped.
    pub(crate) fn parse(raw: &str) -> Result<Self, AccountError> {
        let name = raw.trim();
        let is_shown = |c: char| {
            c.general_category_group() != GeneralCategoryGroup::Other
                && !"\u{2028}\u{2029}".contains(c)
        };
        if (1..=80).contains(&name.chars().count()) && name.chars().all(is_shown) {
            Ok(Self(name.to_owned()))
        } else {
            Err(AccountError::BadDisplayName)
        }
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_in_names_that_break_the_rule_are_refused() {
        let long = "a".repeat(33);
        for raw in ["", "ab", &long, "Olivia", "o livia", "olivia\n", "ölivia", "a.b.c", "../x"] {
            assert!(Username::parse(raw).is_err(), "{raw}");
        }
        assert!(Username::parse("olivia-7_x").is_ok());
    }

    #[test]
    fn shown_names_have_no_invisible_characters() {
        let long = "a".repeat(81);
        for raw in ["", "  ", &long, "a\u{202e}b", "a\u{200b}b", "a\nb", "a\u{e0041}b"] {
            assert!(DisplayName::parse(raw).is_err(), "{raw:?}");
        }
        assert_eq!(DisplayName::parse(" Zoë Müller ").expect("fits").as_str(), "Zoë Müller");
    }
}
