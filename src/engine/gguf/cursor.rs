//! Reads little-endian numbers and strings from bytes, never past their end.

use super::GgufError;

/// A place in a file's bytes.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Takes the next `count` bytes; `place` names what they are for the error.
    pub(super) fn take(
        &mut self,
        count: u64,
        place: &dyn Fn() -> String,
    ) -> Result<&'a [u8], GgufError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if count > rest.len() as u64 {
            let missing = count - rest.len() as u64;
            return Err(GgufError::Truncated { place: place(), missing });
        }
        // `count` is at most the length of a slice, so it is a usize.
        let count = count as usize;
        self.at += count;
        Ok(&rest[..count])
    }

    /// Takes the next `N` bytes.
    pub(super) fn array<const N: usize>(
        &mut self,
        place: &dyn Fn() -> String,
    ) -> Result<[u8; N], GgufError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, place)?);
        Ok(array)
    }

    /// Reads a `u32`.
    pub(super) fn u32(&mut self, place: &dyn Fn() -> String) -> Result<u32, GgufError> {
        self.array(place).map(u32::from_le_bytes)
    }

    /// Reads a `u64`.
    pub(super) fn u64(&mut self, place: &dyn Fn() -> String) -> Result<u64, GgufError> {
        self.array(place).map(u64::from_le_bytes)
    }

    /// Reads a length and that many bytes, `limit` at most.
    pub(super) fn string(
        &mut self,
        limit: u64,
        place: &dyn Fn() -> String,
    ) -> Result<&'a [u8], GgufError> {
        let length = self.u64(place)?;
        if length > limit {
            let place = format!("the length of {}", place());
            return Err(GgufError::TooLarge { place, found: length, limit });
        }
        self.take(length, place)
    }
}
