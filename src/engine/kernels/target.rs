//! Runs safe code in a build for the machine's vector unit.
//!
//! Loops elsewhere are plain Rust, written so that the compiler can vectorise them; a portable
//! binary would get 128-bit vectors without fused multiply-add. `Target::run` compiles the same
//! loop once for each instruction set and picks one when the program starts. The portable build is
//! the twin that the tests compare the others with.
#![expect(clippy::inline_always, reason = "see `Kernel`")]
#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "calling a function built for an instruction set that was detected"
    )
)]

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::amx::Amx;
#[cfg(target_arch = "aarch64")]
use super::arm::{Dotprod, I8mm};

/// A loop that is compiled for every target. `run` and all it calls must be `#[inline(always)]`,
/// or the inner code stays in the portable form.
pub(crate) trait Kernel {
    /// What it computes.
    type Output;
    /// Does the work; `FUSED` says whether fused multiply-add is an instruction here.
    fn run<const FUSED: bool>(self) -> Self::Output;
}

/// An instruction set that the program has code for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// What every machine of this architecture has.
    Portable,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same with products of matrices of bytes.
    #[cfg(target_arch = "x86_64")]
    Amx,
    /// 128-bit vectors, which every machine of this architecture has.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// The same with products of bytes in one step.
    #[cfg(target_arch = "aarch64")]
    Dotprod,
    /// The same with products of small matrices of bytes.
    #[cfg(target_arch = "aarch64")]
    I8mm,
}

/// What is computed with; chosen once.
static CHOSEN: OnceLock<Target> = OnceLock::new();

/// The instructions that a setting asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// The best that the machine has.
    Auto,
    /// What every machine has.
    Portable,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// 512-bit vectors.
    Avx512,
    /// The same with products of matrices of bytes.
    Amx,
    /// The vectors of 64-bit ARM.
    Neon,
    /// The same with products of bytes in one step.
    Dotprod,
    /// The same with products of small matrices of bytes.
    I8mm,
}

/// Why instructions cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstructionsError {
    /// The machine has none of these.
    #[error("this machine has no such instructions; \"auto\" takes the best that it has")]
    Missing,
    /// Something was computed with others.
    #[error("the instructions cannot be changed once something was computed")]
    TooLate,
}

/// Sets which instructions are computed with, for the whole process. To be called before anything is
/// computed.
pub fn set_instructions(set: InstructionSet) -> Result<(), InstructionsError> {
    let chosen = match set {
        InstructionSet::Auto => return Ok(()),
        InstructionSet::Portable => Target::Portable,
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => Target::Avx2,
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => Target::Avx512,
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Amx => Target::Amx,
        #[cfg(not(target_arch = "x86_64"))]
        InstructionSet::Avx2 | InstructionSet::Avx512 | InstructionSet::Amx => {
            return Err(InstructionsError::Missing);
        }
        #[cfg(target_arch = "aarch64")]
        InstructionSet::Neon => Target::Neon,
        #[cfg(target_arch = "aarch64")]
        InstructionSet::Dotprod => Target::Dotprod,
        #[cfg(target_arch = "aarch64")]
        InstructionSet::I8mm => Target::I8mm,
        #[cfg(not(target_arch = "aarch64"))]
        InstructionSet::Neon | InstructionSet::Dotprod | InstructionSet::I8mm => {
            return Err(InstructionsError::Missing);
        }
    };
    if !chosen.is_available() {
        return Err(InstructionsError::Missing);
    }
    if *CHOSEN.get_or_init(|| chosen) == chosen { Ok(()) } else { Err(InstructionsError::TooLate) }
}

impl Target {
    /// What is computed with: the best that this machine has, unless a setting asks for less.
    pub(crate) fn best() -> Self {
        *CHOSEN.get_or_init(|| Self::available().last().copied().unwrap_or(Self::Portable))
    }

    /// Whether this machine has it. The system is asked for nothing that another target needs.
    fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Portable => return true,
            Self::Avx2 => return has_avx2(),
            Self::Avx512 => return has_avx512(),
            Self::Amx => {}
        }
        Self::available().contains(&self)
    }

    /// All that this machine has, the best last.
    pub(crate) fn available() -> Vec<Self> {
        let mut targets = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx2() {
                targets.push(Self::Avx2);
            }
            if has_avx512() {
                targets.push(Self::Avx512);
                if is_x86_feature_detected!("avx512vnni") && Amx::detect().is_some() {
                    targets.push(Self::Amx);
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            targets.push(Self::Neon);
            if Dotprod::detect().is_some() {
                targets.push(Self::Dotprod);
                if I8mm::detect().is_some() {
                    targets.push(Self::I8mm);
                }
            }
        }
        targets
    }

    /// Runs a kernel in the build for this target.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            // NEON is part of the base of 64-bit ARM, and fused multiply-add with it.
            Self::Portable => kernel.run::<{ cfg!(target_arch = "aarch64") }>(),
            // What they have more is of use for nothing but products of bytes.
            #[cfg(target_arch = "aarch64")]
            Self::Neon | Self::Dotprod | Self::I8mm => kernel.run::<true>(),
            // SAFETY: `available` lists this target only where the instructions were detected, and
            // the variants are made nowhere else.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { run_avx2(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Amx => unsafe { run_avx512(kernel) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

// Never a part of another: a kernel within a kernel is a function of its own, of a size that the compiler's
// search for vectors can do with.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<true>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
#[inline(never)]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<true>()
}

/// `a * b + c`, fused where that is one instruction.
#[inline(always)]
pub(crate) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// The exponential function for arguments up to 88; below -87 it gives (nearly) nothing. The error is
/// below 3e-7 of the result. Without branches or calls, so that loops over it are vectorised.
///
/// Argument reduction by a multiple of ln 2 in two parts, then a polynomial on ±ln 2 / 2
/// (coefficients of the Cephes library, S. Moshier).
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    // Adding and taking away 1.5 × 2^23 rounds to the nearest whole number.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = multiply_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add::<FUSED>(n, -LN2_HIGH, x);
    let r = multiply_add::<FUSED>(n, -LN2_LOW, r);
    let mut p = 1.987_569_2e-4_f32;
    p = multiply_add::<FUSED>(p, r, 1.398_2e-3);
    p = multiply_add::<FUSED>(p, r, 8.333_452e-3);
    p = multiply_add::<FUSED>(p, r, 4.166_579_6e-2);
    p = multiply_add::<FUSED>(p, r, 1.666_666_5e-1);
    p = multiply_add::<FUSED>(p, r, 0.5);
    let y = multiply_add::<FUSED>(p, r * r, r + 1.0);
    // The lowest bits of `shifted` are the whole number: moved to the exponent they make 2^n.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    y * power
}

/// `gate = gelu(gate)` by its approximation with the hyperbolic tangent (Hendrycks and Gimpel, 2016),
/// the one that models are trained with.
pub(crate) struct Gelu<'a> {
    /// Overwritten.
    pub(crate) gate: &'a mut [f32],
}

impl Kernel for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        // 2 √(2/π); with it, (1 + tanh z) / 2 is a logistic function.
        const SLOPE: f32 = 1.595_769;
        for x in self.gate {
            let inner = SLOPE * *x * multiply_add::<FUSED>(0.044_715 * *x, *x, 1.0);
            *x /= 1.0 + exp::<FUSED>(-inner);
        }
    }
}

/// `x = x (1 + erf(x / √2)) / 2`, by a rational approximation of the error function that is off by
/// less than 2e-7 (Abramowitz and Stegun, 1964, 7.1.26).
pub(crate) struct GeluErf<'a> {
    /// Overwritten.
    pub(crate) gate: &'a mut [f32],
}

impl Kernel for GeluErf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for x in self.gate {
            let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
            let t = 1.0 / multiply_add::<FUSED>(0.327_591_1, z, 1.0);
            let mut p = 1.061_405_4_f32;
            p = multiply_add::<FUSED>(p, t, -1.453_152_1);
            p = multiply_add::<FUSED>(p, t, 1.421_413_8);
            p = multiply_add::<FUSED>(p, t, -0.284_496_72);
            p = multiply_add::<FUSED>(p, t, 0.254_829_6);
            // Half of what the error function lacks to one.
            let tail = 0.5 * p * t * exp::<FUSED>(-z * z);
            *x *= if *x < 0.0 { tail } else { 1.0 - tail };
        }
    }
}

/// `gate = silu(gate) * up`.
pub(crate) struct GateSilu<'a> {
    /// The gate, overwritten.
    pub(crate) gate: &'a mut [f32],
    /// What it lets through.
    pub(crate) up: &'a [f32],
}

impl Kernel for GateSilu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for (gate, &up) in self.gate.iter_mut().zip(self.up) {
            let x = *gate;
            *gate = x / (1.0 + exp::<FUSED>(-x)) * up;
        }
    }
}

/// `gate = gate * sigmoid(1.702 * gate) * (up + 1)`, after the gate was held below 7 and `up` within
/// ±7: the unit of gpt-oss (OpenAI, 2025). The clamps let a NaN through.
pub(crate) struct GateClamped<'a> {
    /// The gate, overwritten.
    pub(crate) gate: &'a mut [f32],
    /// What it lets through.
    pub(crate) up: &'a [f32],
}

impl Kernel for GateClamped<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        const LIMIT: f32 = 7.0;
        const SLOPE: f32 = 1.702;
        for (gate, &up) in self.gate.iter_mut().zip(self.up) {
            let x = if *gate > LIMIT { LIMIT } else { *gate };
            *gate = x / (1.0 + exp::<FUSED>(-SLOPE * x)) * (up.clamp(-LIMIT, LIMIT) + 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By Python's `math.erfc`, from -8 to 8.
    const GELU_ERF: [f32; 9] = [
        -4.976_768_5e-15,
        -0.045_500_264,
        -0.158_655_25,
        -0.154_268_77,
        0.0,
        0.345_731_23,
        0.841_344_7,
        1.954_499_7,
        8.0,
    ];

    #[test]
    fn exp_is_close_to_the_exact_one_everywhere() {
        for step in -8700..=880 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            for got in [exp::<false>(x), exp::<true>(x)] {
                assert!(
                    (f64::from(got) - exact).abs() <= exact * 3e-7,
                    "exp({x}) = {got}, not {exact}"
                );
            }
        }
    }

    #[test]
    fn exp_of_very_negative_numbers_is_nothing() {
        for x in [-88.0, -1e4, -1e30, f32::NEG_INFINITY] {
            assert!(exp::<true>(x) < 1e-37);
        }
    }

    #[test]
    fn all_targets_agree() {
        let row: Vec<f32> = (0..1003).map(|i| ((i * 37) % 101) as f32 / 20.0 - 2.5).collect();
        for target in Target::available() {
            let mut gelu = row.clone();
            target.run(Gelu { gate: &mut gelu });
            let mut by_erf = [-8.0_f32, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 8.0];
            target.run(GeluErf { gate: &mut by_erf });
            for (got, exact) in by_erf.iter().zip(GELU_ERF) {
                assert!((got - exact).abs() < 5e-7, "{target:?}: {got}, {exact}");
            }
            for (got, &x) in gelu.iter().zip(&row) {
                let x = f64::from(x);
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                assert!((f64::from(*got) - 0.5 * x * (1.0 + inner.tanh())).abs() < 1e-5);
            }
            let wide: Vec<f32> = row.iter().map(|x| x * 6.0).collect();
            let mut gate = wide.clone();
            target.run(GateClamped { gate: &mut gate, up: &wide });
            for (got, &x) in gate.iter().zip(&wide) {
                let (gate, up) = (f64::from(x).min(7.0), f64::from(x).clamp(-7.0, 7.0));
                let exact = gate / (1.0 + (-1.702 * gate).exp()) * (up + 1.0);
                assert!((f64::from(*got) - exact).abs() < 1e-5 * exact.abs().max(1.0));
            }
            let mut nan = [f32::NAN, 1.0];
            target.run(GateClamped { gate: &mut nan, up: &[1.0, f32::NAN] });
            assert!(nan.iter().all(|x| x.is_nan()), "{target:?}");
            let mut gate = row.clone();
            target.run(GateSilu { gate: &mut gate, up: &row });
            for (got, &x) in gate.iter().zip(&row) {
                let silu = f64::from(x) / (1.0 + (-f64::from(x)).exp()) * f64::from(x);
                assert!((f64::from(*got) - silu).abs() < 1e-5, "{target:?}");
            }
        }
    }
}
