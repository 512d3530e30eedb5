//! Packed weights by sixteen rows, and which kernel multiplies with them.
#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(
        unsafe_code,
        reason = "calling a function built for an instruction set that was detected"
    )
)]
#![expect(clippy::inline_always, reason = "the plain kernel is compiled once for each target")]

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::OnceLock;

use super::TileSize;
use super::activations::{Activations, PANEL, Piece, WIDE};
use super::format::Layout;
use super::lines::{LANES, Lanes, Line};
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::portable::Portable;
#[cfg(target_arch = "x86_64")]
use super::{amx, avx2, avx512};
use crate::engine::kernels::Target;
#[cfg(target_arch = "x86_64")]
use crate::engine::kernels::amx::Amx;
#[cfg(target_arch = "aarch64")]
use crate::engine::kernels::arm::{Dotprod, I8mm};

/// Sixteen rows of weights.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub(super) layout: Layout,
    /// [groups, lines of a group]
    pub(super) lines: &'a [Line],
    /// [blocks, bytes of 16 rows by a block]
    pub(super) heads: &'a [u8],
}

/// Tiles that follow each other in a matrix.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a> {
    pub(super) layout: Layout,
    /// [tiles, groups, lines of a group]
    pub(super) lines: &'a [Line],
    /// [tiles, blocks, bytes of 16 rows by a block]
    pub(super) heads: &'a [u8],
    /// What one takes.
    pub(super) size: TileSize,
}

impl<'a> Tiles<'a> {
    /// How many there are.
    pub(super) fn count(self) -> usize {
        self.lines.len() / self.size.lines.max(1)
    }

    /// Some of them.
    pub(super) fn some(self, range: Range<usize>) -> Self {
        Self {
            lines: &self.lines[range.start * self.size.lines..range.end * self.size.lines],
            heads: &self.heads
                [range.start * self.size.head_bytes..range.end * self.size.head_bytes],
            ..self
        }
    }

    /// One after the other.
    #[inline]
    pub(super) fn each(self) -> impl Iterator<Item = Tile<'a>> {
        self.lines
            .chunks_exact(self.size.lines.max(1))
            .zip(self.heads.chunks_exact(self.size.head_bytes.max(1)))
            .map(move |(lines, heads)| Tile { layout: self.layout, lines, heads })
    }
}

/// Where the results of some tiles go: for each row of activations those of all the tiles.
pub(super) type Results<'a> = [&'a mut [MaybeUninit<f32>]];

/// Writes the results of the `at`th tile for a row: sixteen, or what is left of the last.
#[inline]
pub(super) fn write(of_row: &mut [MaybeUninit<f32>], at: usize, lanes: &Lanes) {
    let out = &mut of_row[at * LANES..];
    if let Some(whole) = out.first_chunk_mut::<LANES>() {
        whole.write_copy_of_slice(&lanes.0);
    } else {
        let width = out.len();
        out.write_copy_of_slice(&lanes.0[..width]);
    }
}

/// Has one tile after the other multiplied, into the sums of its rows, and writes those.
#[inline(always)]
pub(super) fn tile_by_tile(
    tiles: Tiles<'_>,
    out: &mut Results<'_>,
    mut multiply: impl FnMut(Tile<'_>, &mut [Lanes]),
) {
    let mut sums = [Lanes::ZERO; PANEL];
    let sums = &mut sums[..out.len()];
    for (at, tile) in tiles.each().enumerate() {
        multiply(tile, sums);
        for (sum, out) in sums.iter().zip(&mut *out) {
            write(out, at, sum);
        }
    }
}

/// Instructions that there is a kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// Whatever the compiler makes of plain Rust.
    Portable,
    /// Products of bytes in two steps, 256 bits wide.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Products of bytes in one step, 512 bits wide.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// Products of whole matrices of bytes, where there are many rows.
    #[cfg(target_arch = "x86_64")]
    Amx(Amx),
    /// Products of bytes in two steps, 128 bits wide.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// Products of bytes in one step, 128 bits wide.
    #[cfg(target_arch = "aarch64")]
    Dotprod(Dotprod),
    /// The same for two rows at a time.
    #[cfg(target_arch = "aarch64")]
    I8mm(Dotprod, I8mm),
}

impl Instructions {
    /// What is computed with: the best of this machine for what the rest is computed with.
    pub(crate) fn best() -> Self {
        static BEST: OnceLock<Instructions> = OnceLock::new();
        *BEST.get_or_init(|| Self::of(Target::best()))
    }

    /// All that this machine has, the best last.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        let mut all: Vec<_> = Target::available().into_iter().map(Self::of).collect();
        all.dedup();
        all
    }

    /// The best of this machine that a target allows.
    fn of(target: Target) -> Self {
        match target {
            Target::Portable => Self::Portable,
            #[cfg(target_arch = "x86_64")]
            Target::Avx2 | Target::Avx512 | Target::Amx => {
                let has_halves = is_x86_feature_detected!("f16c");
                let has_products = is_x86_feature_detected!("avx512vnni");
                match (has_halves, has_products && target != Target::Avx2) {
                    (false, _) => Self::Portable,
                    (true, false) => Self::Avx2,
                    (true, true) => match Amx::detect() {
                        Some(amx) if target == Target::Amx => Self::Amx(amx),
                        _ => Self::Avx512Vnni,
                    },
                }
            }
            #[cfg(target_arch = "aarch64")]
            Target::Neon => Self::Neon,
            #[cfg(target_arch = "aarch64")]
            Target::Dotprod | Target::I8mm => match (Dotprod::detect(), I8mm::detect()) {
                (Some(dotprod), Some(i8mm)) if target == Target::I8mm => Self::I8mm(dotprod, i8mm),
                (Some(dotprod), _) => Self::Dotprod(dotprod),
                (None, _) => Self::Neon,
            },
        }
    }

    /// Whether activations come in wide panels, too.
    pub(super) fn take_wide_panels(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if matches!(self, Self::Amx(_)) {
            return true;
        }
        false
    }

    /// Rows that are multiplied together: a part of so many costs as much as all.
    pub(crate) fn panel_rows(self) -> usize {
        if self.take_wide_panels() { WIDE } else { PANEL }
    }

    /// Multiplies tiles with all rows, with the instructions that these were quantized for, and writes all
    /// of `out`, [rows].
    pub(super) fn multiply_all(tiles: Tiles<'_>, rows: &Activations, out: &mut Results<'_>) {
        assert_eq!(out.len(), rows.count(), "a place for each row");
        let own = rows.instructions();
        let (in_wide, rest) = out.split_at_mut(rows.in_wide_panels());
        #[cfg(target_arch = "x86_64")]
        if let Self::Amx(amx) = own
            && !in_wide.is_empty()
        {
            // SAFETY: `of` gives this only where the instructions were detected, and the variants are
            // made nowhere else.
            unsafe { amx::multiply(amx, tiles, rows.wide_panels(), in_wide) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        assert!(in_wide.is_empty(), "nothing else takes wide panels");
        for (pieces, out) in rows.panels().zip(rest.chunks_mut(PANEL)) {
            own.multiply(tiles, pieces, out);
        }
    }

    /// Multiplies tiles with up to `PANEL` rows, [groups, rows], and writes all of `out`, [rows].
    pub(super) fn multiply(self, tiles: Tiles<'_>, pieces: &[Piece], out: &mut Results<'_>) {
        assert!(out.len() <= PANEL, "a panel has so many rows at most");
        match self {
            Self::Portable => Target::best().run(Portable { tiles, pieces, out }),
            // SAFETY: `of` gives this only where the instructions were detected, and the
            // variants are made nowhere else.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::multiply(tiles, pieces, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni | Self::Amx(_) => unsafe { avx512::multiply(tiles, pieces, out) },
            #[cfg(target_arch = "aarch64")]
            Self::Neon => tile_by_tile(tiles, out, |tile, sums| {
                // SAFETY: NEON is part of 64-bit ARM.
                unsafe { neon::multiply(neon::InPairs, tile, pieces, sums) }
            }),
            #[cfg(target_arch = "aarch64")]
            Self::I8mm(_, i8mm) if out.len() > 1 => tile_by_tile(tiles, out, |tile, sums| {
                // SAFETY: as above.
                unsafe { neon::multiply_pairs(i8mm, tile, pieces, sums) }
            }),
            #[cfg(target_arch = "aarch64")]
            Self::Dotprod(dotprod) | Self::I8mm(dotprod, _) => {
                tile_by_tile(tiles, out, |tile, sums| {
                    // SAFETY: as above.
                    unsafe { neon::multiply(dotprod, tile, pieces, sums) }
                })
            }
        }
    }
}
