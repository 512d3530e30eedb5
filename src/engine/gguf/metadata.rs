//! Typed access to a file's metadata. Values stay in the mapping and are decoded when asked for.

use std::ops::Range;

use super::{File, GgufError};

/// The type of a metadata value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    pub(super) fn from_code(code: u32) -> Option<Self> {
        const KINDS: [Kind; 13] = [
            Kind::U8,
            Kind::I8,
            Kind::U16,
            Kind::I16,
            Kind::U32,
            Kind::I32,
            Kind::F32,
            Kind::Bool,
            Kind::String,
            Kind::Array,
            Kind::U64,
            Kind::I64,
            Kind::F64,
        ];
        KINDS.get(code as usize).copied()
    }

    /// Bytes of one value; 0 for those whose size varies.
    pub(super) fn width(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::String | Self::Array => 0,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => "an unsigned number",
            Self::I8 | Self::I16 | Self::I32 | Self::I64 => "a signed number",
            Self::F32 | Self::F64 => "a decimal number",
            Self::Bool => "true or false",
            Self::String => "a text",
            Self::Array => "a list",
        }
    }
}

/// Where a value is and what it is; checked when the file was opened.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    kind: Kind,
    /// For a list, how many values.
    count: Option<usize>,
    range: Range<usize>,
}

impl Entry {
    pub(super) fn scalar(kind: Kind, range: Range<usize>) -> Self {
        Self { kind, count: None, range }
    }

    pub(super) fn array(kind: Kind, count: usize, range: Range<usize>) -> Self {
        Self { kind, count: Some(count), range }
    }

    /// The value as a number that is not negative, if it is one.
    pub(super) fn unsigned(&self, bytes: &[u8]) -> Option<u64> {
        if self.count.is_some() {
            return None;
        }
        number(self.kind, self.raw(bytes)).and_then(|value| u64::try_from(value).ok())
    }

    /// What is there, for an error: the type, and the value where it is short.
    pub(super) fn describe(&self, bytes: &[u8]) -> String {
        if let Some(count) = self.count {
            return format!("a list of {count}, each {}", self.kind.name());
        }
        match (number(self.kind, self.raw(bytes)), decimal(self.kind, self.raw(bytes))) {
            (Some(value), _) => format!("{value}"),
            (_, Some(value)) => format!("{value}"),
            _ if matches!(self.kind, Kind::String)
                && std::str::from_utf8(self.raw(bytes)).is_err() =>
            {
                "bytes that are no UTF-8".to_owned()
            }
            _ => self.kind.name().to_owned(),
        }
    }

    fn raw<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.range.clone()).unwrap_or_default()
    }
}

impl File {
    /// A number below 2^32, if the key is there.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, GgufError> {
        self.get(key, "a whole number below 2^32", |entry, bytes| {
            entry.unsigned(bytes).and_then(|value| u32::try_from(value).ok())
        })
    }

    /// A number below 2^32 that has to be there.
    pub fn required_u32(&self, key: &str) -> Result<u32, GgufError> {
        required(key, self.u32(key)?)
    }

    /// A decimal number, if the key is there; not a number and infinite are refused.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, GgufError> {
        self.get(key, "a finite decimal number", |entry, bytes| {
            let scalar = entry.count.is_none();
            scalar
                .then(|| decimal(entry.kind, entry.raw(bytes)))
                .flatten()
                .map(|value| value as f32)
                .filter(|value| value.is_finite())
        })
    }

    /// A decimal number that has to be there.
    pub fn required_f32(&self, key: &str) -> Result<f32, GgufError> {
        required(key, self.f32(key)?)
    }

    /// True or false, if the key is there.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.get(key, "true or false", |entry, bytes| {
            let is_bool = entry.kind == Kind::Bool && entry.count.is_none();
            is_bool.then(|| entry.raw(bytes).first().is_some_and(|&byte| byte == 1))
        })
    }

    /// A text, if the key is there.
    pub fn string(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.get(key, "a UTF-8 text", |entry, bytes| {
            if entry.kind != Kind::String || entry.count.is_some() {
                return None;
            }
            texts(entry.raw(bytes)).next().and_then(|text| std::str::from_utf8(text).ok())
        })
    }

    /// A text that has to be there.
    pub fn required_string(&self, key: &str) -> Result<&str, GgufError> {
        required(key, self.string(key)?)
    }

    /// A list of texts, if the key is there.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<&str>>, GgufError> {
        self.get(key, "a list of UTF-8 texts", |entry, bytes| {
            if entry.kind != Kind::String {
                return None;
            }
            let mut found = Vec::with_capacity(entry.count?);
            for text in texts(entry.raw(bytes)) {
                found.push(std::str::from_utf8(text).ok()?);
            }
            Some(found)
        })
    }

    /// A list of decimal numbers, if the key is there.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>, GgufError> {
        self.get(key, "a list of decimal numbers", |entry, bytes| {
            entry.count?;
            let width = entry.kind.width().max(1) as usize;
            let values = entry.raw(bytes).chunks_exact(width);
            values.map(|raw| decimal(entry.kind, raw).map(|value| value as f32)).collect()
        })
    }

    /// A list of bytes, if the key is there, where it lies.
    pub(in crate::engine) fn byte_list(&self, key: &str) -> Result<Option<&[u8]>, GgufError> {
        self.get(key, "a list of bytes", |entry, bytes| {
            entry.count?;
            matches!(entry.kind, Kind::U8 | Kind::I8).then(|| entry.raw(bytes))
        })
    }

    /// A list of whole numbers, or a single one as a list of one, if the key is there.
    pub fn i64s(&self, key: &str) -> Result<Option<Vec<i64>>, GgufError> {
        self.get(key, "a list of whole numbers", |entry, bytes| {
            let width = entry.kind.width().max(1) as usize;
            let values = entry.raw(bytes).chunks_exact(width);
            values
                .map(|raw| number(entry.kind, raw).and_then(|value| i64::try_from(value).ok()))
                .collect()
        })
    }

    /// A list of numbers below 2^32, or a single one as a list of one, if the key is there.
    pub fn u32s(&self, key: &str) -> Result<Option<Vec<u32>>, GgufError> {
        self.get(key, "a list of whole numbers below 2^32", |entry, bytes| {
            let width = entry.kind.width().max(1) as usize;
            let values = entry.raw(bytes).chunks_exact(width);
            values
                .map(|raw| number(entry.kind, raw).and_then(|value| u32::try_from(value).ok()))
                .collect()
        })
    }

    /// A list of true and false, or a single one as a list of one, if the key is there.
    pub fn bools(&self, key: &str) -> Result<Option<Vec<bool>>, GgufError> {
        self.get(key, "a list of true and false", |entry, bytes| {
            let is_bool = entry.kind == Kind::Bool;
            is_bool.then(|| entry.raw(bytes).iter().map(|&byte| byte == 1).collect())
        })
    }

    fn get<'a, T>(
        &'a self,
        key: &str,
        wanted: &'static str,
        read: impl FnOnce(&Entry, &'a [u8]) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(entry) = self.metadata.get(key) else { return Ok(None) };
        match read(entry, self.bytes()) {
            Some(value) => Ok(Some(value)),
            None => Err(GgufError::KeyType {
                key: key.to_owned(),
                wanted,
                found: entry.describe(self.bytes()),
            }),
        }
    }
}

fn required<T>(key: &str, value: Option<T>) -> Result<T, GgufError> {
    value.ok_or_else(|| GgufError::KeyMissing { key: key.to_owned() })
}

/// A whole number of any width.
fn number(kind: Kind, raw: &[u8]) -> Option<i128> {
    Some(match kind {
        Kind::U8 => u8::from_le_bytes(raw.try_into().ok()?).into(),
        Kind::I8 => i8::from_le_bytes(raw.try_into().ok()?).into(),
        Kind::U16 => u16::from_le_bytes(raw.try_into().ok()?).into(),
        Kind::I16 => i16::from_le_bytes(raw.try_into().ok()?).into(),
        Kind::U32 => u32::from_le_bytes(raw.try_into().ok()?).into(),
        Kind::I32 => i32::from_le_bytes(raw.try_into().ok()?).into(),
        Kind::U64 => u64::from_le_bytes(raw.try_into().ok()?).into(),
        Kind::I64 => i64::from_le_bytes(raw.try_into().ok()?).into(),
        Kind::F32 | Kind::F64 | Kind::Bool | Kind::String | Kind::Array => return None,
    })
}

/// A decimal number of either width.
fn decimal(kind: Kind, raw: &[u8]) -> Option<f64> {
    match kind {
        Kind::F32 => Some(f32::from_le_bytes(raw.try_into().ok()?).into()),
        Kind::F64 => Some(f64::from_le_bytes(raw.try_into().ok()?)),
        _ => None,
    }
}

/// The texts in bytes that were checked to be a row of them.
fn texts(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, tail) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let text = tail.get(..length)?;
        rest = &tail[length..];
        Some(text)
    })
}
