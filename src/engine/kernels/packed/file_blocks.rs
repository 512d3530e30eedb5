//! Reads blocks as they are in a file: codes in the order of the columns, and the scales.
//!
//! The layouts are those of ggml (`block_q4_0` and so on in `ggml-common.h`).

/// A block of a row. A block of 32 weights fills the beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileBlock {
    pub(super) codes: [u8; 256],
    /// The scale, as the bits of an f16.
    pub(super) scale: [u8; 2],
    /// The minimum, or what is added.
    pub(super) base: [u8; 2],
    /// Whole numbers that multiply the scale: 8 or 16 of them, some signed, some with one that
    /// multiplies the minimum in the upper four bits.
    pub(super) scales: [u8; 16],
    /// Whole numbers that multiply the minimum.
    pub(super) minima: [u8; 8],
}

impl FileBlock {
    pub(super) const ZERO: Self =
        Self { codes: [0; 256], scale: [0; 2], base: [0; 2], scales: [0; 16], minima: [0; 8] };
}

pub(super) fn q4_0(bytes: &[u8], into: &mut FileBlock) {
    into.scale.copy_from_slice(&bytes[..2]);
    nibbles(&bytes[2..18], &mut into.codes);
}

pub(super) fn q4_1(bytes: &[u8], into: &mut FileBlock) {
    into.scale.copy_from_slice(&bytes[..2]);
    into.base.copy_from_slice(&bytes[2..4]);
    nibbles(&bytes[4..20], &mut into.codes);
}

pub(super) fn q5_0(bytes: &[u8], into: &mut FileBlock) {
    into.scale.copy_from_slice(&bytes[..2]);
    nibbles(&bytes[6..22], &mut into.codes);
    fifth_bits(&bytes[2..6], &mut into.codes);
}

pub(super) fn q5_1(bytes: &[u8], into: &mut FileBlock) {
    into.scale.copy_from_slice(&bytes[..2]);
    into.base.copy_from_slice(&bytes[2..4]);
    nibbles(&bytes[8..24], &mut into.codes);
    fifth_bits(&bytes[4..8], &mut into.codes);
}

pub(super) fn q8_0(bytes: &[u8], into: &mut FileBlock) {
    into.scale.copy_from_slice(&bytes[..2]);
    for (code, byte) in into.codes.iter_mut().zip(&bytes[2..34]) {
        *code = byte ^ 0x80; // signed to what lies 128 higher
    }
}

pub(super) fn q2_k(bytes: &[u8], into: &mut FileBlock) {
    into.scales.copy_from_slice(&bytes[..16]);
    pairs(&bytes[16..80], &mut into.codes, 0);
    into.scale.copy_from_slice(&bytes[80..82]);
    into.base.copy_from_slice(&bytes[82..84]);
}

pub(super) fn q3_k(bytes: &[u8], into: &mut FileBlock) {
    pairs(&bytes[32..96], &mut into.codes, 0);
    single_bits(&bytes[..32], &mut into.codes, 2);
    // 4 bits of each scale and, behind them, 2; 32 higher than they are.
    let packed = &bytes[96..108];
    for at in 0..16 {
        let low = packed[at % 8] >> (4 * (at / 8)) & 15;
        let high = packed[8 + at % 4] >> (2 * (at / 4)) & 3;
        into.scales[at] = (low | high << 4).wrapping_sub(32);
    }
    into.scale.copy_from_slice(&bytes[108..110]);
}

pub(super) fn q4_k(bytes: &[u8], into: &mut FileBlock) {
    scales_and_minima(bytes, into);
    for (bytes, codes) in bytes[16..144].chunks_exact(32).zip(into.codes.chunks_exact_mut(64)) {
        nibbles(bytes, codes);
    }
}

pub(super) fn q5_k(bytes: &[u8], into: &mut FileBlock) {
    scales_and_minima(bytes, into);
    for (bytes, codes) in bytes[48..176].chunks_exact(32).zip(into.codes.chunks_exact_mut(64)) {
        nibbles(bytes, codes);
    }
    single_bits(&bytes[16..48], &mut into.codes, 4);
}

pub(super) fn q6_k(bytes: &[u8], into: &mut FileBlock) {
    for (bytes, codes) in bytes[..128].chunks_exact(64).zip(into.codes.chunks_exact_mut(128)) {
        nibbles(bytes, codes);
    }
    pairs(&bytes[128..192], &mut into.codes, 4);
    into.scales.copy_from_slice(&bytes[192..208]);
    into.scale.copy_from_slice(&bytes[208..210]);
}

pub(super) fn iq4_xs(bytes: &[u8], into: &mut FileBlock) {
    into.scale.copy_from_slice(&bytes[..2]);
    // 2 bits of each scale and, behind them, 4; 32 higher than they are.
    let upper = u16::from_le_bytes([bytes[2], bytes[3]]);
    for at in 0..8 {
        let low = bytes[4 + at / 2] >> (at % 2 * 4) & 15;
        let high = (upper >> (2 * at) & 3) as u8;
        into.scales[at] = (low | high << 4).wrapping_sub(32);
    }
    for (bytes, codes) in bytes[8..136].chunks_exact(16).zip(into.codes.chunks_exact_mut(32)) {
        nibbles(bytes, codes);
    }
}

pub(super) fn mxfp4(bytes: &[u8], into: &mut FileBlock) {
    into.scales[0] = bytes[0];
    nibbles(&bytes[1..17], &mut into.codes);
}

/// The lower halves of all bytes, then the upper ones.
fn nibbles(bytes: &[u8], codes: &mut [u8]) {
    let (low, high) = codes.split_at_mut(bytes.len());
    for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
        *low = byte & 15;
        *high = byte >> 4;
    }
}

/// 32 bits in the order of the columns.
fn fifth_bits(bytes: &[u8], codes: &mut [u8; 256]) {
    for (at, code) in codes[..32].iter_mut().enumerate() {
        *code |= (bytes[at / 8] >> (at % 8) & 1) << 4;
    }
}

/// Two bits of every code, at `shift`: a byte has those of four columns that are 32 apart.
fn pairs(bytes: &[u8], codes: &mut [u8; 256], shift: u32) {
    for (bytes, codes) in bytes.chunks_exact(32).zip(codes.chunks_exact_mut(128)) {
        for (part, codes) in codes.chunks_exact_mut(32).enumerate() {
            for (code, byte) in codes.iter_mut().zip(bytes) {
                let own = (byte >> (2 * part) & 3) << shift;
                *code = if shift == 0 { own } else { *code | own };
            }
        }
    }
}

/// One bit of every code, at `shift`: a byte has those of eight columns that are 32 apart.
fn single_bits(bytes: &[u8], codes: &mut [u8; 256], shift: u32) {
    for (part, codes) in codes.chunks_exact_mut(32).enumerate() {
        for (code, byte) in codes.iter_mut().zip(bytes) {
            *code |= (byte >> part & 1) << shift;
        }
    }
}

/// The beginning of Q4_K and Q5_K: scale, minimum, and 8 times 6 bits for each in 12 bytes.
fn scales_and_minima(bytes: &[u8], into: &mut FileBlock) {
    into.scale.copy_from_slice(&bytes[..2]);
    into.base.copy_from_slice(&bytes[2..4]);
    let packed = &bytes[4..16];
    for at in 0..4 {
        into.scales[at] = packed[at] & 63;
        into.minima[at] = packed[at + 4] & 63;
        into.scales[at + 4] = packed[at + 8] & 15 | packed[at] >> 6 << 4;
        into.minima[at + 4] = packed[at + 8] >> 4 | packed[at + 4] >> 6 << 4;
    }
}
