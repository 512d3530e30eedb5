//! The kernel for 256-bit vectors: products of bytes in pairs, then of the pairs (AVX2).
#![expect(unsafe_code, reason = "vectors are read from memory and written to it")]

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_and_si128, _mm_cvtsi32_si128, _mm_loadl_epi64, _mm_loadu_si128,
    _mm_set1_epi8, _mm_srli_epi16, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_and_si256, _mm256_blendv_epi8, _mm256_broadcastsi128_si256, _mm256_castsi256_ps,
    _mm256_cmpgt_epi32, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32,
    _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_or_si256, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_sign_epi8, _mm256_sll_epi16, _mm256_sll_epi32, _mm256_slli_epi32,
    _mm256_sllv_epi32, _mm256_srl_epi16, _mm256_storeu_ps, _mm256_sub_epi32, _mm256_xor_si256,
};

use super::activations::Piece;
use super::dispatch::{bring_for_few, for_layout, for_rows};
use super::format::{Code, Heads, Layout, layout};
use super::lines::{LANES, Lanes, Line};
use super::tile::{Results, Tile, Tiles, write};

/// Multiplies tiles with as many rows as `out` has: at most eight.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn multiply(tiles: Tiles<'_>, pieces: &[Piece], out: &mut Results<'_>) {
    for_layout!(tiles.layout, by_rows(tiles, pieces, out));
}

#[target_feature(enable = "avx2,fma,f16c")]
fn by_rows<const LAYOUT: usize>(tiles: Tiles<'_>, pieces: &[Piece], out: &mut Results<'_>) {
    for_rows!(out.len(), rows::<LAYOUT>(tiles, pieces, out));
}

/// A function of its own for each: with all of them in one the compiler no longer keeps sums in registers.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline(never)]
fn rows<const LAYOUT: usize, const ROWS: usize>(
    tiles: Tiles<'_>,
    pieces: &[Piece],
    out: &mut Results<'_>,
) {
    let pieces = pieces.as_chunks::<ROWS>().0;
    for (at, tile) in tiles.each().enumerate() {
        let [first, second] = sums::<LAYOUT, ROWS>(tile, pieces);
        for ((out, first), second) in out.iter_mut().zip(first).zip(second) {
            write(out, at, &lanes([first, second]));
        }
    }
}

/// The products of a tile with each row, in halves.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn sums<const LAYOUT: usize, const ROWS: usize>(
    tile: Tile<'_>,
    pieces: &[[Piece; ROWS]],
) -> [[__m256; ROWS]; 2] {
    let mut sums = [[_mm256_setzero_ps(); ROWS]; 2];
    let groups = const { layout(LAYOUT).groups() };
    let blocks = tile
        .lines
        .chunks_exact(const { layout(LAYOUT).groups() * layout(LAYOUT).code().lines() })
        .zip(tile.heads.chunks_exact(const { layout(LAYOUT).heads().bytes() }));
    for ((lines, heads), pieces) in blocks.zip(pieces.chunks_exact(groups)) {
        bring_for_few::<_, ROWS>(heads);
        for (half, sums) in sums.iter_mut().enumerate() {
            block::<LAYOUT, ROWS>((lines, heads, half), pieces, sums);
        }
    }
    sums
}

/// Adds the products of a block with half of the rows of weights.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn block<const LAYOUT: usize, const ROWS: usize>(
    (lines, heads, half): (&[Line], &[u8], usize),
    pieces: &[[Piece; ROWS]],
    sums: &mut [__m256; ROWS],
) {
    let [mut inner, mut under] = [[_mm256_setzero_ps(); ROWS]; 2];
    let lines = lines.chunks_exact(const { layout(LAYOUT).code().lines() });
    for (group, (lines, pieces)) in lines.zip(pieces).enumerate() {
        if half == 0 {
            bring_for_few::<_, ROWS>(lines);
        }
        let weights = unpack::<LAYOUT>(lines, half);
        let scales = scales::<LAYOUT>(heads, group, half);
        for (piece, inner) in pieces.iter().zip(&mut inner) {
            let product = product::<LAYOUT>(&weights, piece, scales);
            *inner = _mm256_fmadd_ps(product, _mm256_set1_ps(piece.scale), *inner);
        }
        if const { layout(LAYOUT).code().has_minima() } {
            let [first, second] = minima::<LAYOUT>(heads, group, half);
            for (piece, under) in pieces.iter().zip(&mut under) {
                if const { layout(LAYOUT).code().parts() } == 1 {
                    *under = _mm256_fmadd_ps(first, _mm256_set1_ps(piece.under), *under);
                } else {
                    let [less, more] = piece.half_under;
                    *under = _mm256_fmadd_ps(first, _mm256_set1_ps(less), *under);
                    *under = _mm256_fmadd_ps(second, _mm256_set1_ps(more), *under);
                }
            }
        }
    }
    let scale = match const { layout(LAYOUT).heads() } {
        Heads::Exponent => half_powers(heads, half),
        _ => halves(heads, half),
    };
    for (inner, sum) in inner.iter().zip(&mut *sums) {
        *sum = _mm256_fmadd_ps(*inner, scale, *sum);
    }
    if const { layout(LAYOUT).code().has_minima() } {
        let minimum = halves(heads, 2 + half);
        for (under, sum) in under.iter().zip(sums) {
            *sum = match const { layout(LAYOUT).heads() } {
                Heads::ScaleAndBase => _mm256_fnmadd_ps(*under, minimum, *sum),
                _ => _mm256_fmadd_ps(*under, minimum, *sum),
            };
        }
    }
}

/// The products of a group, with the scales of its parts alone.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn product<const LAYOUT: usize>(
    weights: &[__m256i; 8],
    piece: &Piece,
    scales: [__m256; 2],
) -> __m256 {
    if const { layout(LAYOUT).code().parts() } == 1 {
        return _mm256_mul_ps(dot::<LAYOUT, 8>(weights, &piece.codes, piece.less), scales[0]);
    }
    let [less, more] = piece.half_less;
    let ([a, b], [w, x]) = (weights.as_chunks::<4>().0, piece.codes.as_chunks::<4>().0) else {
        return _mm256_setzero_ps();
    };
    let product = _mm256_mul_ps(dot::<LAYOUT, 4>(a, w, less), scales[0]);
    _mm256_fmadd_ps(dot::<LAYOUT, 4>(b, x, more), scales[1], product)
}

/// What multiplies the scale of a block in the parts of a group.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn scales<const LAYOUT: usize>(heads: &[u8], group: usize, half: usize) -> [__m256; 2] {
    let eight = |place: usize| bytes(heads, place, half);
    match const { layout(LAYOUT).heads() } {
        Heads::Scale | Heads::ScaleAndBase | Heads::Exponent => [_mm256_set1_ps(1.0); 2],
        Heads::ScalesAndMinima => [unsigned(eight(4 + group)), _mm256_setzero_ps()],
        Heads::FineScalesAndMinima => {
            let low = |part: usize| _mm_and_si128(eight(4 + part), _mm_set1_epi8(15));
            [unsigned(low(2 * group)), unsigned(low(2 * group + 1))]
        }
        Heads::FineScales => [signed(eight(2 + 2 * group)), signed(eight(3 + 2 * group))],
        Heads::Scales => [signed(eight(2 + group)), _mm256_setzero_ps()],
    }
}

/// What multiplies the minimum of a block in the parts of a group.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn minima<const LAYOUT: usize>(heads: &[u8], group: usize, half: usize) -> [__m256; 2] {
    let eight = |place: usize| bytes(heads, place, half);
    match const { layout(LAYOUT).heads() } {
        Heads::ScalesAndMinima => [unsigned(eight(12 + group)), _mm256_setzero_ps()],
        Heads::FineScalesAndMinima => {
            let high = |part: usize| {
                _mm_and_si128(_mm_srli_epi16::<4>(eight(4 + part)), _mm_set1_epi8(15))
            };
            [unsigned(high(2 * group)), unsigned(high(2 * group + 1))]
        }
        _ => [_mm256_set1_ps(1.0); 2],
    }
}

/// Eight of the bytes of 16 rows at a place, in sixteens.
#[target_feature(enable = "avx2")]
#[inline]
fn bytes(heads: &[u8], place: usize, half: usize) -> __m128i {
    let bytes = &heads.as_chunks::<8>().0[2 * place + half];
    // SAFETY: an array of 8 bytes is read.
    unsafe { _mm_loadl_epi64(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn unsigned(bytes: __m128i) -> __m256 {
    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
}

#[target_feature(enable = "avx2")]
#[inline]
fn signed(bytes: __m128i) -> __m256 {
    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
}

/// Eight f16 numbers at a place, in eights.
#[target_feature(enable = "avx2,f16c")]
#[inline]
fn halves(heads: &[u8], place: usize) -> __m256 {
    let bytes = &heads.as_chunks::<LANES>().0[place];
    // SAFETY: an array of 16 bytes is read.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

/// As `heads::half_power`.
#[target_feature(enable = "avx2")]
#[inline]
fn half_powers(heads: &[u8], half: usize) -> __m256 {
    let exponents = _mm256_cvtepu8_epi32(bytes(heads, 0, half));
    let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(exponents, _mm256_set1_epi32(1)));
    let small = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), exponents);
    let is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), exponents);
    _mm256_castsi256_ps(_mm256_blendv_epi8(normal, small, is_small))
}

/// The products of some quads of columns, less the offset of the codes.
///
/// A pair of products of w by 8 bits is below 2^(w + 8); as many of those are added in 16
/// bits as fit. Those of 8 bits are made signed, and their signs given to the other factor: 128
/// times 127, twice, just fits.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn dot<const LAYOUT: usize, const QUADS: usize>(
    weights: &[__m256i; QUADS],
    codes: &[[u8; 4]; QUADS],
    less: i32,
) -> __m256 {
    let is_signed = const { is_signed(layout(LAYOUT).code()) };
    let together = const { 128_usize >> layout(LAYOUT).code().width() }.max(1);
    let shift = const { layout(LAYOUT).code().offset().trailing_zeros() as i32 };
    let mut sum = if const { layout(LAYOUT).code().has_minima() } || is_signed {
        _mm256_setzero_si256()
    } else {
        _mm256_sll_epi32(_mm256_set1_epi32(less), _mm_cvtsi32_si128(shift))
    };
    for (weights, codes) in weights.chunks(together).zip(codes.chunks(together)) {
        let mut pairs = _mm256_setzero_si256();
        for (weights, codes) in weights.iter().zip(codes) {
            let codes = _mm256_set1_epi32(i32::from_le_bytes(*codes));
            let products = if is_signed {
                _mm256_maddubs_epi16(_mm256_abs_epi8(*weights), _mm256_sign_epi8(codes, *weights))
            } else {
                _mm256_maddubs_epi16(*weights, codes)
            };
            pairs = _mm256_add_epi16(pairs, products);
        }
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    _mm256_cvtepi32_ps(sum)
}

/// Whether unpacked codes are signed.
const fn is_signed(code: Code) -> bool {
    code.width() == 8
}

/// Half of the lines of whole codes; those of 8 bits signed. See `lines` for where their bits are.
#[target_feature(enable = "avx2")]
#[inline]
fn unpack<const LAYOUT: usize>(packed: &[Line], half: usize) -> [__m256i; 8] {
    let bits = const { layout(LAYOUT).code().bits() };
    let mut whole = [_mm256_setzero_si256(); 8];
    if bits == 8 {
        for (whole, line) in whole.iter_mut().zip(packed) {
            *whole = _mm256_xor_si256(load(line, half), _mm256_set1_epi8(-128));
        }
        return whole;
    }
    let mut rest = packed;
    if matches!(bits, 4..=6) {
        for at in 0..4 {
            let line = load(&rest[at], half);
            whole[at] = moved::<0, 15>(line, 0);
            whole[at + 4] = moved::<0, 15>(line, 4);
        }
        rest = &rest[4..];
    }
    if matches!(bits, 2 | 3 | 6) {
        for (at, whole) in whole.iter_mut().enumerate() {
            let (line, place) = (load(&rest[at / 4], half), at as i32 % 4 * 2);
            let own =
                if bits == 6 { moved::<4, 3>(line, place) } else { moved::<0, 3>(line, place) };
            *whole = _mm256_or_si256(*whole, own);
        }
        rest = &rest[2..];
    }
    if matches!(bits, 3 | 5) {
        let line = load(&rest[0], half);
        for (at, whole) in whole.iter_mut().enumerate() {
            let place = at as i32;
            let own =
                if bits == 5 { moved::<4, 1>(line, place) } else { moved::<2, 1>(line, place) };
            *whole = _mm256_or_si256(*whole, own);
        }
    }
    if let Some(numbers) = const { layout(LAYOUT).code().numbers() } {
        // SAFETY: an array of 16 bytes is read.
        let numbers = unsafe { _mm_loadu_si128(numbers.as_ptr().cast()) };
        // Signed, as codes of eight bits are.
        let numbers =
            _mm256_xor_si256(_mm256_broadcastsi128_si256(numbers), _mm256_set1_epi8(-128));
        for whole in &mut whole {
            *whole = _mm256_shuffle_epi8(numbers, *whole);
        }
    }
    whole
}

/// The bits of `MASK` at a place of every byte, moved to `TO`.
#[target_feature(enable = "avx2")]
#[inline]
fn moved<const TO: i32, const MASK: i8>(line: __m256i, place: i32) -> __m256i {
    // Whole words are moved; what comes in from the other byte is masked away.
    let moved = if place >= TO {
        _mm256_srl_epi16(line, _mm_cvtsi32_si128(place - TO))
    } else {
        _mm256_sll_epi16(line, _mm_cvtsi32_si128(TO - place))
    };
    _mm256_and_si256(moved, _mm256_set1_epi8(MASK << TO))
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(line: &Line, half: usize) -> __m256i {
    // SAFETY: half of `Line` is 32 bytes, and `half` is 0 or 1.
    unsafe { _mm256_loadu_si256(line.0.as_ptr().add(32 * half).cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn lanes(halves: [__m256; 2]) -> Lanes {
    let mut lanes = Lanes::ZERO;
    for (half, into) in halves.into_iter().zip(lanes.0.as_chunks_mut::<8>().0) {
        // SAFETY: eight numbers are 32 bytes.
        unsafe { _mm256_storeu_ps(into.as_mut_ptr(), half) };
    }
    lanes
}
