//! Weights in blocks of four bits that candle has no kernels for. They stay in memory as they are in
//! the file and are widened to f32 a few rows at a time, on their way into a product.
//!
//! The layouts are those of ggml (`block_iq4_nl`, `block_iq4_xs`, `block_mxfp4` in `ggml-common.h`).
#![expect(clippy::inline_always, reason = "see `Kernel`")]

use half::f16;

use super::Float;

/// A run of weights that are stored together. A single number is a block of one.
pub(crate) trait Block: Copy + Send + Sync + 'static {
    /// Weights in it.
    const COLUMNS: usize;
    /// Writes the weights of blocks as f32, exactly.
    fn widen_all(blocks: &[Self], wide: &mut [f32]);
}

impl<W: Float> Block for W {
    const COLUMNS: usize = 1;

    #[inline(always)]
    fn widen_all(blocks: &[Self], wide: &mut [f32]) {
        for (wide, weight) in wide.iter_mut().zip(blocks) {
            *wide = weight.widen();
        }
    }
}

/// The numbers that the IQ4 types choose from: close together around zero, where most weights are.
const NON_LINEAR: [f32; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0,
    89.0, 113.0,
];

/// The numbers of MXFP4, doubled: two bits of exponent and one of mantissa (OCP Microscaling Formats
/// 1.0, 5.3.3).
const FP4: [f32; 16] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];

/// 32 weights: a scale in f16, then 4 bits each, the lower halves of the bytes first.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct Iq4Nl([u8; 18]);

/// 256 weights: a scale in f16, 2 bits and 4 bits of eight further scales, then eight times 32
/// weights of 4 bits.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct Iq4Xs([u8; 136]);

/// 32 weights: the exponent of a scale, then 4 bits each, the lower halves of the bytes first.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct Mxfp4([u8; 17]);

impl From<[u8; 18]> for Iq4Nl {
    fn from(bytes: [u8; 18]) -> Self {
        Self(bytes)
    }
}

impl From<[u8; 136]> for Iq4Xs {
    fn from(bytes: [u8; 136]) -> Self {
        Self(bytes)
    }
}

impl From<[u8; 17]> for Mxfp4 {
    fn from(bytes: [u8; 17]) -> Self {
        Self(bytes)
    }
}

impl Block for Iq4Nl {
    const COLUMNS: usize = 32;

    #[inline(always)]
    fn widen_all(blocks: &[Self], wide: &mut [f32]) {
        for (Self([low, high, bits @ ..]), wide) in blocks.iter().zip(wide.as_chunks_mut().0) {
            let scale = f16::from_le_bytes([*low, *high]).widen();
            widen_32(bits, &NON_LINEAR, scale, wide);
        }
    }
}

impl Block for Iq4Xs {
    const COLUMNS: usize = 256;

    #[inline(always)]
    fn widen_all(blocks: &[Self], wide: &mut [f32]) {
        for (Self([low, high, rest @ ..]), wide) in blocks.iter().zip(wide.chunks_exact_mut(256)) {
            let scale = f16::from_le_bytes([*low, *high]).widen();
            let upper = u16::from_le_bytes([rest[0], rest[1]]);
            let (lower, bits) = (&rest[2..6], rest[6..].as_chunks::<16>().0);
            let parts = bits.iter().zip(wide.as_chunks_mut().0).enumerate();
            for (part, (bits, wide)) in parts {
                let low = lower[part / 2] >> (part % 2 * 4) & 15;
                let high = (upper >> (2 * part) & 3) as u8;
                let own = f32::from(low | high << 4) - 32.0;
                widen_32(bits, &NON_LINEAR, scale * own, wide);
            }
        }
    }
}

impl Block for Mxfp4 {
    const COLUMNS: usize = 32;

    #[inline(always)]
    fn widen_all(blocks: &[Self], wide: &mut [f32]) {
        for (Self([exponent, bits @ ..]), wide) in blocks.iter().zip(wide.as_chunks_mut().0) {
            widen_32(bits, &FP4, half_power(*exponent), wide);
        }
    }
}

/// `2^(exponent - 128)`: half the scale of E8M0, whose bias is 127, because the table is doubled.
/// The two smallest are below the normal numbers of f32.
#[inline(always)]
fn half_power(exponent: u8) -> f32 {
    match exponent {
        0 => f32::from_bits(0x0020_0000),
        1 => f32::from_bits(0x0040_0000),
        _ => f32::from_bits(u32::from(exponent - 1) << 23),
    }
}

#[inline(always)]
fn widen_32(bits: &[u8; 16], table: &[f32; 16], scale: f32, wide: &mut [f32; 32]) {
    let (first, second) = wide.split_at_mut(16);
    for ((pair, first), second) in bits.iter().zip(first).zip(second) {
        *first = table[usize::from(pair & 15)] * scale;
        *second = table[usize::from(pair >> 4)] * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FloatProduct, Target};
    use super::*;

    fn widened<B: Block>(block: B) -> Vec<f32> {
        let mut wide = vec![f32::NAN; B::COLUMNS];
        B::widen_all(&[block], &mut wide);
        wide
    }

    #[test]
    fn the_nibbles_of_a_byte_are_sixteen_weights_apart() {
        let mut bytes = [0x88; 18];
        bytes[..2].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
        bytes[2 + 3] = 0xf0;
        let wide = widened(Iq4Nl(bytes));
        assert_eq!((wide[0], wide[3], wide[19]), (0.5, -63.5, 56.5));
    }

    #[test]
    fn the_scales_of_mxfp4_are_powers_of_two_down_to_the_smallest() {
        for exponent in 0..=254_u8 {
            let mut bytes = [0x21; 17];
            bytes[0] = exponent;
            let wide = widened(Mxfp4(bytes));
            let exact = 2_f64.powi(i32::from(exponent) - 127);
            assert_eq!(f64::from(wide[0]), exact * 0.5, "{exponent}");
            assert_eq!(f64::from(wide[16]), exact, "{exponent}");
        }
    }

    fn noise(count: usize) -> Vec<u8> {
        let mut state = 12_345_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..count).map(|_| next()).collect()
    }

    /// Products on every target, in every company, against sums in f64 over what is widened.
    fn check<B: Block + From<[u8; N]>, const N: usize>(scale: impl Fn(&mut [u8; N])) {
        let (outputs, columns) = (7, 512);
        let mut blocks: Vec<[u8; N]> =
            noise(outputs * columns / B::COLUMNS * N).as_chunks().0.to_vec();
        blocks.iter_mut().for_each(scale);
        let blocks: Vec<B> = blocks.into_iter().map(B::from).collect();
        let mut full = vec![0.0; outputs * columns];
        B::widen_all(&blocks, &mut full);
        for count in [1, 2, 4, 9] {
            let rows: Vec<f32> = (0..9 * columns).map(|at| (at as f32 * 0.731).sin()).collect();
            let rows = &rows[..count * columns];
            let product = |target: Target| {
                let mut out = vec![f32::NAN; outputs * count];
                target.run(FloatProduct { rows, weights: &blocks, columns, out: &mut out });
                out
            };
            for target in Target::available() {
                let out = product(target);
                for (at, got) in out.iter().enumerate() {
                    let terms = rows[at % count * columns..][..columns].iter();
                    let terms = terms.zip(&full[at / count * columns..][..columns]);
                    let exact: f64 =
                        terms.clone().map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    let size: f64 = terms.map(|(a, b)| f64::from((a * b).abs())).sum();
                    assert!((f64::from(*got) - exact).abs() <= size * 1e-6, "{target:?}");
                }
                // The weights themselves are widened by the same operations everywhere.
                let alone = |row: usize| {
                    let mut out = vec![f32::NAN; outputs];
                    let rows = &rows[row * columns..][..columns];
                    target.run(FloatProduct { rows, weights: &blocks, columns, out: &mut out });
                    out
                };
                for row in 0..count {
                    let among: Vec<f32> = out.chunks(count).map(|all| all[row]).collect();
                    assert_eq!(among, alone(row), "{target:?}: row {row} of {count}");
                }
            }
        }
    }

    #[test]
    fn products_are_close_to_exact_ones_on_every_target_and_the_same_in_every_company() {
        let half =
            |bytes: &mut [u8]| bytes[..2].copy_from_slice(&f16::from_f32(0.01).to_le_bytes());
        check::<Iq4Nl, 18>(|block| half(block));
        check::<Iq4Xs, 136>(|block| half(block));
        check::<Mxfp4, 17>(|block| block[0] = 120 + block[0] % 8);
    }
}
