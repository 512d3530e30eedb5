//! How each type of ggml is packed: how many bits a code has, and how its scales lie.

use candle_core::quantized::GgmlDType;

use super::file_blocks::{self, FileBlock};
use crate::engine::gguf::TensorType;

/// Columns that share a step of the kernels, and a scale of the activations.
pub(super) const GROUP: usize = 32;

/// A type of weights that is packed, and what its blocks are in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) layout: Layout,
    /// Bytes of a block of the file.
    pub(super) block_bytes: usize,
    /// Reads a block of the file.
    pub(super) read: fn(&[u8], &mut FileBlock),
}

/// How weights are packed: their codes and their scales. A weight is
/// `scale * (code - offset) - minimum`, with an offset of half the codes where there are no minima.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
    Mxfp4,
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
        use file_blocks as read;
        type Read = fn(&[u8], &mut FileBlock);
        let (layout, read): (_, Read) = match kind {
            TensorType::Candle(GgmlDType::Q4_0) => (Layout::Q4_0, read::q4_0),
            TensorType::Candle(GgmlDType::Q4_1) => (Layout::Q4_1, read::q4_1),
            TensorType::Candle(GgmlDType::Q5_0) => (Layout::Q5_0, read::q5_0),
            TensorType::Candle(GgmlDType::Q5_1) => (Layout::Q5_1, read::q5_1),
            TensorType::Candle(GgmlDType::Q8_0) => (Layout::Q8_0, read::q8_0),
            TensorType::Candle(GgmlDType::Q2K) => (Layout::Q2K, read::q2_k),
            TensorType::Candle(GgmlDType::Q3K) => (Layout::Q3K, read::q3_k),
            TensorType::Candle(GgmlDType::Q4K) => (Layout::Q4K, read::q4_k),
            TensorType::Candle(GgmlDType::Q5K) => (Layout::Q5K, read::q5_k),
            TensorType::Candle(GgmlDType::Q6K) => (Layout::Q6K, read::q6_k),
            TensorType::Candle(_) => return None,
            // The codes lie as those of Q4_0.
            TensorType::Iq4Nl => (Layout::Iq4Nl, read::q4_0),
            TensorType::Iq4Xs => (Layout::Iq4Xs, read::iq4_xs),
            TensorType::Mxfp4 => (Layout::Mxfp4, read::mxfp4),
        };
        Some(Self { layout, block_bytes: kind.block_bytes(), read })
    }
}

impl Layout {
    /// The codes.
    pub(super) const fn code(self) -> Code {
        match self {
            Self::Q2K => Code::Two,
            Self::Q3K => Code::Three,
            Self::Q4_0 => Code::Four,
            Self::Q4_1 | Self::Q4K => Code::FourAbove,
            Self::Iq4Nl | Self::Iq4Xs => Code::FourOfIq4,
            Self::Mxfp4 => Code::FourOfFp4,
            Self::Q5_0 => Code::Five,
            Self::Q5_1 | Self::Q5K => Code::FiveAbove,
            Self::Q6K => Code::Six,
            Self::Q8_0 => Code::Eight,
        }
    }

    /// The scales.
    pub(super) const fn heads(self) -> Heads {
        match self {
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 | Self::Iq4Nl => Heads::Scale,
            Self::Q4_1 | Self::Q5_1 => Heads::ScaleAndBase,
            Self::Q4K | Self::Q5K => Heads::ScalesAndMinima,
            Self::Q2K => Heads::FineScalesAndMinima,
            Self::Q3K | Self::Q6K => Heads::FineScales,
            Self::Iq4Xs => Heads::Scales,
            Self::Mxfp4 => Heads::Exponent,
        }
    }

    /// Weights of a block.
    pub(super) const fn block(self) -> usize {
        match self.heads() {
            Heads::Scale | Heads::ScaleAndBase | Heads::Exponent => GROUP,
            _ => 256,
        }
    }

    /// Groups of a block.
    pub(super) const fn groups(self) -> usize {
        self.block() / GROUP
    }
}

/// The layout of this number, for functions that are made for each.
pub(super) const fn layout(number: usize) -> Layout {
    const ALL: [Layout; 13] = [
        Layout::Q4_0,
        Layout::Q4_1,
        Layout::Q5_0,
        Layout::Q5_1,
        Layout::Q8_0,
        Layout::Q2K,
        Layout::Q3K,
        Layout::Q4K,
        Layout::Q5K,
        Layout::Q6K,
        Layout::Iq4Nl,
        Layout::Iq4Xs,
        Layout::Mxfp4,
    ];
    assert!(ALL[number] as usize == number, "in the order of the layouts");
    ALL[number]
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

impl Heads {
    /// Numbers of f16 of each row.
    pub(super) const fn halves(self) -> usize {
        match self {
            Self::Exponent => 0,
            Self::Scale | Self::Scales | Self::FineScales => 1,
            Self::ScaleAndBase | Self::ScalesAndMinima | Self::FineScalesAndMinima => 2,
        }
    }

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
