//! The types of weights: their numbers in a file, their names, and the blocks they come in.

use candle_core::quantized::GgmlDType;

/// The type of a tensor's blocks, as GGUF names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TensorType {
    /// A type that candle computes with.
    Candle(GgmlDType),
    /// 4 bits that choose among 16 fixed numbers, 32 to a scale.
    Iq4Nl,
    /// The same numbers, 32 to a scale of 6 bits, 256 to a scale of those.
    Iq4Xs,
    /// OCP Microscaling FP4 (E2M1), 32 to a power of two.
    Mxfp4,
}

/// Every type that is supported, by its number in a file and its name.
pub(super) const TYPES: [(u32, &str, TensorType); 16] = [
    (0, "F32", TensorType::Candle(GgmlDType::F32)),
    (1, "F16", TensorType::Candle(GgmlDType::F16)),
    (2, "Q4_0", TensorType::Candle(GgmlDType::Q4_0)),
    (3, "Q4_1", TensorType::Candle(GgmlDType::Q4_1)),
    (6, "Q5_0", TensorType::Candle(GgmlDType::Q5_0)),
    (7, "Q5_1", TensorType::Candle(GgmlDType::Q5_1)),
    (8, "Q8_0", TensorType::Candle(GgmlDType::Q8_0)),
    (10, "Q2_K", TensorType::Candle(GgmlDType::Q2K)),
    (11, "Q3_K", TensorType::Candle(GgmlDType::Q3K)),
    (12, "Q4_K", TensorType::Candle(GgmlDType::Q4K)),
    (13, "Q5_K", TensorType::Candle(GgmlDType::Q5K)),
    (14, "Q6_K", TensorType::Candle(GgmlDType::Q6K)),
    (20, "IQ4_NL", TensorType::Iq4Nl),
    (23, "IQ4_XS", TensorType::Iq4Xs),
    (30, "BF16", TensorType::Candle(GgmlDType::BF16)),
    (39, "MXFP4", TensorType::Mxfp4),
];

/// What the others are called; the names are those of ggml, of today and of before.
const UNSUPPORTED: [(u32, &str); 26] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

/// The names of those that are supported, for people.
pub(super) fn supported() -> String {
    TYPES.map(|(_, name, _)| name).join(", ")
}

impl TensorType {
    /// The type with this number in a file; where it is not supported, its name.
    pub(super) fn from_code(code: u32) -> Result<Self, String> {
        if let Some((_, _, found)) = TYPES.iter().find(|(known, ..)| *known == code) {
            return Ok(*found);
        }
        let known = UNSUPPORTED.iter().find(|(known, _)| *known == code);
        Err(known.map_or_else(|| format!("number {code}"), |(_, name)| (*name).to_owned()))
    }

    /// Its number in a file.
    pub fn code(self) -> u32 {
        TYPES.iter().find(|(.., known)| *known == self).map_or(u32::MAX, |(code, ..)| *code)
    }

    /// Its name, as in the names of files.
    pub fn name(self) -> &'static str {
        TYPES.iter().find(|(.., known)| *known == self).map_or("unknown", |(_, name, _)| name)
    }

    /// Weights of a block.
    pub fn block_size(self) -> usize {
        match self {
            Self::Candle(dtype) => dtype.block_size(),
            Self::Iq4Nl | Self::Mxfp4 => 32,
            Self::Iq4Xs => 256,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Candle(dtype) => dtype.type_size(),
            Self::Iq4Nl => 18,
            Self::Iq4Xs => 136,
            Self::Mxfp4 => 17,
        }
    }

    /// Bytes of a row of so many weights, which divide into blocks.
    pub(in crate::engine) fn row_bytes(self, columns: usize) -> usize {
        columns / self.block_size() * self.block_bytes()
    }
}
