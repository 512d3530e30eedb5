//! Numbers of 16 bits to such of 32 and back, many at once.
#![expect(clippy::inline_always, reason = "see `Kernel`")]

use half::f16;

use super::{Float, Kernel};

/// Widens the bits of f16 numbers, exactly.
pub(crate) struct Widen<'a> {
    pub(crate) bits: &'a [u16],
    /// As many, overwritten.
    pub(crate) wide: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for (wide, bits) in self.wide.iter_mut().zip(self.bits) {
            *wide = f16::from_bits(*bits).widen();
        }
    }
}
