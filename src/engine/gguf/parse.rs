//! Walks a file's header and checks it. Allocates nothing that the bytes at hand do not bear out.

use std::collections::{HashMap, HashSet};

use super::GgufError;
use super::cursor::Cursor;
use super::limits::{
    ALIGNMENT_DEFAULT, ALIGNMENT_MAX, ARRAY_ENTRIES_MAX, DIMENSIONS_MAX, KEY_BYTES_MAX,
    METADATA_KEYS_MAX, STRING_BYTES_MAX, TENSOR_NAME_BYTES_MAX, TENSORS_MAX,
};
use super::metadata::{Entry, Kind};
use super::tensors::{self, TensorInfo};

/// What a header says.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: HashMap<String, Entry>,
    /// Their offsets are relative to the data.
    pub(super) tensors: Vec<TensorInfo>,
    /// To what tensors are aligned.
    pub(super) alignment: u64,
    /// Where the header ends.
    pub(super) end: usize,
}

/// Reads and checks the whole header. Where it is cut short, the error says how many bytes are
/// missing at least.
pub(super) fn header(bytes: &[u8]) -> Result<Header, GgufError> {
    let mut cursor = Cursor::new(bytes);
    let (tensor_count, key_count) = preamble(&mut cursor)?;
    let mut metadata = HashMap::new();
    for number in 0..key_count {
        let (key, entry) = metadata_entry(&mut cursor, number)?;
        if metadata.contains_key(&key) {
            return Err(GgufError::damaged(
                format!("the metadata key \"{key}\""),
                "stands there twice",
            ));
        }
        metadata.insert(key, entry);
    }
    let alignment = alignment(bytes, &metadata)?;
    let mut found = Vec::new();
    let mut names = HashSet::new();
    for number in 0..tensor_count {
        let tensor = tensor_entry(&mut cursor, number)?;
        if !names.insert(tensor.name.clone()) {
            return Err(GgufError::damaged(
                format!("the tensor \"{}\"", tensor.name),
                "stands there twice",
            ));
        }
        found.push(tensor);
    }
    Ok(Header { metadata, tensors: found, alignment, end: cursor.position() })
}

/// Magic, version and the two counts.
fn preamble(cursor: &mut Cursor<'_>) -> Result<(u64, u64), GgufError> {
    let header = || "the first 24 bytes".to_owned();
    if cursor.array::<4>(&header).map_err(|_| GgufError::NotGguf)? != *b"GGUF" {
        return Err(GgufError::NotGguf);
    }
    let version = cursor.u32(&header)?;
    match version {
        2 | 3 => {}
        _ if matches!(version.swap_bytes(), 1..=3) => return Err(GgufError::BigEndian),
        _ => return Err(GgufError::Version(version)),
    }
    let tensors = cursor.u64(&header)?;
    let keys = cursor.u64(&header)?;
    at_most("the number of tensors", tensors, TENSORS_MAX)?;
    at_most("the number of metadata keys", keys, METADATA_KEYS_MAX)?;
    Ok((tensors, keys))
}

fn at_most(place: &str, found: u64, limit: u64) -> Result<(), GgufError> {
    if found > limit {
        return Err(GgufError::TooLarge { place: place.to_owned(), found, limit });
    }
    Ok(())
}

fn metadata_entry(cursor: &mut Cursor<'_>, number: u64) -> Result<(String, Entry), GgufError> {
    let place = || format!("metadata key number {number}");
    let key = text(cursor.string(KEY_BYTES_MAX, &place)?, &place)?;
    let place = || format!("the value of \"{key}\"");
    let kind = kind(cursor.u32(&place)?, &place)?;
    let entry = match kind {
        Kind::Array => array_entry(cursor, &key)?,
        Kind::String => {
            let start = cursor.position();
            cursor.string(STRING_BYTES_MAX, &place)?;
            Entry::scalar(kind, start..cursor.position())
        }
        _ => {
            let start = cursor.position();
            let value = cursor.take(kind.width(), &place)?;
            if kind == Kind::Bool && value[0] > 1 {
                return Err(GgufError::damaged(place(), "is neither true nor false"));
            }
            Entry::scalar(kind, start..cursor.position())
        }
    };
    Ok((key, entry))
}

fn array_entry(cursor: &mut Cursor<'_>, key: &str) -> Result<Entry, GgufError> {
    let place = || format!("the array \"{key}\"");
    let kind = kind(cursor.u32(&place)?, &place)?;
    let count = cursor.u64(&place)?;
    at_most(&format!("the length of {}", place()), count, ARRAY_ENTRIES_MAX)?;
    let start = cursor.position();
    match kind {
        // The format permits arrays of arrays; no published file has one, and depth is a weapon.
        Kind::Array => return Err(GgufError::damaged(place(), "holds arrays")),
        Kind::String => {
            for _ in 0..count {
                cursor.string(STRING_BYTES_MAX, &place)?;
            }
        }
        _ => {
            // Both factors are bounded: this cannot overflow.
            let values = cursor.take(count * kind.width(), &place)?;
            if kind == Kind::Bool && values.iter().any(|&byte| byte > 1) {
                return Err(GgufError::damaged(place(), "holds what is neither true nor false"));
            }
        }
    }
    Ok(Entry::array(kind, count as usize, start..cursor.position()))
}

fn kind(code: u32, place: &dyn Fn() -> String) -> Result<Kind, GgufError> {
    Kind::from_code(code)
        .ok_or_else(|| GgufError::damaged(place(), format!("has the unknown type {code}")))
}

fn text(bytes: &[u8], place: &dyn Fn() -> String) -> Result<String, GgufError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(GgufError::damaged(place(), "is not UTF-8")),
    }
}

/// The alignment of tensor data: a power of two.
fn alignment(bytes: &[u8], metadata: &HashMap<String, Entry>) -> Result<u64, GgufError> {
    let key = "general.alignment";
    let Some(entry) = metadata.get(key) else { return Ok(ALIGNMENT_DEFAULT) };
    let alignment = entry.unsigned(bytes).ok_or_else(|| GgufError::KeyType {
        key: key.to_owned(),
        wanted: "a whole number",
        found: entry.describe(bytes),
    })?;
    if !alignment.is_power_of_two() || alignment > ALIGNMENT_MAX {
        let problem = format!("is {alignment}, not a power of two up to {ALIGNMENT_MAX}");
        return Err(GgufError::damaged(format!("the metadata key \"{key}\""), problem));
    }
    Ok(alignment)
}

/// One line of the tensor directory; the offset is still relative to the data.
fn tensor_entry(cursor: &mut Cursor<'_>, number: u64) -> Result<TensorInfo, GgufError> {
    let place = || format!("the directory entry of tensor number {number}");
    let name = text(cursor.string(TENSOR_NAME_BYTES_MAX, &place)?, &place)?;
    let place = || format!("the directory entry of tensor \"{name}\"");
    let rank = cursor.u32(&place)?;
    if rank == 0 || rank > DIMENSIONS_MAX {
        let problem = format!("has {rank} dimensions, not 1 to {DIMENSIONS_MAX}");
        return Err(GgufError::damaged(place(), problem));
    }
    let mut shape = Vec::with_capacity(rank as usize);
    for _ in 0..rank {
        shape.push(cursor.u64(&place)?);
    }
    let code = cursor.u32(&place)?;
    let offset = cursor.u64(&place)?;
    tensors::describe(name, &shape, code, offset)
}
