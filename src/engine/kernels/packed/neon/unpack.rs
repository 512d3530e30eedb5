//! Lines of packed codes to such of whole ones.
#![expect(unsafe_code, reason = "vectors are read from memory")]

use std::arch::aarch64::{
    int8x16_t, uint8x16_t, vandq_u8, vdupq_n_s8, vdupq_n_u8, veorq_u8, vld1q_u8, vorrq_u8,
    vqtbl1q_u8, vreinterpretq_s8_u8, vshlq_u8,
};

use super::super::format::layout;
use super::super::lines::{LANES, Line};

/// A quarter of the lines of whole codes; those of 8 bits signed, the others small enough to be. See
/// `lines` for where their bits are.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn unpack<const LAYOUT: usize>(packed: &[Line], quarter: usize) -> [int8x16_t; 8] {
    let bits = const { layout(LAYOUT).code().bits() };
    let mut whole = [vdupq_n_u8(0); 8];
    let mut rest = packed;
    if bits == 8 {
        for (whole, line) in whole.iter_mut().zip(packed) {
            *whole = veorq_u8(load(line, quarter), vdupq_n_u8(128));
        }
    }
    if matches!(bits, 4..=6) {
        for at in 0..4 {
            let line = load(&rest[at], quarter);
            whole[at] = moved::<0, 15>(line, 0);
            whole[at + 4] = moved::<0, 15>(line, 4);
        }
        rest = &rest[4..];
    }
    if matches!(bits, 2 | 3 | 6) {
        for (at, whole) in whole.iter_mut().enumerate() {
            let (line, place) = (load(&rest[at / 4], quarter), at as i8 % 4 * 2);
            let own =
                if bits == 6 { moved::<4, 3>(line, place) } else { moved::<0, 3>(line, place) };
            *whole = vorrq_u8(*whole, own);
        }
        rest = &rest[2..];
    }
    if matches!(bits, 3 | 5) {
        let line = load(&rest[0], quarter);
        for (at, whole) in whole.iter_mut().enumerate() {
            let place = at as i8;
            let own =
                if bits == 5 { moved::<4, 1>(line, place) } else { moved::<2, 1>(line, place) };
            *whole = vorrq_u8(*whole, own);
        }
    }
    if let Some(numbers) = const { layout(LAYOUT).code().numbers() } {
        // Signed, as codes of eight bits are.
        let numbers = veorq_u8(sixteen(numbers), vdupq_n_u8(128));
        for whole in &mut whole {
            *whole = vqtbl1q_u8(numbers, *whole);
        }
    }
    whole.map(|whole| vreinterpretq_s8_u8(whole))
}

/// The bits of `MASK` at a place of every byte, moved to `TO`.
#[target_feature(enable = "neon")]
#[inline]
fn moved<const TO: i8, const MASK: u8>(line: uint8x16_t, place: i8) -> uint8x16_t {
    // By less than nothing to the left is to the right.
    let moved = vshlq_u8(line, vdupq_n_s8(TO - place));
    vandq_u8(moved, vdupq_n_u8(MASK << TO))
}

#[target_feature(enable = "neon")]
#[inline]
fn load(line: &Line, quarter: usize) -> uint8x16_t {
    sixteen(&line.0.as_chunks::<LANES>().0[quarter])
}

#[target_feature(enable = "neon")]
#[inline]
fn sixteen(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: an array of 16 bytes is read.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}
