//! Rows of activations in eight bits, as the kernels for packed weights take them.
#![expect(clippy::inline_always, reason = "see `Kernel`")]
#![expect(unsafe_code, reason = "pieces are written to memory that holds nothing yet")]

use std::mem::MaybeUninit;

use super::format::GROUP;
use crate::engine::kernels::{Kernel, Target, for_each};

/// Rows that a kernel takes at once.
pub(super) const PANEL: usize = 8;

/// A group of 32 columns of a row: `x = scale * code`.
///
/// A group with something that is not a finite number has the scale NaN, and so has every product
/// with it.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Piece {
    /// Signed bytes, the bits of them: -127 to 127.
    pub(super) codes: [[u8; 4]; GROUP / 4],
    pub(super) scale: f32,
    /// The sum of the codes, negated.
    pub(super) less: i32,
    /// The same of each half.
    pub(super) half_less: [i32; 2],
    /// The sum of what the codes stand for, negated.
    pub(super) under: f32,
    /// The same of each half.
    pub(super) half_under: [f32; 2],
}

/// Rows of activations, quantized once for all products with them.
#[derive(Debug)]
pub(crate) struct Activations {
    /// [panels][groups][rows of the panel]: panels of `PANEL` rows, the last with the rest.
    pieces: Box<[Piece]>,
    count: usize,
    groups: usize,
}

impl Activations {
    /// Quantizes rows [count, columns]. The columns, and some, divide into groups.
    pub(crate) fn quantize(rows: &[f32], columns: usize) -> Self {
        let (groups, width) = (columns / GROUP, columns.max(1));
        let count = rows.len() / width;
        let rows = &rows[..count * width];
        let mut pieces = Box::new_uninit_slice(count * groups);
        let panels = pieces.chunks_mut((PANEL * groups).max(1)).zip(rows.chunks(PANEL * width));
        let quantize = |rows: &[f32], pieces: &mut [MaybeUninit<Piece>]| {
            Target::best().run(Quantize { rows, columns, pieces });
        };
        if count <= PANEL {
            panels.for_each(|(pieces, rows)| quantize(rows, pieces));
        } else {
            for_each(panels, |(pieces, rows)| quantize(rows, pieces));
        }
        // SAFETY: there are as many panels of rows as of pieces, which have every piece, and `Quantize` writes
        // one for each group of each of its rows.
        Self { pieces: unsafe { pieces.assume_init() }, count, groups }
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// How many columns they have.
    pub(crate) fn columns(&self) -> usize {
        self.groups * GROUP
    }

    /// The panels, each [groups][rows of the panel].
    pub(super) fn panels(&self) -> std::slice::Chunks<'_, Piece> {
        self.pieces.chunks((PANEL * self.groups).max(1))
    }
}

impl Piece {
    const ZERO: Self = Self {
        codes: [[0; 4]; GROUP / 4],
        scale: 0.0,
        less: 0,
        half_less: [0; 2],
        under: 0.0,
        half_under: [0.0; 2],
    };
}

/// Quantizes the rows of a panel.
struct Quantize<'a> {
    /// [rows, columns]
    rows: &'a [f32],
    columns: usize,
    /// [groups, rows], all of them written.
    pieces: &'a mut [MaybeUninit<Piece>],
}

impl Kernel for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { rows, columns, pieces } = self;
        let count = rows.len() / columns;
        for (at, row) in rows.chunks_exact(columns).enumerate() {
            for (group, numbers) in row.as_chunks::<GROUP>().0.iter().enumerate() {
                pieces[group * count + at].write(quantized(numbers));
            }
        }
    }
}

#[inline(always)]
fn quantized(numbers: &[f32; GROUP]) -> Piece {
    // As whole numbers, the bits of infinity and NaN are above those of all others.
    let largest = numbers.iter().fold(0, |largest, x| largest.max(x.to_bits() & 0x7fff_ffff));
    let largest = f32::from_bits(largest);
    let mut into = Piece::ZERO;
    if !largest.is_finite() {
        (into.scale, into.under, into.half_under) = (f32::NAN, f32::NAN, [f32::NAN; 2]);
    }
    // What is smaller is nothing: its reciprocal would not be a number.
    if !(f32::MIN_POSITIVE * 256.0..=f32::MAX).contains(&largest) {
        return into;
    }
    into.scale = largest / 127.0;
    let inverse = 127.0 / largest;
    let mut codes = [0_i32; GROUP];
    for (code, x) in codes.iter_mut().zip(numbers) {
        // Adding 1.5 × 2^23 rounds to the nearest whole number and leaves it in the lowest bits.
        *code = (x * inverse + 12_582_912.0).to_bits().cast_signed() - 0x4b40_0000;
    }
    for (into, code) in into.codes.as_flattened_mut().iter_mut().zip(codes) {
        *into = code as u8;
    }
    let (first, second) = codes.split_at(GROUP / 2);
    into.half_less = [-first.iter().sum::<i32>(), -second.iter().sum::<i32>()];
    into.less = into.half_less[0] + into.half_less[1];
    into.half_under = into.half_less.map(|less| less as f32 * into.scale);
    into.under = into.less as f32 * into.scale;
    into
}
