//! The kernels for 64-bit ARM: what they share. A tile is worked through in quarters, four of its rows
//! in a vector: then the weights of a group and the sums of eight rows stay in the registers.

mod pairs;
mod single;
mod unpack;

use std::arch::aarch64::{
    float32x4_t, uint8x8_t, vandq_u32, vbslq_f32, vcltq_u32, vcreate_u16, vcvt_f32_f16,
    vcvtq_f32_s32, vcvtq_f32_u32, vdup_n_u32, vdupq_n_f32, vdupq_n_u32, vget_low_s16, vget_low_u16,
    vmovl_s8, vmovl_s16, vmovl_u8, vmovl_u16, vreinterpret_f16_u16, vreinterpret_s8_u8,
    vreinterpret_u8_u32, vreinterpretq_f32_u32, vreinterpretq_s32_u32, vshlq_n_u32, vshlq_u32,
    vshrq_n_u32, vsubq_u32,
};

use super::format::{Code, Heads, Layout, layout};
use super::lines::LANES;
pub(super) use pairs::multiply_pairs;
pub(super) use single::{InPairs, multiply};

/// Groups that are worked through for one quarter of a tile before the next quarter's turn. Their lines
/// stay in the nearest cache until then.
const STRETCH: usize = 8;

/// Rows of weights in a vector.
const QUARTER: usize = LANES / 4;

/// What multiplies the scale of a block in the parts of a group; one for blocks of one group.
#[target_feature(enable = "neon")]
#[inline]
fn scales<const LAYOUT: usize>(heads: &[u8], group: usize, quarter: usize) -> [float32x4_t; 2] {
    let four = |place: usize| bytes(heads, place, quarter);
    match const { layout(LAYOUT).heads() } {
        Heads::Scale | Heads::ScaleAndBase | Heads::Exponent => [vdupq_n_f32(1.0); 2],
        Heads::ScalesAndMinima => [unsigned(four(4 + group)), vdupq_n_f32(0.0)],
        Heads::FineScalesAndMinima => [low(four(4 + 2 * group)), low(four(5 + 2 * group))],
        Heads::FineScales => [signed(four(2 + 2 * group)), signed(four(3 + 2 * group))],
        Heads::Scales => [signed(four(2 + group)), vdupq_n_f32(0.0)],
    }
}

/// What multiplies the minimum of a block in the parts of a group.
#[target_feature(enable = "neon")]
#[inline]
fn minima<const LAYOUT: usize>(heads: &[u8], group: usize, quarter: usize) -> [float32x4_t; 2] {
    let four = |place: usize| bytes(heads, place, quarter);
    match const { layout(LAYOUT).heads() } {
        Heads::FineScalesAndMinima => [high(four(4 + 2 * group)), high(four(5 + 2 * group))],
        _ => [unsigned(four(12 + group)), vdupq_n_f32(0.0)],
    }
}

/// The scale of a block.
#[target_feature(enable = "neon")]
#[inline]
fn scale<const LAYOUT: usize>(heads: &[u8], quarter: usize) -> float32x4_t {
    match const { layout(LAYOUT).heads() } {
        Heads::Exponent => half_powers(heads, quarter),
        _ => halves(heads, 0, quarter),
    }
}

/// What multiplies the minima of a block, or is added to it.
#[target_feature(enable = "neon")]
#[inline]
fn minimum(heads: &[u8], quarter: usize) -> float32x4_t {
    halves(heads, 1, quarter)
}

/// Four of the bytes of 16 rows at a place, in sixteens.
#[target_feature(enable = "neon")]
#[inline]
fn bytes(heads: &[u8], place: usize, quarter: usize) -> uint8x8_t {
    let bytes = heads.as_chunks::<QUARTER>().0[4 * place + quarter];
    vreinterpret_u8_u32(vdup_n_u32(u32::from_le_bytes(bytes)))
}

#[target_feature(enable = "neon")]
#[inline]
fn unsigned(bytes: uint8x8_t) -> float32x4_t {
    vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))))
}

#[target_feature(enable = "neon")]
#[inline]
fn signed(bytes: uint8x8_t) -> float32x4_t {
    vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(bytes)))))
}

/// The lower halves of bytes.
#[target_feature(enable = "neon")]
#[inline]
fn low(bytes: uint8x8_t) -> float32x4_t {
    let whole = vmovl_u16(vget_low_u16(vmovl_u8(bytes)));
    vcvtq_f32_u32(vandq_u32(whole, vdupq_n_u32(15)))
}

/// The upper halves of bytes.
#[target_feature(enable = "neon")]
#[inline]
fn high(bytes: uint8x8_t) -> float32x4_t {
    vcvtq_f32_u32(vshrq_n_u32::<4>(vmovl_u16(vget_low_u16(vmovl_u8(bytes)))))
}

/// Four of the f16 numbers of 16 rows at a place, in numbers.
#[target_feature(enable = "neon")]
#[inline]
fn halves(heads: &[u8], place: usize, quarter: usize) -> float32x4_t {
    let bytes = heads.as_chunks::<{ 2 * QUARTER }>().0[4 * place + quarter];
    vcvt_f32_f16(vreinterpret_f16_u16(vcreate_u16(u64::from_le_bytes(bytes))))
}

/// As `heads::half_power`.
#[target_feature(enable = "neon")]
#[inline]
fn half_powers(heads: &[u8], quarter: usize) -> float32x4_t {
    let exponents = vmovl_u16(vget_low_u16(vmovl_u8(bytes(heads, 0, quarter))));
    let normal = vshlq_n_u32::<23>(vsubq_u32(exponents, vdupq_n_u32(1)));
    let small = vshlq_u32(vdupq_n_u32(0x0020_0000), vreinterpretq_s32_u32(exponents));
    let is_small = vcltq_u32(exponents, vdupq_n_u32(2));
    vbslq_f32(is_small, vreinterpretq_f32_u32(small), vreinterpretq_f32_u32(normal))
}

/// Where a sum of products begins: with the offset of the codes, taken away. Those of eight bits are
/// signed, and have none.
const fn start(layout: Layout, less: i32) -> i32 {
    if is_signed(layout.code()) { 0 } else { less * (layout.code().offset() as i32) }
}

/// Whether unpacked codes are signed.
const fn is_signed(code: Code) -> bool {
    code.width() == 8
}
