//! The scales and minima of 16 rows: kept as the file has them, lane beside lane, and widened to f32
//! on their way into a product. The widening is exact.
//!
//! First come numbers of f16, one for each row: the scale of the block and, where there are minima,
//! what multiplies those. Behind them are bytes that multiply the two, one for each row and part of
//! the block.

use half::f16;

use super::file_blocks::FileBlock;
use super::format::{Heads, Layout};
use super::lines::{LANES, Lanes};

/// Bytes of an f16 number of each of 16 rows.
pub(super) const HALVES: usize = 2 * LANES;

/// Writes what one row has into the place of a block. `into` has the bytes of 16 rows.
pub(super) fn put(heads: Heads, block: &FileBlock, lane: usize, into: &mut [u8]) {
    let (halves, whole) = into.split_at_mut(heads.halves() * HALVES);
    for (half, into) in [block.scale, block.base].iter().zip(halves.chunks_exact_mut(HALVES)) {
        into[2 * lane..2 * lane + 2].copy_from_slice(half);
    }
    let (scales, minima) = match heads {
        Heads::Scale | Heads::ScaleAndBase => return,
        Heads::ScalesAndMinima => (&block.scales[..8], &block.minima[..]),
        Heads::FineScalesAndMinima | Heads::FineScales => (&block.scales[..], &[][..]),
        Heads::Scales => (&block.scales[..8], &[][..]),
        Heads::Exponent => (&block.scales[..1], &[][..]),
    };
    for (number, into) in scales.iter().chain(minima).zip(whole.chunks_exact_mut(LANES)) {
        into[lane] = *number;
    }
}

/// The scale of the block, and what multiplies its minima or, negated, is added: nothing where there
/// are none.
pub(super) fn of_block(layout: Layout, heads: &[u8]) -> [Lanes; 2] {
    let half = |number: usize| {
        let mut lanes = Lanes::ZERO;
        let bytes = heads[number * HALVES..][..HALVES].as_chunks::<2>().0;
        for (lane, bytes) in lanes.0.iter_mut().zip(bytes) {
            *lane = f16::from_le_bytes(*bytes).to_f32();
        }
        lanes
    };
    match layout.heads() {
        Heads::Exponent => {
            let mut lanes = Lanes::ZERO;
            for (lane, exponent) in lanes.0.iter_mut().zip(heads) {
                *lane = half_power(*exponent);
            }
            [lanes, Lanes::ZERO]
        }
        Heads::Scale | Heads::Scales | Heads::FineScales => [half(0), Lanes::ZERO],
        Heads::ScaleAndBase => [half(0), Lanes(half(1).0.map(|base| -base))],
        Heads::ScalesAndMinima | Heads::FineScalesAndMinima => [half(0), half(1)],
    }
}

/// What multiplies the scale of the block in one of its parts, and what multiplies that of the minima.
pub(super) fn of_part(layout: Layout, heads: &[u8], part: usize) -> [Lanes; 2] {
    let (_, whole) = heads.split_at(layout.heads().halves() * HALVES);
    let lanes = |part: usize, number: fn(u8) -> f32| {
        let mut lanes = Lanes::ZERO;
        for (lane, byte) in lanes.0.iter_mut().zip(&whole[part * LANES..]) {
            *lane = number(*byte);
        }
        lanes
    };
    match layout.heads() {
        Heads::Scale | Heads::ScaleAndBase | Heads::Exponent => [Lanes([1.0; LANES]); 2],
        Heads::ScalesAndMinima => [lanes(part, f32::from), lanes(part + 8, f32::from)],
        Heads::FineScalesAndMinima => {
            [lanes(part, |byte| f32::from(byte & 15)), lanes(part, |byte| f32::from(byte >> 4))]
        }
        Heads::Scales | Heads::FineScales => {
            [lanes(part, |byte| f32::from(byte.cast_signed())), Lanes::ZERO]
        }
    }
}

/// `2^(exponent - 128)`: half the scale of E8M0, whose bias is 127, because the numbers of MXFP4 are
/// doubled. The two smallest are below the normal numbers of f32.
fn half_power(exponent: u8) -> f32 {
    let normal = u32::from(exponent).wrapping_sub(1) << 23;
    f32::from_bits(if exponent < 2 { 0x0020_0000 << exponent } else { normal })
}
