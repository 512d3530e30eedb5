//! Encryption at rest: key sources, hierarchy, sealing. Knows bytes and keys alone.

/// A sealed value as it stands in a column: the only type that such columns take and give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// The stored bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes bytes as they were stored; whether they open is seen when they are opened.
    pub fn from_stored(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}
