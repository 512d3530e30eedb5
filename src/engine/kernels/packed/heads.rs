//! The scales and minima of 16 rows: kept as the file has them, lane beside lane, and widened to f32
//! on their way into a product. The widening is exact: at most 11 bits times 8.

use half::f16;

use super::file_blocks::FileBlock;
use super::format::Heads;
use super::lines::{LANES, Lanes};
use super::tile::Instructions;

/// Bytes of an f16 number of each of 16 rows.
const HALVES: usize = 2 * LANES;

/// What a byte says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Byte {
    Unsigned,
    Signed,
    /// The lower four bits count.
    Low,
    /// The upper four bits count.
    High,
}

/// Writes what one row has into the place of a block. `into` has the bytes of 16 rows.
pub(super) fn put(heads: Heads, block: &FileBlock, lane: usize, into: &mut [u8]) {
    let halves = match heads {
        Heads::Exponent => 0,
        Heads::Scale | Heads::Scales | Heads::FineScales => 1,
        Heads::ScaleAndBase | Heads::ScalesAndMinima | Heads::FineScalesAndMinima => 2,
    };
    let (halves, whole) = into.split_at_mut(halves * HALVES);
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

/// Widens what 16 rows have, [blocks, bytes of 16 rows by a block], into scales and, where there are
/// any, minima, [groups, parts].
pub(super) fn widen(
    heads: Heads,
    bytes: &[u8],
    scales: &mut [Lanes],
    minima: &mut [Lanes],
    with: Instructions,
) {
    let blocks = bytes.chunks_exact(heads.bytes());
    match heads {
        Heads::Scale => with.halves(bytes, HALVES, scales),
        Heads::ScaleAndBase => {
            with.halves(bytes, 2 * HALVES, scales);
            with.halves(bytes.get(HALVES..).unwrap_or_default(), 2 * HALVES, minima);
            // What is added is a minimum that is taken away, negated.
            minima.iter_mut().flat_map(|lanes| &mut lanes.0).for_each(|base| *base = -*base);
        }
        Heads::ScalesAndMinima => {
            let groups = scales.chunks_exact_mut(8).zip(minima.chunks_exact_mut(8));
            for (block, (scales, minima)) in blocks.zip(groups) {
                let (halves, whole) = block.split_at(2 * HALVES);
                let [scale, minimum] = two(halves, with);
                with.multiply_bytes(&scale, &whole[..8 * LANES], Byte::Unsigned, scales);
                with.multiply_bytes(&minimum, &whole[8 * LANES..], Byte::Unsigned, minima);
            }
        }
        Heads::FineScalesAndMinima => {
            let groups = scales.chunks_exact_mut(16).zip(minima.chunks_exact_mut(16));
            for (block, (scales, minima)) in blocks.zip(groups) {
                let (halves, both) = block.split_at(2 * HALVES);
                let [scale, minimum] = two(halves, with);
                with.multiply_bytes(&scale, both, Byte::Low, scales);
                with.multiply_bytes(&minimum, both, Byte::High, minima);
            }
        }
        Heads::Scales | Heads::FineScales => {
            let parts = if heads == Heads::Scales { 8 } else { 16 };
            for (block, scales) in blocks.zip(scales.chunks_exact_mut(parts)) {
                let mut scale = [Lanes::ZERO];
                with.halves(&block[..HALVES], HALVES, &mut scale);
                with.multiply_bytes(&scale[0], &block[HALVES..], Byte::Signed, scales);
            }
        }
        Heads::Exponent => {
            for (block, scales) in blocks.zip(scales) {
                for (scale, exponent) in scales.0.iter_mut().zip(block) {
                    *scale = half_power(*exponent);
                }
            }
        }
    }
}

/// `2^(exponent - 128)`: half the scale of E8M0, whose bias is 127, because the numbers of MXFP4 are
/// doubled. The two smallest are below the normal numbers of f32.
fn half_power(exponent: u8) -> f32 {
    let normal = u32::from(exponent).wrapping_sub(1) << 23;
    f32::from_bits(if exponent < 2 { 0x0020_0000 << exponent } else { normal })
}

fn two(halves: &[u8], with: Instructions) -> [Lanes; 2] {
    let mut two = [Lanes::ZERO; 2];
    with.halves(halves, HALVES, &mut two);
    two
}

/// Reads f16 numbers of 16 rows, a step of bytes apart. The twin of `avx2::halves`.
pub(super) fn halves(bytes: &[u8], step: usize, into: &mut [Lanes]) {
    for (bytes, into) in bytes.chunks(step).zip(into) {
        for (bytes, into) in bytes.as_chunks::<2>().0.iter().zip(&mut into.0) {
            *into = f16::from_le_bytes(*bytes).to_f32();
        }
    }
}

/// Multiplies a number of each of 16 rows with bytes, [groups, rows]. The twin of
/// `avx2::multiply_bytes`.
pub(super) fn multiply_bytes(by: &Lanes, bytes: &[u8], byte: Byte, into: &mut [Lanes]) {
    let number = |bits: u8| match byte {
        Byte::Unsigned => f32::from(bits),
        Byte::Signed => f32::from(bits.cast_signed()),
        Byte::Low => f32::from(bits & 15),
        Byte::High => f32::from(bits >> 4),
    };
    for (bytes, into) in bytes.chunks_exact(LANES).zip(into) {
        for ((into, by), bits) in into.0.iter_mut().zip(by.0).zip(bytes) {
            *into = by * number(*bits);
        }
    }
}
