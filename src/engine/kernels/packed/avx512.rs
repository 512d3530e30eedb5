//! The kernel for 512-bit vectors with products of bytes (AVX-512 VNNI).
#![expect(unsafe_code, reason = "vectors are read from memory and written to it")]

use std::arch::x86_64::{
    __m512, __m512i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm512_and_si512, _mm512_broadcast_i32x4,
    _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_sll_epi16,
    _mm512_sll_epi32, _mm512_srl_epi16, _mm512_storeu_ps,
};

use super::activations::Piece;
use super::format::{self, Code};
use super::lines::{Lanes, Line};
use super::tile::Tile;

/// Multiplies a tile with as many rows as `out` has: at most eight.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
pub(super) fn multiply(tile: Tile<'_>, pieces: &[Piece], out: &mut [Lanes]) {
    match tile.code {
        Code::Two => by_rows::<{ Code::Two as usize }>(tile, pieces, out),
        Code::Three => by_rows::<{ Code::Three as usize }>(tile, pieces, out),
        Code::Four => by_rows::<{ Code::Four as usize }>(tile, pieces, out),
        Code::FourAbove => by_rows::<{ Code::FourAbove as usize }>(tile, pieces, out),
        Code::FourOfIq4 => by_rows::<{ Code::FourOfIq4 as usize }>(tile, pieces, out),
        Code::FourOfFp4 => by_rows::<{ Code::FourOfFp4 as usize }>(tile, pieces, out),
        Code::Five => by_rows::<{ Code::Five as usize }>(tile, pieces, out),
        Code::FiveAbove => by_rows::<{ Code::FiveAbove as usize }>(tile, pieces, out),
        Code::Six => by_rows::<{ Code::Six as usize }>(tile, pieces, out),
        Code::Eight => by_rows::<{ Code::Eight as usize }>(tile, pieces, out),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
fn by_rows<const CODE: usize>(tile: Tile<'_>, pieces: &[Piece], out: &mut [Lanes]) {
    match out.len() {
        1 => rows::<CODE, 1>(tile, pieces, out),
        2 => rows::<CODE, 2>(tile, pieces, out),
        3 => rows::<CODE, 3>(tile, pieces, out),
        4 => rows::<CODE, 4>(tile, pieces, out),
        5 => rows::<CODE, 5>(tile, pieces, out),
        6 => rows::<CODE, 6>(tile, pieces, out),
        7 => rows::<CODE, 7>(tile, pieces, out),
        _ => rows::<CODE, 8>(tile, pieces, out),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
fn rows<const CODE: usize, const ROWS: usize>(tile: Tile<'_>, pieces: &[Piece], out: &mut [Lanes]) {
    let mut sums = [_mm512_setzero_ps(); ROWS];
    let parts = const { format::code(CODE).parts() };
    let groups = tile
        .lines
        .chunks_exact(const { format::code(CODE).bits() })
        .zip(pieces.as_chunks::<ROWS>().0);
    let scales = tile.scales.chunks_exact(parts);
    for (group, ((lines, pieces), scales)) in groups.zip(scales).enumerate() {
        let weights = unpack::<CODE>(lines);
        let minima = if const { format::code(CODE).has_minima() } {
            &tile.minima[group * parts..][..parts]
        } else {
            &[]
        };
        for (piece, sum) in pieces.iter().zip(&mut sums) {
            let part = product::<CODE>(&weights, piece, scales, minima);
            *sum = _mm512_fmadd_ps(part, _mm512_set1_ps(piece.scale), *sum);
        }
    }
    for (sum, out) in sums.iter().zip(out) {
        store(out, *sum);
    }
}

/// The products of a group without the row's scale.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
#[inline]
fn product<const CODE: usize>(
    weights: &[__m512i; 8],
    piece: &Piece,
    scales: &[Lanes],
    minima: &[Lanes],
) -> __m512 {
    if const { format::code(CODE).parts() } == 1 {
        let scale = &scales[0];
        let dot = _mm512_cvtepi32_ps(dot::<8>(weights, &piece.codes, start::<CODE>(piece.less)));
        let product = _mm512_mul_ps(dot, lanes(scale));
        return match minima {
            [minimum] => _mm512_fmadd_ps(number(piece.less), lanes(minimum), product),
            _ => product,
        };
    }
    let [less, more] = piece.half_less;
    let ([a, b], [w, x]) = (weights.as_chunks::<4>().0, piece.codes.as_chunks::<4>().0) else {
        return _mm512_setzero_ps();
    };
    let first = _mm512_cvtepi32_ps(dot::<4>(a, w, start::<CODE>(less)));
    let second = _mm512_cvtepi32_ps(dot::<4>(b, x, start::<CODE>(more)));
    let product = _mm512_mul_ps(first, lanes(&scales[0]));
    let product = _mm512_fmadd_ps(second, lanes(&scales[1]), product);
    match minima {
        [a, b] => {
            let product = _mm512_fmadd_ps(number(less), lanes(a), product);
            _mm512_fmadd_ps(number(more), lanes(b), product)
        }
        _ => product,
    }
}

/// Where a sum of products begins: with the offset of the codes, taken away.
#[target_feature(enable = "avx512f")]
#[inline]
fn start<const CODE: usize>(less: i32) -> __m512i {
    let shift = const { format::code(CODE).offset().trailing_zeros() as i32 };
    if const { format::code(CODE).has_minima() } {
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

#[target_feature(enable = "avx512f")]
#[inline]
fn number(whole: i32) -> __m512 {
    _mm512_cvtepi32_ps(_mm512_set1_epi32(whole))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn lanes(lanes: &Lanes) -> __m512 {
    // SAFETY: `Lanes` is 64 bytes.
    unsafe { _mm512_loadu_ps(lanes.0.as_ptr()) }
}

/// The lines of whole codes. See `lines` for where their bits are.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn unpack<const CODE: usize>(packed: &[Line]) -> [__m512i; 8] {
    let bits = const { format::code(CODE).bits() };
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
    if let Some(numbers) = const { format::code(CODE).numbers() } {
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
fn store(into: &mut Lanes, numbers: __m512) {
    // SAFETY: `Lanes` is 64 bytes.
    unsafe { _mm512_storeu_ps(into.0.as_mut_ptr(), numbers) };
}
