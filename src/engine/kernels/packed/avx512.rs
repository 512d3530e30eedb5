//! The kernel for 512-bit vectors with products of bytes (AVX-512 VNNI).
#![expect(unsafe_code, reason = "vectors are read from memory and written to it")]

use std::arch::x86_64::{
    __m128i, __m512, __m512i, _mm_and_si128, _mm_cvtsi32_si128, _mm_loadu_si128, _mm_set1_epi8,
    _mm_srli_epi16, _mm256_loadu_si256, _mm512_and_si512, _mm512_broadcast_i32x4,
    _mm512_castsi512_ps, _mm512_cmplt_epi32_mask, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps,
    _mm512_cvtepu8_epi32, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_fnmadd_ps,
    _mm512_loadu_si512, _mm512_mask_blend_epi32, _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_sll_epi16, _mm512_sll_epi32, _mm512_slli_epi32, _mm512_sllv_epi32,
    _mm512_srl_epi16, _mm512_storeu_ps, _mm512_sub_epi32,
};

use super::activations::Piece;
use super::dispatch::{bring_for_few, for_layout, for_rows};
use super::format::{Heads, Layout, layout};
use super::heads::HALVES;
use super::lines::{LANES, Lanes, Line};
use super::tile::{Results, Tile, Tiles, write};

/// Multiplies tiles with as many rows as `out` has: at most eight.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
pub(super) fn multiply(tiles: Tiles<'_>, pieces: &[Piece], out: &mut Results<'_>) {
    for_layout!(tiles.layout, by_rows(tiles, pieces, out));
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
fn by_rows<const LAYOUT: usize>(tiles: Tiles<'_>, pieces: &[Piece], out: &mut Results<'_>) {
    for_rows!(out.len(), rows::<LAYOUT>(tiles, pieces, out));
}

/// A function of its own for each: with all of them in one the compiler no longer keeps sums in registers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
#[inline(never)]
fn rows<const LAYOUT: usize, const ROWS: usize>(
    tiles: Tiles<'_>,
    pieces: &[Piece],
    out: &mut Results<'_>,
) {
    let pieces = pieces.as_chunks::<ROWS>().0;
    for (at, tile) in tiles.each().enumerate() {
        let sums = sums::<LAYOUT, ROWS>(tile, pieces);
        for (sum, out) in sums.into_iter().zip(&mut *out) {
            write(out, at, &lanes(sum));
        }
    }
}

/// The products of a tile with each row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
#[inline]
fn sums<const LAYOUT: usize, const ROWS: usize>(
    tile: Tile<'_>,
    pieces: &[[Piece; ROWS]],
) -> [__m512; ROWS] {
    let mut sums = [_mm512_setzero_ps(); ROWS];
    let groups = const { layout(LAYOUT).groups() };
    let blocks = tile
        .lines
        .chunks_exact(const { layout(LAYOUT).groups() * layout(LAYOUT).code().lines() })
        .zip(tile.heads.chunks_exact(const { layout(LAYOUT).heads().bytes() }));
    for ((lines, heads), pieces) in blocks.zip(pieces.chunks_exact(groups)) {
        bring_for_few::<_, ROWS>(heads);
        match (groups, pieces) {
            (1, [pieces]) => small::<LAYOUT, ROWS>(lines, heads, pieces, &mut sums),
            _ => large::<LAYOUT, ROWS>(lines, heads, pieces, &mut sums),
        }
    }
    sums
}

/// Adds the products of a block of one group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
#[inline]
fn small<const LAYOUT: usize, const ROWS: usize>(
    lines: &[Line],
    heads: &[u8],
    pieces: &[Piece; ROWS],
    sums: &mut [__m512; ROWS],
) {
    bring_for_few::<_, ROWS>(lines);
    let weights = unpack::<LAYOUT>(lines);
    let [scale, base] = of_block::<LAYOUT>(heads);
    for (piece, sum) in pieces.iter().zip(&mut *sums) {
        let dot = dot::<8>(&weights, &piece.codes, start::<LAYOUT>(piece.less));
        let product = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), _mm512_set1_ps(piece.scale));
        *sum = _mm512_fmadd_ps(product, scale, *sum);
    }
    if const { layout(LAYOUT).code().has_minima() } {
        for (piece, sum) in pieces.iter().zip(sums) {
            *sum = _mm512_fnmadd_ps(base, _mm512_set1_ps(piece.under), *sum);
        }
    }
}

/// Adds the products of a block of eight groups.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
#[inline]
fn large<const LAYOUT: usize, const ROWS: usize>(
    lines: &[Line],
    heads: &[u8],
    pieces: &[[Piece; ROWS]],
    sums: &mut [__m512; ROWS],
) {
    let mut inner = [_mm512_setzero_ps(); ROWS];
    let lines = lines.chunks_exact(const { layout(LAYOUT).code().lines() });
    for (group, (lines, pieces)) in lines.zip(pieces).enumerate() {
        bring_for_few::<_, ROWS>(lines);
        let weights = unpack::<LAYOUT>(lines);
        let scales = scales::<LAYOUT>(heads, group);
        for (piece, inner) in pieces.iter().zip(&mut inner) {
            let product = product::<LAYOUT>(&weights, piece, scales);
            *inner = _mm512_fmadd_ps(product, _mm512_set1_ps(piece.scale), *inner);
        }
    }
    let scale = halves(heads, 0);
    for (inner, sum) in inner.iter().zip(&mut *sums) {
        *sum = _mm512_fmadd_ps(*inner, scale, *sum);
    }
    if const { layout(LAYOUT).code().has_minima() } {
        let mut under = [_mm512_setzero_ps(); ROWS];
        for (group, pieces) in pieces.iter().enumerate() {
            let [first, second] = minima::<LAYOUT>(heads, group);
            for (piece, under) in pieces.iter().zip(&mut under) {
                if const { layout(LAYOUT).code().parts() } == 1 {
                    *under = _mm512_fmadd_ps(first, _mm512_set1_ps(piece.under), *under);
                } else {
                    let [less, more] = piece.half_under;
                    *under = _mm512_fmadd_ps(first, _mm512_set1_ps(less), *under);
                    *under = _mm512_fmadd_ps(second, _mm512_set1_ps(more), *under);
                }
            }
        }
        let minimum = halves(heads, 1);
        for (under, sum) in under.iter().zip(sums) {
            *sum = _mm512_fmadd_ps(*under, minimum, *sum);
        }
    }
}

/// The scale of a block, and what multiplies minima or is taken away.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
#[inline]
pub(super) fn of_block<const LAYOUT: usize>(heads: &[u8]) -> [__m512; 2] {
    let minimum = if const { layout(LAYOUT).heads().halves() } == 2 {
        halves(heads, 1)
    } else {
        _mm512_setzero_ps()
    };
    match const { layout(LAYOUT).heads() } {
        Heads::Exponent => [half_powers(heads), minimum],
        _ => [halves(heads, 0), minimum],
    }
}

/// The products of a group, with the scales of its parts alone.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
#[inline]
fn product<const LAYOUT: usize>(
    weights: &[__m512i; 8],
    piece: &Piece,
    scales: [__m512; 2],
) -> __m512 {
    if const { layout(LAYOUT).code().parts() } == 1 {
        let dot = dot::<8>(weights, &piece.codes, start::<LAYOUT>(piece.less));
        return _mm512_mul_ps(_mm512_cvtepi32_ps(dot), scales[0]);
    }
    let [less, more] = piece.half_less;
    let ([a, b], [w, x]) = (weights.as_chunks::<4>().0, piece.codes.as_chunks::<4>().0) else {
        return _mm512_setzero_ps();
    };
    let first = _mm512_cvtepi32_ps(dot::<4>(a, w, start::<LAYOUT>(less)));
    let second = _mm512_cvtepi32_ps(dot::<4>(b, x, start::<LAYOUT>(more)));
    _mm512_fmadd_ps(second, scales[1], _mm512_mul_ps(first, scales[0]))
}

/// What multiplies the scale of a block in the parts of a group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
#[inline]
pub(super) fn scales<const LAYOUT: usize>(heads: &[u8], group: usize) -> [__m512; 2] {
    match const { layout(LAYOUT).heads() } {
        Heads::FineScalesAndMinima => {
            let low = |part: usize| _mm_and_si128(bytes(heads, 4 + part), _mm_set1_epi8(15));
            [unsigned(low(2 * group)), unsigned(low(2 * group + 1))]
        }
        Heads::FineScales => {
            [signed(bytes(heads, 2 + 2 * group)), signed(bytes(heads, 3 + 2 * group))]
        }
        Heads::Scales => [signed(bytes(heads, 2 + group)), _mm512_setzero_ps()],
        _ => [unsigned(bytes(heads, 4 + group)), _mm512_setzero_ps()],
    }
}

/// What multiplies the minimum of a block in the parts of a group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
#[inline]
pub(super) fn minima<const LAYOUT: usize>(heads: &[u8], group: usize) -> [__m512; 2] {
    match const { layout(LAYOUT).heads() } {
        Heads::FineScalesAndMinima => {
            let high = |part: usize| {
                _mm_and_si128(_mm_srli_epi16::<4>(bytes(heads, 4 + part)), _mm_set1_epi8(15))
            };
            [unsigned(high(2 * group)), unsigned(high(2 * group + 1))]
        }
        _ => [unsigned(bytes(heads, 12 + group)), _mm512_setzero_ps()],
    }
}

/// The bytes of 16 rows at a place, in sixteens.
#[target_feature(enable = "avx512f")]
#[inline]
fn bytes(heads: &[u8], place: usize) -> __m128i {
    let bytes = &heads.as_chunks::<LANES>().0[place];
    // SAFETY: an array of 16 bytes is read.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn unsigned(bytes: __m128i) -> __m512 {
    _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn signed(bytes: __m128i) -> __m512 {
    _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))
}

/// The f16 numbers of 16 rows at a place, in numbers.
#[target_feature(enable = "avx512f")]
#[inline]
fn halves(heads: &[u8], place: usize) -> __m512 {
    let bytes = &heads.as_chunks::<HALVES>().0[place];
    // SAFETY: an array of 32 bytes is read.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) })
}

/// As `heads::half_power`.
#[target_feature(enable = "avx512f")]
#[inline]
fn half_powers(heads: &[u8]) -> __m512 {
    let exponents = _mm512_cvtepu8_epi32(bytes(heads, 0));
    let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(exponents, _mm512_set1_epi32(1)));
    let small = _mm512_sllv_epi32(_mm512_set1_epi32(0x0020_0000), exponents);
    let is_small = _mm512_cmplt_epi32_mask(exponents, _mm512_set1_epi32(2));
    _mm512_castsi512_ps(_mm512_mask_blend_epi32(is_small, normal, small))
}

/// Where a sum of products begins: with the offset of the codes, taken away.
#[target_feature(enable = "avx512f")]
#[inline]
fn start<const LAYOUT: usize>(less: i32) -> __m512i {
    let shift = const { layout(LAYOUT).code().offset().trailing_zeros() as i32 };
    if const { layout(LAYOUT).code().has_minima() } {
        return _mm512_setzero_si512();
    }
    _mm512_sll_epi32(_mm512_set1_epi32(less), _mm_cvtsi32_si128(shift))
}

#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn dot<const QUADS: usize>(
    weights: &[__m512i; QUADS],
    codes: &[[u8; 4]; QUADS],
    start: __m512i,
) -> __m512i {
    let mut sum = start;
    for (weights, codes) in weights.iter().zip(codes) {
        sum = _mm512_dpbusd_epi32(sum, *weights, _mm512_set1_epi32(i32::from_le_bytes(*codes)));
    }
    sum
}

/// The lines of whole codes. See `lines` for where their bits are.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn unpack<const LAYOUT: usize>(packed: &[Line]) -> [__m512i; 8] {
    let bits = const { layout(LAYOUT).code().bits() };
    let mut whole = [_mm512_setzero_si512(); 8];
    if bits == 8 {
        for (whole, line) in whole.iter_mut().zip(packed) {
            *whole = load(line);
        }
        return whole;
    }
    let mut rest = packed;
    if matches!(bits, 4..=6) {
        for at in 0..4 {
            let line = load(&rest[at]);
            whole[at] = moved::<0, 15>(line, 0);
            whole[at + 4] = moved::<0, 15>(line, 4);
        }
        rest = &rest[4..];
    }
    if matches!(bits, 2 | 3 | 6) {
        for (at, whole) in whole.iter_mut().enumerate() {
            let (line, place) = (load(&rest[at / 4]), at as i32 % 4 * 2);
            let own =
                if bits == 6 { moved::<4, 3>(line, place) } else { moved::<0, 3>(line, place) };
            *whole = _mm512_or_si512(*whole, own);
        }
        rest = &rest[2..];
    }
    if matches!(bits, 3 | 5) {
        let line = load(&rest[0]);
        for (at, whole) in whole.iter_mut().enumerate() {
            let place = at as i32;
            let own =
                if bits == 5 { moved::<4, 1>(line, place) } else { moved::<2, 1>(line, place) };
            *whole = _mm512_or_si512(*whole, own);
        }
    }
    if let Some(numbers) = const { layout(LAYOUT).code().numbers() } {
        // SAFETY: an array of 16 bytes is read.
        let numbers = unsafe { _mm_loadu_si128(numbers.as_ptr().cast()) };
        let numbers = _mm512_broadcast_i32x4(numbers);
        for whole in &mut whole {
            *whole = _mm512_shuffle_epi8(numbers, *whole);
        }
    }
    whole
}

/// The bits of `MASK` at a place of every byte, moved to `TO`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn moved<const TO: i32, const MASK: i8>(line: __m512i, place: i32) -> __m512i {
    // Whole words are moved; what comes in from the other byte is masked away.
    let moved = if place >= TO {
        _mm512_srl_epi16(line, _mm_cvtsi32_si128(place - TO))
    } else {
        _mm512_sll_epi16(line, _mm_cvtsi32_si128(TO - place))
    };
    _mm512_and_si512(moved, _mm512_set1_epi8(MASK << TO))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(line: &Line) -> __m512i {
    // SAFETY: `Line` is 64 bytes.
    unsafe { _mm512_loadu_si512(line.0.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn lanes(numbers: __m512) -> Lanes {
    let mut lanes = Lanes::ZERO;
    // SAFETY: `Lanes` is 64 bytes.
    unsafe { _mm512_storeu_ps(lanes.0.as_mut_ptr(), numbers) };
    lanes
}
