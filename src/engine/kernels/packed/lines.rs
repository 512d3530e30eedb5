//! The codes of 16 rows by 32 columns, in lines of the vector unit's width.
//!
//! A line of whole codes has four columns of every row: 16 times four bytes, as the instructions for
//! products of bytes want them. A group of 32 columns is eight such lines. Codes of fewer bits lie in
//! fewer lines: first the lower four bits, two lines to one, then two further bits, four lines to
//! one, then one further bit, eight to one.

use super::format::Code;
pub(super) use crate::engine::kernels::room::Line;

/// Rows of weights that are interleaved.
pub(super) const LANES: usize = 16;

/// A number for each of 16 rows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Lanes(pub(super) [f32; LANES]);

impl Lanes {
    pub(super) const ZERO: Self = Self([0.0; LANES]);
}

/// Whether a code's lower bits are four, in halves of bytes.
const fn has_nibbles(bits: usize) -> bool {
    matches!(bits, 4..=6)
}

/// Where the two further bits go; none where there are none.
const fn pair_shift(bits: usize) -> Option<u32> {
    match bits {
        2 | 3 => Some(0),
        6 => Some(4),
        _ => None,
    }
}

/// Where the one further bit goes.
const fn single_shift(bits: usize) -> Option<u32> {
    match bits {
        3 => Some(2),
        5 => Some(4),
        _ => None,
    }
}

/// Packs a group: eight lines of whole codes into as many as the code has bits.
pub(super) fn pack(code: Code, whole: &[Line; 8], into: &mut [Line]) {
    let bits = code.bits();
    if bits == 8 {
        into.copy_from_slice(whole);
        return;
    }
    let mut rest = into;
    if has_nibbles(bits) {
        let (nibbles, behind) = rest.split_at_mut(4);
        for (at, line) in nibbles.iter_mut().enumerate() {
            *line = gathered([(&whole[at], 0), (&whole[at + 4], 4)], 0, 15);
        }
        rest = behind;
    }
    if let Some(shift) = pair_shift(bits) {
        let (pairs, behind) = rest.split_at_mut(2);
        for (line, whole) in pairs.iter_mut().zip(whole.as_chunks::<4>().0) {
            let [a, b, c, d] = whole;
            *line = gathered([(a, 0), (b, 2), (c, 4), (d, 6)], shift, 3);
        }
        rest = behind;
    }
    if let (Some(shift), [line]) = (single_shift(bits), rest) {
        let [a, b, c, d, e, f, g, h] = whole;
        let places = [(a, 0), (b, 1), (c, 2), (d, 3), (e, 4), (f, 5), (g, 6), (h, 7)];
        *line = gathered(places, shift, 1);
    }
}

/// Some bits of several lines, moved beside one another.
fn gathered<const N: usize>(lines: [(&Line, u32); N], shift: u32, mask: u8) -> Line {
    let mut all = Line::ZERO;
    for (line, place) in lines {
        for (into, code) in all.0.iter_mut().zip(&line.0) {
            *into |= (code >> shift & mask) << place;
        }
    }
    all
}

/// The codes of four columns (the `quad`th of eight times four) of one row, out of a packed group.
pub(super) fn codes(code: Code, lines: &[Line], quad: usize, lane: usize) -> [u8; 4] {
    let bits = code.bits();
    let at = |line: usize| lines[line].0.as_chunks::<4>().0[lane];
    if bits == 8 {
        return at(quad);
    }
    let mut codes = [0; 4];
    let mut add = |bytes: [u8; 4], place: usize, mask: u8, shift: u32| {
        for (code, byte) in codes.iter_mut().zip(bytes) {
            *code |= (byte >> place & mask) << shift;
        }
    };
    let mut first = 0;
    if has_nibbles(bits) {
        add(at(quad % 4), quad / 4 * 4, 15, 0);
        first += 4;
    }
    if let Some(shift) = pair_shift(bits) {
        add(at(first + quad / 4), quad % 4 * 2, 3, shift);
        first += 2;
    }
    if let Some(shift) = single_shift(bits) {
        add(at(first), quad, 1, shift);
    }
    match code.numbers() {
        Some(numbers) => codes.map(|code| numbers[usize::from(code & 15)]),
        None => codes,
    }
}
