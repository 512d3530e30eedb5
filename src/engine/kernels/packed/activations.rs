//! Rows of activations in eight bits, as the kernels for packed weights take them.
#![expect(clippy::inline_always, reason = "see `Kernel`")]
#![expect(unsafe_code, reason = "pieces are written to memory that holds nothing yet")]

use std::mem::MaybeUninit;

use super::Instructions;
use super::format::GROUP;
use crate::engine::kernels::{Kernel, Target, for_each};

/// Rows that a kernel takes at once.
pub(super) const PANEL: usize = 8;
/// Rows that the kernel for tiles of bytes takes at once.
pub(super) const WIDE: usize = 16;

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

/// The same of sixteen rows, for products of tiles of bytes.
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "no other machine has such tiles that are used here")
)]
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct WidePiece {
    pub(super) codes: [[u8; GROUP]; WIDE],
    pub(super) scale: [f32; WIDE],
    pub(super) under: [f32; WIDE],
    pub(super) half_under: [[f32; WIDE]; 2],
}

/// Rows of activations, quantized once for all products with them.
#[derive(Debug)]
pub(crate) struct Activations {
    /// The first rows, where the instructions take so many at once, [panels][groups]: panels of `WIDE` rows.
    wide: Box<[WidePiece]>,
    /// The other rows, [panels][groups][rows of the panel]: panels of `PANEL` rows, the last with the rest.
    pieces: Box<[Piece]>,
    count: usize,
    groups: usize,
    instructions: Instructions,
}

impl Activations {
    /// Quantizes rows [count, columns] for products by some instructions. The columns, and some, divide
    /// into groups.
    pub(crate) fn quantize(rows: &[f32], columns: usize, instructions: Instructions) -> Self {
        Self::quantize_by(Target::best(), rows, columns, instructions)
    }

    /// The same with the build for a target.
    pub(crate) fn quantize_by(
        target: Target,
        rows: &[f32],
        columns: usize,
        instructions: Instructions,
    ) -> Self {
        let (groups, width) = (columns / GROUP, columns.max(1));
        let count = rows.len().checked_div(columns).unwrap_or(0);
        let panels = if instructions.take_wide_panels() { count / WIDE } else { 0 };
        let in_wide = panels * WIDE;
        let (of_wide, rows) = rows[..count * width].split_at(in_wide * width);
        let mut wide = Box::new_uninit_slice(panels * groups);
        let panels = wide.chunks_mut(groups.max(1)).zip(of_wide.chunks_exact(WIDE * width));
        for_each(panels, |(wide, rows)| target.run(QuantizeWide { rows, columns, wide }));
        let mut pieces = Box::new_uninit_slice((count - in_wide) * groups);
        let panels = pieces.chunks_mut((PANEL * groups).max(1)).zip(rows.chunks(PANEL * width));
        let quantize = |rows: &[f32], pieces: &mut [MaybeUninit<Piece>]| {
            target.run(Quantize { rows, columns, pieces });
        };
        if count - in_wide <= PANEL {
            panels.for_each(|(pieces, rows)| quantize(rows, pieces));
        } else {
            for_each(panels, |(pieces, rows)| quantize(rows, pieces));
        }
        // SAFETY: there are as many panels of rows as of pieces, which have every piece, and `Quantize` writes
        // one for each group of each of its rows, `QuantizeWide` one for each group.
        let (wide, pieces) = unsafe { (wide.assume_init(), pieces.assume_init()) };
        Self { wide, pieces, count, groups, instructions }
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// How many columns they have.
    pub(crate) fn columns(&self) -> usize {
        self.groups * GROUP
    }

    /// What they are multiplied by.
    pub(super) fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// The wide panels, each [groups].
    #[cfg(target_arch = "x86_64")]
    pub(super) fn wide_panels(&self) -> std::slice::ChunksExact<'_, WidePiece> {
        self.wide.chunks_exact(self.groups.max(1))
    }

    /// How many rows the wide panels have.
    pub(super) fn in_wide_panels(&self) -> usize {
        self.wide.len() / self.groups.max(1) * WIDE
    }

    /// The other panels, each [groups][rows of the panel].
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

impl WidePiece {
    const ZERO: Self = Self {
        codes: [[0; GROUP]; WIDE],
        scale: [0.0; WIDE],
        under: [0.0; WIDE],
        half_under: [[0.0; WIDE]; 2],
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

/// Quantizes the rows of a wide panel.
struct QuantizeWide<'a> {
    /// [rows, columns]
    rows: &'a [f32],
    columns: usize,
    /// [groups], all of them written.
    wide: &'a mut [MaybeUninit<WidePiece>],
}

impl Kernel for QuantizeWide<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { rows, columns, wide } = self;
        for (group, into) in wide.iter_mut().enumerate() {
            let mut wide = WidePiece::ZERO;
            for (at, row) in rows.chunks_exact(columns).enumerate() {
                let piece = quantized(&row.as_chunks::<GROUP>().0[group]);
                wide.codes[at].copy_from_slice(piece.codes.as_flattened());
                (wide.scale[at], wide.under[at]) = (piece.scale, piece.under);
                for (half, under) in wide.half_under.iter_mut().zip(piece.half_under) {
                    half[at] = under;
                }
            }
            into.write(wide);
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
