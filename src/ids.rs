//! Identifiers: one type for each kind of thing, so that one cannot stand in for another.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// What an identifier names; gives its text form a prefix.
pub trait Kind {
    /// The prefix of the text form, such as `usr`.
    const PREFIX: &'static str;
}

/// The identifier of one thing of kind `K`: a version 7 UUID (RFC 9562), written as
/// `<prefix>_<32 hexadecimal digits>`.
pub struct Id<K>(Uuid, PhantomData<fn() -> K>);

/// Why a text is no identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid identifier")]
pub struct IdError;

impl<K: Kind> Id<K> {
    /// Makes a new identifier, unlike every other.
    #[expect(
        clippy::new_without_default,
        reason = "a default id would be a different one each time"
    )]
    pub fn new() -> Self {
        Self(Uuid::now_v7(), PhantomData)
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let digits = text
            .strip_prefix(K::PREFIX)
            .and_then(|rest| rest.strip_prefix('_'))
            .filter(|digits| digits.len() == 32 && digits.bytes().all(is_lower_hex))
            .ok_or(IdError)?;
        Uuid::parse_str(digits).map(|uuid| Self(uuid, PhantomData)).map_err(|_| IdError)
    }

    /// The sixteen bytes of the UUID.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Id<K> {}

impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K> Eq for Id<K> {}

impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}_{}", K::PREFIX, self.0.simple())
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl<K: Kind> FromStr for Id<K> {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl<K: Kind> JsonSchema for Id<K> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}_id", K::PREFIX).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": format!("{}_…", K::PREFIX) })
    }
}

macro_rules! kinds {
    ($($marker:ident $alias:ident $prefix:literal $meaning:literal;)+) => {$(
        #[doc = $meaning]
        #[derive(Debug)]
        pub enum $marker {}
        impl Kind for $marker {
            const PREFIX: &'static str = $prefix;
        }
        #[doc = concat!("The identifier of ", $meaning)]
        pub type $alias = Id<$marker>;
    )+};
}

kinds! {
    User UserId "usr" "a person or service account.";
    Session SessionId "ses" "a signed-in browser.";
    ApiKey KeyId "key" "an API key.";
    UserGroup GroupId "grp" "a group of people with a budget of its own.";
    Invitation InvitationId "inv" "a one-time link.";
    Conversation ConversationId "cnv" "a conversation of the web app.";
    ChatMessage MessageId "msg" "a message of a conversation.";
    Request RequestId "req" "one request to the server.";
    ModelResponse ResponseId "resp" "a response of the API.";
    SharedPromptKept SharedPromptId "prm" "a system prompt that is kept for many.";
    Run RunId "run" "one run of an evaluation.";
    Alert AlertId "alr" "an alert of the monitor.";
    BackupSet BackupId "bak" "a backup.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_survive_a_round_trip_through_text() {
        let id = UserId::new();
        assert_eq!(UserId::parse(&id.to_string()), Ok(id));
    }

    #[test]
    fn texts_that_are_no_identifier_are_refused() {
        let good = UserId::new().to_string();
        let other = KeyId::new().to_string();
        let upper = good.to_uppercase();
        for raw in ["", "usr_", "usr", &good[..35], &other, &upper, &format!("{good}0")] {
            assert_eq!(UserId::parse(raw), Err(IdError), "{raw}");
        }
    }
}
