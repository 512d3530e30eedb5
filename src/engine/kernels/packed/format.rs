//! How each type of ggml is packed: how many bits a code has, and how its scales lie.

use candle_core::quantized::GgmlDType;

use super::file_blocks::{self, FileBlock};

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
}

impl Format {
    /// How a type is packed; none where it is not.
    pub(super) fn of(dtype: GgmlDType) -> Option<Self> {
        let small =
            |code, heads, block_bytes, read| Self { code, heads, block: 32, block_bytes, read };
        let large =
            |code, heads, block_bytes, read| Self { code, heads, block: 256, block_bytes, read };
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
            Self::Four | Self::FourAbove => 4,
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
        if self.has_minima() { 0 } else { 1 << (self.bits() - 1) }
    }

    /// Scales of a group of columns.
    pub(super) const fn parts(self) -> usize {
        parts(self.bits())
    }
}

/// Scales of a group of columns, by the bits of a code.
pub(super) const fn parts(bits: usize) -> usize {
    if matches!(bits, 2 | 3 | 6) { 2 } else { 1 }
}

impl Heads {
    /// Bytes of 16 rows by a block.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Scale => 32,
            Self::ScaleAndBase => 64,
            Self::ScalesAndMinima | Self::FineScalesAndMinima => 320,
            Self::FineScales => 288,
        }
    }
}
