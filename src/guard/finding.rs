//! What a detector says: which category, how sure, where. Never the text itself.

use std::fmt;
use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Which way a text travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From a person or a program to the model.
    Input,
    /// From the model to whoever asked.
    Output,
}

/// What kind of finding it is; `group.kind` in policies and in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// No text, or nothing visible in it.
    FormBlank,
    /// One text or all together are longer than the policy allows.
    FormTooLong,
    /// More texts than the policy allows.
    FormTooMany,
    /// Characters without a glyph where no script needs them.
    UnicodeInvisible,
    /// Unicode tag characters outside a flag: the usual carrier of smuggled text.
    UnicodeTags,
    /// Bidirectional controls that show a text in another order than it is read.
    UnicodeBidi,
    /// Stacks of combining marks.
    UnicodeZalgo,
    /// A marker of a chat template inside a person's text.
    ControlToken,
    /// A key or token in a provider's published form.
    SecretKey,
    /// A private key block.
    SecretPrivateKey,
    /// A JSON web token.
    SecretToken,
    /// A value of high entropy assigned to a name such as `api_key`.
    SecretAssigned,
    /// A payment card number.
    PersonalCard,
    /// An international bank account number.
    PersonalIban,
    /// A national identity, tax or insurance number.
    PersonalNationalId,
    /// An e-mail address.
    PersonalEmail,
    /// A telephone number.
    PersonalPhone,
    /// An IP address.
    PersonalIp,
    /// A phrase that the policy denies.
    Denied,
    /// Phrases of prompt injection.
    Injection,
}

/// What redaction does to a finding of a category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redaction {
    /// Puts `[label-n]` in its place; the original can be put back for its owner.
    Placeholder(&'static str),
    /// Takes it out.
    Remove,
    /// Has no meaning for the category; a policy that asks for it is refused.
    Impossible,
}

use Category as C;

/// Every category: its name in policies, and what redaction does to it.
const TABLE: &[(Category, &str, Redaction)] = &[
    (C::FormBlank, "form.blank", Redaction::Impossible),
    (C::FormTooLong, "form.too-long", Redaction::Impossible),
    (C::FormTooMany, "form.too-many", Redaction::Impossible),
    (C::UnicodeInvisible, "unicode.invisible", Redaction::Remove),
    (C::UnicodeTags, "unicode.tags", Redaction::Remove),
    (C::UnicodeBidi, "unicode.bidi", Redaction::Remove),
    (C::UnicodeZalgo, "unicode.zalgo", Redaction::Remove),
    (C::ControlToken, "control-token", Redaction::Remove),
    (C::SecretKey, "secret.key", Redaction::Placeholder("key")),
    (C::SecretPrivateKey, "secret.private-key", Redaction::Placeholder("private-key")),
    (C::SecretToken, "secret.token", Redaction::Placeholder("token")),
    (C::SecretAssigned, "secret.assigned", Redaction::Placeholder("secret")),
    (C::PersonalCard, "personal.card", Redaction::Placeholder("card")),
    (C::PersonalIban, "personal.iban", Redaction::Placeholder("iban")),
    (C::PersonalNationalId, "personal.national-id", Redaction::Placeholder("national-id")),
    (C::PersonalEmail, "personal.email", Redaction::Placeholder("email")),
    (C::PersonalPhone, "personal.phone", Redaction::Placeholder("phone")),
    (C::PersonalIp, "personal.ip", Redaction::Placeholder("ip")),
    (C::Denied, "denied", Redaction::Placeholder("withheld")),
    (C::Injection, "injection", Redaction::Impossible),
];

impl Category {
    /// Every category there is.
    pub fn all() -> impl Iterator<Item = Category> {
        TABLE.iter().map(|row| row.0)
    }

    /// The name in policies, records and answers.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The part of the name before the dot: `secret` of `secret.key`.
    pub fn group(self) -> &'static str {
        let name = self.name();
        name.split_once('.').map_or(name, |(group, _)| group)
    }

    /// What redaction does to a finding of this category.
    pub fn redaction(self) -> Redaction {
        self.row().2
    }

    /// Reads a name.
    pub fn parse(name: &str) -> Option<Category> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    fn row(self) -> &'static (Category, &'static str, Redaction) {
        // The table is in the order of the enum: held by a test.
        &TABLE[self as usize]
    }
}

impl fmt::Display for Category {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Serialize for Category {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Category {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Category::parse(&name).ok_or_else(|| de::Error::custom(format!("no category `{name}`")))
    }
}

/// One finding in one text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The detector, and for rules the rule: `secrets/github`.
    pub detector: &'static str,
    /// What kind of thing it is.
    pub category: Category,
    /// How sure the detector is, from 0 to 1.
    pub score: f32,
    /// The bytes of the text that it covers, at character boundaries.
    pub span: Range<usize>,
}

impl Finding {
    /// Takes in a finding that begins inside of this one: what changes the text changes all that
    /// the two cover. The longer one gives the name, and one with a placeholder before one without.
    pub(super) fn absorb(&mut self, other: &Self) {
        let rank = |one: &Self| {
            let has_placeholder = matches!(one.category.redaction(), Redaction::Placeholder(_));
            (has_placeholder, one.span.len())
        };
        if rank(other) > rank(self) {
            (self.detector, self.category, self.score) =
                (other.detector, other.category, other.score);
        }
        self.span.end = self.span.end.max(other.span.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, index);
            assert_eq!(Category::parse(row.1), Some(row.0));
            assert!(row.1.starts_with(row.0.group()));
        }
    }
}
