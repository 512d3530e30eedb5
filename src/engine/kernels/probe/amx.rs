//! Products of matrices of bytes (AMX): all pieces of a row with all of a column, of which those of the same
//! place are in the sum.

#![expect(unsafe_code, reason = "the tiles of a thread are laid out by one at a time")]

use std::num::NonZero;

use super::super::amx::Amx;
use super::super::room::Line;
use super::{COLUMNS, DEPTH, Tile, black_box};

/// Pieces of a row, of 64 bytes.
const PIECES: usize = DEPTH / 64;
/// So many products of pieces are made for one that counts.
pub(super) const SURPLUS: usize = PIECES;

pub(super) fn sum(amx: Amx, tile: &Tile, times: usize) -> i32 {
    let Some(times) = NonZero::new(times) else { return 0 };
    // Laid out once for many times.
    let right: [[Line; PIECES]; COLUMNS] = tile.columns.map(|column| in_quads(&column));
    // SAFETY: what measures uses no tiles otherwise.
    let sums = unsafe { amx.add_up(black_box(&tile.rows), black_box(&right), times) };
    let places = |sums: &[[i32; PIECES]; 16]| (0..PIECES).map(|at| sums[at][at]).sum::<i32>();
    sums.iter().fold(0, |sum, sums| sum.wrapping_add(places(&sums.0)))
}

/// The pieces of a column beside each other, by four bytes.
fn in_quads(column: &[i8; DEPTH]) -> [Line; PIECES] {
    let mut lines = [Line::ZERO; PIECES];
    for (piece, bytes) in column.as_chunks::<64>().0.iter().enumerate() {
        for (line, quad) in lines.iter_mut().zip(bytes.as_chunks::<4>().0) {
            line.0.as_chunks_mut::<4>().0[piece] = quad.map(i8::cast_unsigned);
        }
    }
    lines
}
