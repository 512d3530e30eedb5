//! The kernel for tiles of bytes (AMX), for prompts and crowds.
//!
//! A few tiles of weights are taken out of their packed form once, for a part of the columns, and stay in the
//! second cache while all rows pass by. The processor multiplies whole matrices of bytes; what comes of
//! each group is scaled by the vector unit, in the order and with the operations of `avx512`: the bits
//! are the same. Machines without such tiles hold nothing of this in their tests.
#![expect(unsafe_code, reason = "vectors are read from memory and written to it")]

use std::arch::x86_64::{
    __m512, _MM_HINT_ET0, _mm_prefetch, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_fnmadd_ps,
    _mm512_load_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_store_ps, _mm512_store_si512, _mm512_storeu_ps, _mm512_sub_epi8,
};
use std::cell::RefCell;
use std::slice::ChunksExact;

use super::activations::WidePiece;
use super::avx512::{minima, of_block, scales, unpack};
use super::dispatch::for_layout;
use super::format::{Layout, layout};
use super::lines::{LANES, Lanes, Line};
use super::tile::{Results, Tiles};
use crate::engine::kernels::amx::{Amx, ROWS, Sums, Tiles as TileUnit};

/// Groups of columns that are multiplied at a time: a panel of so many stays in the nearest cache.
const GROUPS: usize = 32;
/// Tiles of weights that are taken out of their packed form at a time.
const TILES: usize = 8;
/// How many groups are multiplied before the first of them is scaled. What a tile stored can be read once it is
/// in the cache, and not before: with fewer the two kinds of work wait for each other.
const AHEAD: usize = 2;
const RING: usize = 4;
/// Groups of the largest block.
const OF_BLOCK: usize = 8;

const _: () = assert!(AHEAD < RING && GROUPS.is_multiple_of(OF_BLOCK));

/// A group of columns of 16 rows of weights, taken out of its packed form.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Group {
    /// Signed.
    codes: [Line; 8],
    /// By the parts of the group.
    scales: [Lanes; 2],
    minima: [Lanes; 2],
}

/// What a thread takes out of the packed form at a time, and what comes of it: 204 KiB, which it keeps.
struct Open {
    /// [tiles, groups]
    groups: Box<[Group]>,
    /// [tiles, blocks]: the scale, and what multiplies minima.
    blocks: Box<[[Lanes; 2]]>,
    dots: Box<[Dots; RING]>,
}

thread_local! {
    static OPEN: RefCell<Open> = RefCell::new(Open::new());
}

impl Open {
    fn new() -> Self {
        let group =
            Group { codes: [Line::ZERO; 8], scales: [Lanes::ZERO; 2], minima: [Lanes::ZERO; 2] };
        Self {
            groups: vec![group; TILES * GROUPS].into(),
            blocks: vec![[Lanes::ZERO; 2]; TILES * GROUPS / OF_BLOCK].into(),
            dots: Box::new([[Sums::ZERO; 2]; RING]),
        }
    }
}

/// Multiplies tiles with panels of rows, each [groups], and writes all of `out`, [rows].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
pub(super) fn multiply(
    amx: Amx,
    tiles: Tiles<'_>,
    panels: ChunksExact<'_, WidePiece>,
    out: &mut Results<'_>,
) {
    for_layout!(tiles.layout, by_parts(amx, tiles, panels, out));
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
fn by_parts<const LAYOUT: usize>(
    amx: Amx,
    tiles: Tiles<'_>,
    panels: ChunksExact<'_, WidePiece>,
    out: &mut Results<'_>,
) {
    OPEN.with_borrow_mut(|open| {
        if const { layout(LAYOUT).code().parts() } == 1 {
            // SAFETY: nothing below lays out tiles, and nothing above does: it holds `OPEN`.
            all::<LAYOUT, 8>(&unsafe { amx.lay_out() }, open, tiles, panels, out);
        } else {
            // SAFETY: as above.
            all::<LAYOUT, 4>(&unsafe { amx.lay_out() }, open, tiles, panels, out);
        }
    });
}

/// Multiplies tiles with all panels, some tiles and some columns at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
fn all<const LAYOUT: usize, const QUADS: usize>(
    unit: &TileUnit<QUADS>,
    open: &mut Open,
    tiles: Tiles<'_>,
    panels: ChunksExact<'_, WidePiece>,
    out: &mut Results<'_>,
) {
    let groups = panels.clone().next().map_or(0, <[_]>::len);
    for first in (0..tiles.count()).step_by(TILES) {
        let some = tiles.some(first..tiles.count().min(first + TILES));
        for start in (0..groups).step_by(GROUPS) {
            let range = start..groups.min(start + GROUPS);
            open.take::<LAYOUT>(some, range.clone());
            let place = Place { first, count: some.count(), is_first: start == 0 };
            for (panel, out) in panels.clone().zip(out.chunks_mut(ROWS)) {
                panel_by_tiles::<LAYOUT, QUADS>(unit, open, &panel[range.clone()], place, out);
            }
        }
    }
}

impl Open {
    /// Takes some groups of tiles out of their packed form.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
    fn take<const LAYOUT: usize>(&mut self, tiles: Tiles<'_>, range: std::ops::Range<usize>) {
        let layout = const { layout(LAYOUT) };
        let (lines, head_bytes) = (layout.code().lines(), layout.heads().bytes());
        let of_tiles = self
            .groups
            .chunks_exact_mut(GROUPS)
            .zip(self.blocks.chunks_exact_mut(GROUPS / OF_BLOCK));
        for (tile, (groups, blocks)) in tiles.each().zip(of_tiles) {
            let packed = tile.lines[range.start * lines..range.end * lines].chunks_exact(lines);
            let block =
                |group: usize| &tile.heads[group / layout.groups() * head_bytes..][..head_bytes];
            for ((group, lines), into) in range.clone().zip(packed).zip(groups) {
                open_group::<LAYOUT>(lines, block(group), group % layout.groups(), into);
            }
            if layout.groups() > 1 {
                for (group, into) in range.clone().step_by(layout.groups()).zip(blocks) {
                    for (into, lanes) in into.iter_mut().zip(of_block::<LAYOUT>(block(group))) {
                        store(into, lanes);
                    }
                }
            }
        }
    }
}

/// Takes a group out of its packed form.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
#[inline]
fn open_group<const LAYOUT: usize>(lines: &[Line], heads: &[u8], group: usize, into: &mut Group) {
    let offset = _mm512_set1_epi8(const { layout(LAYOUT).code().offset() as i8 });
    for (into, codes) in into.codes.iter_mut().zip(unpack::<LAYOUT>(lines)) {
        // SAFETY: `Line` is 64 bytes, in their place.
        unsafe { _mm512_store_si512(into.0.as_mut_ptr().cast(), _mm512_sub_epi8(codes, offset)) };
    }
    let has_minima = const { layout(LAYOUT).code().has_minima() };
    if const { layout(LAYOUT).groups() } == 1 {
        let [scale, base] = of_block::<LAYOUT>(heads);
        store(&mut into.scales[0], scale);
        if has_minima {
            store(&mut into.minima[0], base);
        }
        return;
    }
    let parts = const { layout(LAYOUT).code().parts() };
    for (into, scale) in into.scales.iter_mut().zip(scales::<LAYOUT>(heads, group)).take(parts) {
        store(into, scale);
    }
    if has_minima {
        for (into, minimum) in
            into.minima.iter_mut().zip(minima::<LAYOUT>(heads, group)).take(parts)
        {
            store(into, minimum);
        }
    }
}

/// Which results are computed.
#[derive(Clone, Copy)]
struct Place {
    /// The number of the first tile.
    first: usize,
    /// How many tiles there are.
    count: usize,
    /// Whether nothing was added up yet.
    is_first: bool,
}

/// What comes of a group, by its parts.
type Dots = [Sums; 2];

/// Adds the products of some groups of the tiles that were taken out with a panel of rows to their results.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
#[inline(never)]
fn panel_by_tiles<const LAYOUT: usize, const QUADS: usize>(
    unit: &TileUnit<QUADS>,
    open: &mut Open,
    pieces: &[WidePiece],
    place: Place,
    out: &mut Results<'_>,
) {
    debug_assert!(pieces.len().is_multiple_of(const { layout(LAYOUT).groups() }), "whole blocks");
    let Open { groups, blocks, dots } = open;
    let tiles = groups.chunks_exact(GROUPS).take(place.count);
    // All groups of all tiles in one row: between two tiles nothing waits.
    let mut coming = tiles.clone().flat_map(|groups| groups.iter().zip(pieces)).enumerate();
    let mut begin = |dots: &mut [Dots; RING]| {
        if let Some((at, (group, piece))) = coming.next() {
            multiply_group(unit, group, piece, &mut dots[at % RING]);
        }
    };
    for _ in 0..AHEAD {
        begin(dots);
    }
    let mut done = 0..;
    let mut next = |dots: &mut [Dots; RING]| -> usize {
        begin(dots);
        done.next().map_or(0, |at: usize| at % RING)
    };
    for (tile, (groups, blocks)) in tiles.zip(blocks.chunks_exact(GROUPS / OF_BLOCK)).enumerate() {
        bring_results(out, place.first + tile);
        let mut sums = [_mm512_setzero_ps(); ROWS];
        if !place.is_first {
            // SAFETY: the products of the columns before these were written.
            unsafe { read(out, place.first + tile, &mut sums) };
        }
        if const { layout(LAYOUT).groups() } == 1 {
            for (group, piece) in groups.iter().zip(pieces) {
                let at = next(dots);
                add_small::<LAYOUT>(group, piece, &dots[at], &mut sums);
            }
        } else {
            let of_blocks =
                groups.as_chunks::<OF_BLOCK>().0.iter().zip(pieces.as_chunks::<OF_BLOCK>().0);
            for ((groups, pieces), [scale, minimum]) in of_blocks.zip(blocks) {
                let mut inner = [_mm512_setzero_ps(); ROWS];
                for (group, piece) in groups.iter().zip(pieces) {
                    let at = next(dots);
                    add_large::<LAYOUT>(group, piece, &dots[at], &mut inner);
                }
                add_scaled(&inner, scale, &mut sums);
                if const { layout(LAYOUT).code().has_minima() } {
                    let mut under = [_mm512_setzero_ps(); ROWS];
                    for (group, piece) in groups.iter().zip(pieces) {
                        add_under::<LAYOUT>(group, piece, &mut under);
                    }
                    add_scaled(&under, minimum, &mut sums);
                }
            }
        }
        write(out, place.first + tile, &sums);
    }
}

/// Has a group multiplied with rows, each part by itself.
#[inline]
fn multiply_group<const QUADS: usize>(
    unit: &TileUnit<QUADS>,
    group: &Group,
    piece: &WidePiece,
    dots: &mut Dots,
) {
    for (part, (weights, dots)) in group.codes.as_chunks::<QUADS>().0.iter().zip(dots).enumerate() {
        unit.multiply(weights, &piece.codes, part * QUADS, dots);
    }
}

/// As `avx512::small`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
#[inline]
fn add_small<const LAYOUT: usize>(
    group: &Group,
    piece: &WidePiece,
    [dots, _]: &Dots,
    sums: &mut [__m512; ROWS],
) {
    let (scale, base) = (load(&group.scales[0]), load(&group.minima[0]));
    for (row, sum) in sums.iter_mut().enumerate() {
        let product = _mm512_mul_ps(number(&dots.0[row]), _mm512_set1_ps(piece.scale[row]));
        *sum = _mm512_fmadd_ps(product, scale, *sum);
        if const { layout(LAYOUT).code().has_minima() } {
            *sum = _mm512_fnmadd_ps(base, _mm512_set1_ps(piece.under[row]), *sum);
        }
    }
}

/// As `avx512::product`, added up.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
#[inline]
fn add_large<const LAYOUT: usize>(
    group: &Group,
    piece: &WidePiece,
    [first, second]: &Dots,
    inner: &mut [__m512; ROWS],
) {
    let scales = [load(&group.scales[0]), load(&group.scales[1])];
    for (row, inner) in inner.iter_mut().enumerate() {
        let mut product = _mm512_mul_ps(number(&first.0[row]), scales[0]);
        if const { layout(LAYOUT).code().parts() } == 2 {
            product = _mm512_fmadd_ps(number(&second.0[row]), scales[1], product);
        }
        *inner = _mm512_fmadd_ps(product, _mm512_set1_ps(piece.scale[row]), *inner);
    }
}

/// Adds what the minima of a group take away.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
#[inline]
fn add_under<const LAYOUT: usize>(group: &Group, piece: &WidePiece, under: &mut [__m512; ROWS]) {
    let minima = [load(&group.minima[0]), load(&group.minima[1])];
    for (row, under) in under.iter_mut().enumerate() {
        if const { layout(LAYOUT).code().parts() } == 1 {
            *under = _mm512_fmadd_ps(minima[0], _mm512_set1_ps(piece.under[row]), *under);
        } else {
            for (minimum, half) in minima.iter().zip(&piece.half_under) {
                *under = _mm512_fmadd_ps(*minimum, _mm512_set1_ps(half[row]), *under);
            }
        }
    }
}

/// `sums += numbers * scale`
#[target_feature(enable = "avx512f")]
#[inline]
fn add_scaled(numbers: &[__m512; ROWS], scale: &Lanes, sums: &mut [__m512; ROWS]) {
    let scale = load(scale);
    for (sum, number) in sums.iter_mut().zip(numbers) {
        *sum = _mm512_fmadd_ps(*number, scale, *sum);
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn number(dot: &[i32; LANES]) -> __m512 {
    // SAFETY: 16 numbers of four bytes are read.
    _mm512_cvtepi32_ps(unsafe { _mm512_loadu_si512(dot.as_ptr().cast()) })
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(lanes: &Lanes) -> __m512 {
    // SAFETY: `Lanes` is 64 bytes, in their place.
    unsafe { _mm512_load_ps(lanes.0.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(lanes: &mut Lanes, numbers: __m512) {
    // SAFETY: `Lanes` is 64 bytes, in their place.
    unsafe { _mm512_store_ps(lanes.0.as_mut_ptr(), numbers) };
}

/// The results of a tile for all rows, as far as they were added up.
///
/// # Safety
///
/// They were written.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn read(out: &Results<'_>, tile: usize, sums: &mut [__m512; ROWS]) {
    for (row, sum) in sums.iter_mut().enumerate() {
        let Some(of_row) = out.get(row) else { return };
        let of_tile = &of_row[tile * LANES..];
        // SAFETY: as many numbers are read as there are, and no more than 16; the caller wrote them.
        *sum = unsafe {
            if let Some(whole) = of_tile.first_chunk::<LANES>() {
                _mm512_loadu_ps(whole.as_ptr().cast())
            } else {
                _mm512_maskz_loadu_ps((1 << of_tile.len()) - 1, of_tile.as_ptr().cast())
            }
        };
    }
}

/// Asks for the places of the results of a tile, to be written to. Until they are there, nothing that is stored
/// behind them can be read.
#[target_feature(enable = "avx512f")]
#[inline]
fn bring_results(out: &Results<'_>, tile: usize) {
    for of_row in out {
        let place = of_row.as_ptr().wrapping_add(tile * LANES);
        _mm_prefetch::<_MM_HINT_ET0>(place.cast());
    }
}

/// Writes the results of a tile for all rows.
#[target_feature(enable = "avx512f")]
#[inline]
fn write(out: &mut Results<'_>, tile: usize, sums: &[__m512; ROWS]) {
    for (row, sum) in sums.iter().enumerate() {
        let Some(of_row) = out.get_mut(row) else { return };
        let of_tile = &mut of_row[tile * LANES..];
        // SAFETY: as many numbers are written as there are, and no more than 16.
        unsafe {
            if let Some(whole) = of_tile.first_chunk_mut::<LANES>() {
                _mm512_storeu_ps(whole.as_mut_ptr().cast(), *sum);
            } else {
                let lanes = (1 << of_tile.len()) - 1;
                _mm512_mask_storeu_ps(of_tile.as_mut_ptr().cast(), lanes, *sum);
            }
        }
    }
}
