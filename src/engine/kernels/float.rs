//! Products with matrices of floating-point weights, and of weights that are widened to those.
//!
//! Every result is added up in one order, that of the columns in lanes of 16, whatever rows stand
//! beside it and however the work is cut: a row gives the same bits alone and in any batch. A
//! general matrix library chooses its order by the shape of the problem, and does not.
#![expect(clippy::inline_always, reason = "see `Kernel`")]

use half::{bf16, f16};

use super::{Block, Kernel, multiply_add};

/// Columns that are added up side by side.
const LANES: usize = 16;
/// Rows of activations, and rows of weights, that share what they read.
const TILE: usize = 4;

/// A number that widens to f32.
pub(crate) trait Float: Copy + Send + Sync + 'static {
    /// The number as f32, exactly.
    fn widen(self) -> f32;
}

impl Float for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Float for f16 {
    /// By the bits, in a form that is vectorised: a shift to the place of f32's exponent and a
    /// product with 2^112, which is exact for all numbers, subnormal ones too.
    #[inline(always)]
    fn widen(self) -> f32 {
        let bits = u32::from(self.to_bits());
        let sign = (bits & 0x8000) << 16;
        let rest = bits & 0x7fff;
        let number = f32::from_bits(rest << 13) * f32::from_bits((127 + 112) << 23);
        // Infinity and NaN keep the highest exponent.
        let special = if rest >= 0x7c00 { 0x7f80_0000 } else { 0 };
        f32::from_bits(number.to_bits() | special | sign)
    }
}

impl Float for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

/// `out[row][at] = sum over columns of rows[row][column] * weights[at][column]`.
pub(crate) struct FloatProduct<'a, W> {
    /// [rows, columns]
    pub(crate) rows: &'a [f32],
    /// [outputs, columns / columns of a block]
    pub(crate) weights: &'a [W],
    /// Columns of both.
    pub(crate) columns: usize,
    /// [outputs, rows], overwritten.
    pub(crate) out: &'a mut [f32],
}

impl<W: Block> Kernel for FloatProduct<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { rows, weights, columns, out } = self;
        let count = rows.len() / columns;
        let mut widened = vec![0.0_f32; TILE * columns];
        let tiles = weights.chunks(TILE * (columns / W::COLUMNS));
        for (weights, out) in tiles.zip(out.chunks_mut(TILE * count)) {
            let wide = &mut widened[..weights.len() * W::COLUMNS];
            W::widen_all(weights, wide);
            let outputs = wide.len() / columns;
            let mut row = 0;
            while row < count {
                let taken = (count - row).min(TILE);
                let rows = &rows[row * columns..(row + taken) * columns];
                let place = Place { out: &mut *out, count, row };
                match (taken, outputs) {
                    // More at once are more sums than there are registers.
                    (TILE, TILE) => {
                        for (pair, weights) in wide.chunks_exact(2 * columns).enumerate() {
                            let out = &mut place.out[2 * pair * count..];
                            tile::<TILE, 2, FUSED>(
                                rows,
                                weights,
                                columns,
                                Place { out, count, row },
                            );
                        }
                    }
                    (1, TILE) => tile::<1, TILE, FUSED>(rows, wide, columns, place),
                    _ => singly::<FUSED>(rows, wide, columns, place),
                }
                row += taken;
            }
        }
    }
}

/// Where a tile's results go.
struct Place<'a> {
    out: &'a mut [f32],
    count: usize,
    row: usize,
}

#[inline(always)]
fn tile<const R: usize, const W: usize, const FUSED: bool>(
    rows: &[f32],
    weights: &[f32],
    columns: usize,
    place: Place<'_>,
) {
    let rows: [&[f32]; R] = std::array::from_fn(|at| &rows[at * columns..(at + 1) * columns]);
    let weights: [&[f32]; W] = std::array::from_fn(|at| &weights[at * columns..(at + 1) * columns]);
    let whole = columns / LANES * LANES;
    let mut sums = [[[0.0_f32; LANES]; W]; R];
    for at in (0..whole).step_by(LANES) {
        let weights: [[f32; LANES]; W] = std::array::from_fn(|w| chunk(weights[w], at));
        for (row, sums) in rows.iter().zip(&mut sums) {
            let row = chunk(row, at);
            for (weights, sums) in weights.iter().zip(sums) {
                for ((sum, x), weight) in sums.iter_mut().zip(row).zip(weights) {
                    *sum = multiply_add::<FUSED>(x, *weight, *sum);
                }
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (w, lanes) in sums.iter().enumerate() {
            let sum = finish::<FUSED>(lanes, &rows[r][whole..], &weights[w][whole..]);
            place.out[w * place.count + place.row + r] = sum;
        }
    }
}

/// Some columns of a row.
#[inline(always)]
fn chunk(row: &[f32], at: usize) -> [f32; LANES] {
    let mut chunk = [0.0; LANES];
    chunk.copy_from_slice(&row[at..at + LANES]);
    chunk
}

/// What is left over at the edges of the tiles, one result after the other.
#[inline(always)]
fn singly<const FUSED: bool>(rows: &[f32], weights: &[f32], columns: usize, place: Place<'_>) {
    for (r, row) in rows.chunks_exact(columns).enumerate() {
        for (w, weights) in weights.chunks_exact(columns).enumerate() {
            let into = Place { out: &mut *place.out, count: place.count, row: place.row + r };
            let out = &mut into.out[w * into.count..];
            tile::<1, 1, FUSED>(row, weights, columns, Place { out, ..into });
        }
    }
}

#[inline(always)]
fn finish<const FUSED: bool>(lanes: &[f32; LANES], row: &[f32], weights: &[f32]) -> f32 {
    let mut sums = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    row.iter().zip(weights).fold(sums[0], |sum, (a, b)| multiply_add::<FUSED>(*a, *b, sum))
}

#[cfg(test)]
mod tests {
    use super::super::Target;
    use super::*;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn product<W: Float>(target: Target, rows: &[f32], weights: &[W], columns: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; rows.len() / columns * (weights.len() / columns)];
        target.run(FloatProduct { rows, weights, columns, out: &mut out });
        out
    }

    #[test]
    fn products_are_close_to_exact_ones_on_every_target() {
        for (count, outputs, columns) in [(1, 1, 1), (3, 5, 17), (4, 8, 64), (9, 13, 100)] {
            let (rows, weights) = (numbers(count * columns, 1), numbers(outputs * columns, 2));
            for target in Target::available() {
                let out = product(target, &rows, &weights, columns);
                for (at, got) in out.iter().enumerate() {
                    let row = &rows[at % count * columns..][..columns];
                    let weights = &weights[at / count * columns..][..columns];
                    let terms = row.iter().zip(weights).map(|(a, b)| f64::from(*a) * f64::from(*b));
                    let exact: f64 = terms.sum();
                    assert!((f64::from(*got) - exact).abs() < 1e-5, "{target:?}: {got}, {exact}");
                }
            }
        }
    }

    #[test]
    fn a_row_gives_the_same_bits_in_every_company() {
        let (columns, outputs) = (129, 11);
        let (rows, weights) = (numbers(40 * columns, 3), numbers(outputs * columns, 4));
        for target in Target::available() {
            let alone = product(target, &rows[..columns], &weights, columns);
            for count in 2..40 {
                let out = product(target, &rows[..count * columns], &weights, columns);
                let first: Vec<u32> = out.chunks(count).map(|row| row[0].to_bits()).collect();
                let alone: Vec<u32> = alone.iter().map(|x| x.to_bits()).collect();
                assert_eq!(first, alone, "{target:?}, {count} rows");
            }
        }
    }

    #[test]
    fn every_half_widens_exactly() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            let (ours, theirs) = (half.widen(), f32::from(half));
            assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()));
            let brain = bf16::from_bits(bits);
            let (ours, theirs) = (brain.widen(), f32::from(brain));
            assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()));
        }
    }
}
