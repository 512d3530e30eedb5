//! Products of bytes on 64-bit ARM: the standard library has no stable functions for these instructions.
//!
//! That the machine has an instruction is proved by a value, and not a feature of the functions: those
//! with a feature would not become part of others without it, which they share with other ways to
//! multiply. The assembler is told of it instead.
#![expect(unsafe_code, reason = "instructions that the compiler does not know")]
#![expect(clippy::unused_self, reason = "who has it may use the instructions")]

use std::arch::aarch64::{int8x16_t, int32x4_t};
use std::arch::{asm, is_aarch64_feature_detected};

/// Proof that the machine has products of four bytes with four (FEAT_DotProd).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dotprod(());

impl Dotprod {
    /// None where the machine has it not.
    pub(crate) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("dotprod").then_some(Self(()))
    }

    /// Adds to each of four numbers the products of four bytes with four.
    #[inline]
    pub(crate) fn dot(self, mut sum: int32x4_t, left: int8x16_t, right: int8x16_t) -> int32x4_t {
        // SAFETY: the instruction was detected, and reads and writes registers alone.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sum:v}.4s, {left:v}.16b, {right:v}.16b",
                sum = inout(vreg) sum,
                left = in(vreg) left,
                right = in(vreg) right,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sum
    }

    /// Adds to each of four numbers the products of four bytes of each of `many` with four of `few`: of
    /// the first with the first, and so on.
    ///
    /// All in one piece, or the compiler takes eight rows of this for too much to lay out one by one,
    /// and keeps their sums in memory.
    #[inline]
    pub(crate) fn dot_fours(
        self,
        mut sum: int32x4_t,
        many: &[int8x16_t; 4],
        few: int8x16_t,
    ) -> int32x4_t {
        // SAFETY: the instruction was detected, and reads and writes registers alone.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sum:v}.4s, {first:v}.16b, {few:v}.4b[0]",
                "sdot {sum:v}.4s, {second:v}.16b, {few:v}.4b[1]",
                "sdot {sum:v}.4s, {third:v}.16b, {few:v}.4b[2]",
                "sdot {sum:v}.4s, {fourth:v}.16b, {few:v}.4b[3]",
                sum = inout(vreg) sum,
                first = in(vreg) many[0],
                second = in(vreg) many[1],
                third = in(vreg) many[2],
                fourth = in(vreg) many[3],
                few = in(vreg) few,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sum
    }
}

/// Proof that the machine has products of matrices of bytes (FEAT_I8MM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct I8mm(());

impl I8mm {
    /// None where the machine has it not.
    pub(crate) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("i8mm").then_some(Self(()))
    }

    /// Adds the products of each of two rows of eight bytes on the left with each of two on the right:
    /// of the first on the left with both, then of the second.
    #[inline]
    pub(crate) fn two_by_two(
        self,
        mut sum: int32x4_t,
        left: int8x16_t,
        right: int8x16_t,
    ) -> int32x4_t {
        // SAFETY: the instruction was detected, and reads and writes registers alone.
        unsafe {
            asm!(
                ".arch_extension i8mm",
                "smmla {sum:v}.4s, {left:v}.16b, {right:v}.16b",
                sum = inout(vreg) sum,
                left = in(vreg) left,
                right = in(vreg) right,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sum
    }
}
