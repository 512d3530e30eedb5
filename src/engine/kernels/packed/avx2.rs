//! The kernel for 256-bit vectors: products of bytes in pairs, then of the pairs (AVX2).
#![expect(unsafe_code, reason = "vectors are read from memory and written to it")]

use std::arch::x86_64::{
    __m256, __m256i, _mm_and_si128, _mm_cvtsi32_si128, _mm_loadu_si128, _mm_set1_epi8,
    _mm_srli_epi16, _mm_srli_si128, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi32, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_or_si256, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_sign_epi8, _mm256_sll_epi16, _mm256_sll_epi32, _mm256_srl_epi16,
    _mm256_storeu_ps, _mm256_xor_si256,
};

use super::activations::Piece;
use super::format::{self, Code};
use super::heads::Byte;
use super::lines::{LANES, Lanes, Line};
use super::tile::Tile;

/// Multiplies a tile with as many rows as `out` has: at most eight.
#[target_feature(enable = "avx2,fma")]
pub(super) fn multiply(tile: Tile<'_>, pieces: &[Piece], out: &mut [Lanes]) {
    match tile.code {
        Code::Two => rows::<{ Code::Two as usize }>(tile, pieces, out),
        Code::Three => rows::<{ Code::Three as usize }>(tile, pieces, out),
        Code::Four => rows::<{ Code::Four as usize }>(tile, pieces, out),
        Code::FourAbove => rows::<{ Code::FourAbove as usize }>(tile, pieces, out),
        Code::FourOfIq4 => rows::<{ Code::FourOfIq4 as usize }>(tile, pieces, out),
        Code::FourOfFp4 => rows::<{ Code::FourOfFp4 as usize }>(tile, pieces, out),
        Code::Five => rows::<{ Code::Five as usize }>(tile, pieces, out),
        Code::FiveAbove => rows::<{ Code::FiveAbove as usize }>(tile, pieces, out),
        Code::Six => rows::<{ Code::Six as usize }>(tile, pieces, out),
        Code::Eight => rows::<{ Code::Eight as usize }>(tile, pieces, out),
    }
}

#[target_feature(enable = "avx2,fma")]
fn rows<const CODE: usize>(tile: Tile<'_>, pieces: &[Piece], out: &mut [Lanes]) {
    out.fill(Lanes::ZERO);
    let parts = const { format::code(CODE).parts() };
    let groups = tile
        .lines
        .chunks_exact(const { format::code(CODE).bits() })
        .zip(pieces.chunks_exact(out.len()));
    let scales = tile.scales.chunks_exact(parts);
    for (group, ((lines, pieces), scales)) in groups.zip(scales).enumerate() {
        let minima = if const { format::code(CODE).has_minima() } {
            &tile.minima[group * parts..][..parts]
        } else {
            &[]
        };
        for half in 0..2 {
            let weights = unpack::<CODE>(lines, half);
            for (piece, out) in pieces.iter().zip(&mut *out) {
                let part = product::<CODE>(&weights, piece, [scales, minima], half);
                let sum = _mm256_fmadd_ps(part, _mm256_set1_ps(piece.scale), lanes(out, half));
                store(out, half, sum);
            }
        }
    }
}

/// The products of a group without the row's scale.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn product<const CODE: usize>(
    weights: &[__m256i; 8],
    piece: &Piece,
    [scales, minima]: [&[Lanes]; 2],
    half: usize,
) -> __m256 {
    if const { format::code(CODE).parts() } == 1 {
        let scale = &scales[0];
        let dot = dot::<CODE, 8>(weights, &piece.codes, piece.less);
        let product = _mm256_mul_ps(dot, lanes(scale, half));
        return match minima {
            [minimum] => _mm256_fmadd_ps(number(piece.less), lanes(minimum, half), product),
            _ => product,
        };
    }
    let [less, more] = piece.half_less;
    let ([a, b], [w, x]) = (weights.as_chunks::<4>().0, piece.codes.as_chunks::<4>().0) else {
        return _mm256_setzero_ps();
    };
    let product = _mm256_mul_ps(dot::<CODE, 4>(a, w, less), lanes(&scales[0], half));
    let second = dot::<CODE, 4>(b, x, more);
    let product = _mm256_fmadd_ps(second, lanes(&scales[1], half), product);
    match minima {
        [a, b] => {
            let product = _mm256_fmadd_ps(number(less), lanes(a, half), product);
            _mm256_fmadd_ps(number(more), lanes(b, half), product)
        }
        _ => product,
    }
}

/// The products of some quads of columns, less the offset of the codes.
///
/// A pair of products of w by 8 bits is below 2^(w + 8); as many of those are added in 16
/// bits as fit. Those of 8 bits are made signed, and their signs given to the other factor: 128
/// times 127, twice, just fits.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn dot<const CODE: usize, const QUADS: usize>(
    weights: &[__m256i; QUADS],
    codes: &[[u8; 4]; QUADS],
    less: i32,
) -> __m256 {
    let is_signed = const { is_signed(format::code(CODE)) };
    let together = const { 128_usize >> format::code(CODE).width() }.max(1);
    let shift = const { format::code(CODE).offset().trailing_zeros() as i32 };
    let mut sum = if const { format::code(CODE).has_minima() } || is_signed {
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

#[target_feature(enable = "avx2")]
#[inline]
fn number(whole: i32) -> __m256 {
    _mm256_cvtepi32_ps(_mm256_set1_epi32(whole))
}

#[target_feature(enable = "avx2")]
#[inline]
fn lanes(lanes: &Lanes, half: usize) -> __m256 {
    // SAFETY: half of `Lanes` is 32 bytes, and `half` is 0 or 1.
    unsafe { _mm256_loadu_ps(lanes.0.as_ptr().add(8 * half)) }
}

/// Half of the lines of whole codes; those of 8 bits signed. See `lines` for where their bits are.
#[target_feature(enable = "avx2")]
#[inline]
fn unpack<const CODE: usize>(packed: &[Line], half: usize) -> [__m256i; 8] {
    let bits = const { format::code(CODE).bits() };
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
    if let Some(numbers) = const { format::code(CODE).numbers() } {
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

/// Reads f16 numbers of 16 rows, a step of bytes apart.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn halves(bytes: &[u8], step: usize, into: &mut [Lanes]) {
    for (bytes, into) in bytes.chunks(step).zip(into) {
        for (half, bytes) in bytes.as_chunks::<16>().0.iter().take(2).enumerate() {
            // SAFETY: an array of 16 bytes is read.
            let numbers = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
            store(into, half, _mm256_cvtph_ps(numbers));
        }
    }
}

/// Multiplies a number of each of 16 rows with bytes, [groups, rows].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn multiply_bytes(by: &Lanes, bytes: &[u8], byte: Byte, into: &mut [Lanes]) {
    for (bytes, into) in bytes.as_chunks::<LANES>().0.iter().zip(into) {
        // SAFETY: an array of 16 bytes is read.
        let all = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
        let all = match byte {
            Byte::Unsigned | Byte::Signed => all,
            Byte::Low => _mm_and_si128(all, _mm_set1_epi8(15)),
            Byte::High => _mm_and_si128(_mm_srli_epi16::<4>(all), _mm_set1_epi8(15)),
        };
        for (half, eight) in [all, _mm_srli_si128::<8>(all)].into_iter().enumerate() {
            let whole = match byte {
                Byte::Signed => _mm256_cvtepi8_epi32(eight),
                _ => _mm256_cvtepu8_epi32(eight),
            };
            store(into, half, _mm256_mul_ps(_mm256_cvtepi32_ps(whole), lanes(by, half)));
        }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store(into: &mut Lanes, half: usize, numbers: __m256) {
    // SAFETY: half of `Lanes` is 32 bytes, and `half` is 0 or 1.
    unsafe { _mm256_storeu_ps(into.0.as_mut_ptr().add(8 * half), numbers) };
}
