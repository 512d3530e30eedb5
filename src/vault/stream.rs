//! Sealing of whole files in chunks (the STREAM construction of Hoang, Reyhanitabar, Rogaway and
//! Vizár, CRYPTO 2015): each chunk's nonce carries its number and whether it is the last, so that
//! reordering, duplication and truncation are found.

use std::io::{self, Read, Write};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};

use crate::secret::SecretKey;

/// Plaintext bytes in a chunk.
const CHUNK_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;
/// Chunks in one file: 2^32 × 64 KiB is far above any backup.
const CHUNKS_MAX: u64 = u32::MAX as u64;

/// Why a stream could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The file was changed or cut, or is sealed with another key.
    #[error("the sealed file was changed or cut, or belongs to another root key")]
    CannotOpen,
    /// More chunks than a stream may have.
    #[error("the file is too large to be sealed")]
    TooLarge,
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Seals everything that `plain` gives; `aad` is bound into every chunk.
pub fn seal(
    key: &SecretKey,
    aad: &[u8],
    mut plain: impl Read,
    mut sealed: impl Write,
) -> Result<(), StreamError> {
    let cipher = Aes256Gcm::new(key.expose().into());
    let mut current = read_chunk(&mut plain, CHUNK_BYTES)?;
    for number in 0..CHUNKS_MAX {
        let next = read_chunk(&mut plain, CHUNK_BYTES)?;
        let is_last = next.is_empty();
        let payload = Payload { msg: &current, aad };
        let chunk = cipher
            .encrypt(&nonce(number, is_last), payload)
            .map_err(|_| StreamError::CannotOpen)?;
        sealed.write_all(&chunk)?;
        if is_last {
            return Ok(());
        }
        current = next;
    }
    Err(StreamError::TooLarge)
}

/// Opens what `seal` made. What was written before an error is not to be trusted.
pub fn open(
    key: &SecretKey,
    aad: &[u8],
    mut sealed: impl Read,
    mut plain: impl Write,
) -> Result<(), StreamError> {
    let cipher = Aes256Gcm::new(key.expose().into());
    let mut current = read_chunk(&mut sealed, CHUNK_BYTES + TAG_BYTES)?;
    for number in 0..CHUNKS_MAX {
        let next = read_chunk(&mut sealed, CHUNK_BYTES + TAG_BYTES)?;
        let is_last = next.is_empty();
        let payload = Payload { msg: &current, aad };
        let chunk = cipher
            .decrypt(&nonce(number, is_last), payload)
            .map_err(|_| StreamError::CannotOpen)?;
        plain.write_all(&chunk)?;
        if is_last {
            return Ok(());
        }
        current = next;
    }
    Err(StreamError::TooLarge)
}

/// 7 zero bytes ‖ 4 bytes of chunk number ‖ 1 byte that marks the last. The key is used for one
/// stream only (it is derived with a fresh salt), so the prefix needs no randomness.
fn nonce(number: u64, is_last: bool) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut bytes = [0; 12];
    bytes[3..11].copy_from_slice(&number.to_be_bytes());
    bytes[11] = u8::from(is_last);
    bytes.into()
}

/// Reads until the chunk is full or the source ends.
fn read_chunk(source: &mut impl Read, size: usize) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::with_capacity(size);
    source.by_ref().take(size as u64).read_to_end(&mut chunk)?;
    Ok(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(length: usize) -> (SecretKey, Vec<u8>, Vec<u8>) {
        let key = SecretKey::new([5; 32]);
        let plain: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        let mut out = Vec::new();
        seal(&key, b"head", &plain[..], &mut out).expect("sealed");
        (key, plain, out)
    }

    #[test]
    fn streams_of_every_size_around_a_chunk_survive_a_round_trip() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let (key, plain, bytes) = sealed(length);
            let mut out = Vec::new();
            open(&key, b"head", &bytes[..], &mut out).expect("opened");
            assert_eq!(out, plain, "{length}");
        }
    }

    #[test]
    fn cut_swapped_and_changed_streams_do_not_open() {
        let (key, _, bytes) = sealed(3 * CHUNK_BYTES + 7);
        let chunk = CHUNK_BYTES + TAG_BYTES;
        let mut swapped = bytes.clone();
        swapped[..2 * chunk].rotate_left(chunk);
        let mut changed = bytes.clone();
        changed[chunk + 9] ^= 1;
        let cut = bytes[..2 * chunk].to_vec();
        let longer = [&bytes[..], b"x"].concat();
        for bad in [swapped, changed, cut, longer, bytes[..bytes.len() - 1].to_vec(), Vec::new()] {
            assert!(open(&key, b"head", &bad[..], io::sink()).is_err());
        }
        assert!(open(&key, b"other", &bytes[..], io::sink()).is_err());
        assert!(open(&SecretKey::new([6; 32]), b"head", &bytes[..], io::sink()).is_err());
    }
}
