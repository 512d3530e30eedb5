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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::kernels::Target;

    #[test]
    fn every_number_is_widened_exactly_on_every_target() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        for target in Target::available() {
            let mut wide = vec![0.0; bits.len()];
            target.run(Widen { bits: &bits, wide: &mut wide });
            for (bits, wide) in bits.iter().zip(wide) {
                let exact = f16::from_bits(*bits).to_f32();
                assert!(
                    wide == exact || wide.is_nan() && exact.is_nan(),
                    "{bits:#x} on {target:?}"
                );
            }
        }
    }
}
