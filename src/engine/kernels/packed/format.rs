//! How each type of ggml is packed: how many bits a code has, and how its scales lie.

use candle_core::quantized::GgmlDType;

use super::file_blocks::{self, FileBlock};
use crate::engine::gguf::TensorType;

/// Columns that share a step of the kernels, and a scale of the activations.
pub(super) const GROUP: usize = 32;

/// A type of weights that is packed. A weight is `scale * (code - offset) - minimum`, with an offset
/// of half the codes where there are no minima.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) code: Code,
    pub(super) heads: Heads,
    /// Weights of a block of the file.
    pub(super) block: usize,
    /// Bytes of a block of the file.
    pub(super) block_bytes: usize,
    /// Reads a block of the file.
    pub(super) read: fn(&[u8], &mut FileBlock),
}

/// The codes of weights, by their bits, and what becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// With minima.
    Two,
    Three,
    Four,
    /// With minima.
    FourAbove,
    /// They choose among the numbers of the IQ4 types.
    FourOfIq4,
    /// They choose among the numbers of MXFP4.
    FourOfFp4,
    Five,
    /// With minima.
    FiveAbove,
    Six,
    Eight,
}

/// The scales of 16 rows by the columns of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heads {
    /// One of f16.
    Scale,
    /// A scale and what is added, of f16.
    ScaleAndBase,
    /// Scale and minimum of f16; for every 32 columns whole numbers that multiply them.
    ScalesAndMinima,
    /// The same for every 16 columns, of 4 bits each.
    FineScalesAndMinima,
    /// A scale of f16; for every 16 columns a signed whole number.
    FineScales,
    /// The same for every 32 columns.
    Scales,
    /// The exponent of a power of two (E8M0).
    Exponent,
}

/// The numbers that the IQ4 types choose from, and 128: close together around zero, where most weights
/// are.
const IQ4: [u8; 16] = [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];

/// The numbers of MXFP4, doubled, and 128: two bits of exponent and one of mantissa (OCP Microscaling
/// Formats 1.0, 5.3.3).
const FP4: [u8; 16] =
    [128, 129, 130, 131, 132, 134, 136, 140, 128, 127, 126, 125, 124, 122, 120, 116];

impl Format {
    /// How a type is packed; none where it is not.
    pub(super) fn of(kind: TensorType) -> Option<Self> {
        let small =
            |code, heads, block_bytes, read| Self { code, heads, block: 32, block_bytes, read };
        let large =
            |code, heads, block_bytes, read| Self { code, heads, block: 256, block_bytes, read };
        let dtype = match kind {
            TensorType::Candle(dtype) => dtype,
            TensorType::Iq4Nl => {
                return Some(small(Code::FourOfIq4, Heads::Scale, 18, file_blocks::q4_0));
            }
            TensorType::Iq4Xs => {
                return Some(large(Code::FourOfIq4, Heads::Scales, 136, file_blocks::iq4_xs));
            }
            TensorType::Mxfp4 => {
                return Some(small(Code::FourOfFp4, Heads::Exponent, 17, file_blocks::mxfp4));
            }
        };
        Some(match dtype {
            GgmlDType::Q4_0 => small(Code::Four, Heads::Scale, 18, file_blocks::q4_0),
            GgmlDType::Q4_1 => small(Code::FourAbove, Heads::ScaleAndBase, 20, file_blocks::q4_1),
            GgmlDType::Q5_0 => small(Code::Five, Heads::Scale, 22, file_blocks::q5_0),
            GgmlDType::Q5_1 => small(Code::FiveAbove, Heads::ScaleAndBase, 24, file_blocks::q5_1),
            GgmlDType::Q8_0 => small(Code::Eight, Heads::Scale, 34, file_blocks::q8_0),
            GgmlDType::Q2K => large(Code::Two, Heads::FineScalesAndMinima, 84, file_blocks::q2_k),
            GgmlDType::Q3K => large(Code::Three, Heads::FineScales, 110, file_blocks::q3_k),
            GgmlDType::Q4K => {
                large(Code::FourAbove, Heads::ScalesAndMinima, 144, file_blocks::q4_k)
            }
            GgmlDType::Q5K => {
                large(Code::FiveAbove, Heads::ScalesAndMinima, 176, file_blocks::q5_k)
            }
            GgmlDType::Q6K => large(Code::Six, Heads::FineScales, 210, file_blocks::q6_k),
            _ => return None,
        })
    }
}

impl Code {
    /// Bits of a code.
    pub(super) const fn bits(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Three => 3,
            Self::Four | Self::FourAbove | Self::FourOfIq4 | Self::FourOfFp4 => 4,
            Self::Five | Self::FiveAbove => 5,
            Self::Six => 6,
            Self::Eight => 8,
        }
    }

    /// Lines of 16 rows by a group of columns.
    pub(super) const fn lines(self) -> usize {
        self.bits()
    }

    /// Whether minima are taken away, in place of an offset.
    pub(super) const fn has_minima(self) -> bool {
        matches!(self, Self::Two | Self::FourAbove | Self::FiveAbove)
    }

    /// What is taken from a code where there are no minima.
    pub(super) const fn offset(self) -> u8 {
        if self.has_minima() { 0 } else { 1 << (self.width() - 1) }
    }

    /// The numbers that a code chooses from; none where it is the number itself.
    pub(super) const fn numbers(self) -> Option<&'static [u8; 16]> {
        match self {
            Self::FourOfIq4 => Some(&IQ4),
            Self::FourOfFp4 => Some(&FP4),
            _ => None,
        }
    }

    /// Bits of the number that a code stands for.
    pub(super) const fn width(self) -> usize {
        if self.numbers().is_some() { 8 } else { self.bits() }
    }

    /// Scales of a group of columns.
    pub(super) const fn parts(self) -> usize {
        if matches!(self.bits(), 2 | 3 | 6) { 2 } else { 1 }
    }
}

/// The code of this number, for functions that are made for each.
pub(super) const fn code(number: usize) -> Code {
    const ALL: [Code; 10] = [
        Code::Two,
        Code::Three,
        Code::Four,
        Code::FourAbove,
        Code::FourOfIq4,
        Code::FourOfFp4,
        Code::Five,
        Code::FiveAbove,
        Code::Six,
        Code::Eight,
    ];
    assert!(ALL[number] as usize == number, "in the order of the codes");
    ALL[number]
}

impl Heads {
    /// Bytes of 16 rows by a block.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Scale => 32,
            Self::ScaleAndBase => 64,
            Self::ScalesAndMinima | Self::FineScalesAndMinima => 320,
            Self::FineScales => 288,
            Self::Scales => 160,
            Self::Exponent => 16,
        }
    }
}
