//! Rows that are no shared prompt of this server: changed in the database, or sealed under a key that is gone.
//! They are left out and told, and can be deleted; their number is bounded by nobody, so that only the
//! first of them are kept in mind.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::ids::SharedPromptId;

/// Rows that are told one by one.
const TOLD_MAX: usize = 64;
/// Characters of what stands in the place of an id.
const SAYS_CHARS_MAX: usize = 64;
/// What the name of a row begins with in which no id stands.
const ROW_PREFIX: &str = "row_";

/// What a row is called: the id of a prompt, or, where none stands there, a digest of what does. That can
/// be of any length, and need not be text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowName {
    /// The id.
    Prompt(SharedPromptId),
    /// The SHA-256 of what stands in its place.
    Other([u8; 32]),
}

impl RowName {
    /// The name of the row in which this stands as the id.
    pub(super) fn of(stored: &[u8]) -> Self {
        let id = std::str::from_utf8(stored).ok().and_then(|text| SharedPromptId::parse(text).ok());
        id.map_or_else(|| Self::Other(Sha256::digest(stored).into()), Self::Prompt)
    }

    /// Reads a name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let Some(digits) = text.strip_prefix(ROW_PREFIX) else {
            return SharedPromptId::parse(text).ok().map(Self::Prompt);
        };
        let mut digest = [0; 32];
        hex::decode_to_slice(digits, &mut digest).ok()?;
        Some(Self::Other(digest))
    }
}

impl fmt::Display for RowName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prompt(id) => write!(formatter, "{id}"),
            Self::Other(digest) => write!(formatter, "{ROW_PREFIX}{}", hex::encode(digest)),
        }
    }
}

/// A row that does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnreadableRow {
    /// What it is called.
    pub(crate) name: RowName,
    /// What stands there as its id, as far as it can be shown.
    pub(crate) says: String,
}

/// The rows that do not open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The first of them.
    pub(crate) first: Vec<UnreadableRow>,
    /// How many there are.
    pub(crate) count: usize,
}

impl Unreadable {
    /// Takes one down, by what stands there as its id.
    pub(super) fn add(&mut self, stored: &[u8]) {
        self.count += 1;
        if self.first.len() < TOLD_MAX {
            let name = RowName::of(stored);
            self.first.push(UnreadableRow { name, says: shown(stored) });
        }
    }

    /// Whether this is one of the first.
    pub(super) fn has(&self, name: RowName) -> bool {
        self.first.iter().any(|row| row.name == name)
    }

    /// Forgets one.
    pub(super) fn remove(&mut self, name: RowName) {
        let before = self.first.len();
        self.first.retain(|row| row.name != name);
        self.count -= before - self.first.len();
    }

    /// How many there are beside the first.
    pub(super) fn more(&self) -> usize {
        self.count - self.first.len()
    }
}

/// Bytes as a text that can be shown anywhere.
fn shown(stored: &[u8]) -> String {
    let show = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' };
    stored.iter().take(SAYS_CHARS_MAX).map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_named_whatever_stands_there() {
        let (id, long) = (SharedPromptId::new().to_string(), "x".repeat(1 << 20));
        let texts = [id.as_bytes(), long.as_bytes(), b"none", b"a/b\n", b"\xff\xfe", b""];
        for stored in texts {
            let name = RowName::of(stored);
            assert_eq!(RowName::parse(&name.to_string()), Some(name));
            assert!(name.to_string().len() < 80, "{name}");
        }
        assert_eq!(RowName::of(id.as_bytes()).to_string(), id);
        for no in ["none", "row_", "row_xyz", "row_00", "prm_1", ""] {
            assert_eq!(RowName::parse(no), None, "{no}");
        }
    }

    #[test]
    fn any_number_of_rows_is_counted_and_the_first_are_kept() {
        let mut rows = Unreadable::default();
        for number in 0..1_000 {
            rows.add(format!("{number}\u{202e}{}", "x".repeat(1_000)).as_bytes());
        }
        assert_eq!((rows.first.len(), rows.count), (TOLD_MAX, 1_000));
        assert_eq!(rows.more(), 1_000 - TOLD_MAX);
        assert_eq!(rows.first[0].says.len(), SAYS_CHARS_MAX);
        assert!(rows.first[0].says.starts_with("0???x"));
        let name = rows.first[3].name;
        assert!(rows.has(name));
        for _ in 0..2 {
            rows.remove(name);
            assert!(!rows.has(name) && rows.count == 999);
        }
    }
}
