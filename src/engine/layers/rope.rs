//! Rotary position embedding (Su et al., 2021) and the norms on queries and keys that stand before it.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};

use super::elementwise::{elements_mut, normalise};
use super::for_each_part;

/// Which elements of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RopeKind {
    /// Neighbours: 0 with 1, 2 with 3. llama, after the permutation that GGUF files of it have.
    Interleaved,
    /// Halves: 0 with n/2, 1 with n/2 + 1. qwen and most others.
    HalfSplit,
}

/// How positions become angles.
#[derive(Clone, Debug)]
pub(crate) struct Rope {
    kind: RopeKind,
    /// Angle per position, one for each pair.
    frequencies: Vec<f32>,
    /// Multiplies cosines and sines.
    attention: f32,
}

/// How a model was made to take longer contexts than it was first trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stretch {
    None,
    /// All positions divided by the factor.
    Linear(f32),
    /// Slow pairs divided by the factor, fast ones kept (Peng et al., 2023).
    Yarn {
        /// By how much longer the context became.
        factor: f32,
        /// The context before.
        original: usize,
        /// Turns within the original context from which on a pair counts as fast, and as slow.
        turns: (f32, f32),
        /// Where the fast pairs end and the slow ones begin.
        borders: YarnBorders,
    },
}

/// How the borders between fast and slow pairs are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum YarnBorders {
    /// At whole pairs, as the paper's code has them.
    Whole,
    /// Where they fall (gpt-oss: `truncate` is false).
    Exact,
}

impl Stretch {
    /// What cosines and sines are multiplied with.
    pub(crate) fn attention(self) -> f32 {
        match self {
            Self::Yarn { factor, .. } if factor > 1.0 => 0.1 * factor.ln() + 1.0,
            _ => 1.0,
        }
    }
}

impl Rope {
    /// `dimensions` of each head turn; it is even.
    pub(crate) fn new(kind: RopeKind, base: f32, dimensions: usize, stretch: Stretch) -> Self {
        let plain = |pair: usize| base.powf(-(2.0 * pair as f32) / dimensions as f32);
        let frequencies = (0..dimensions / 2).map(|pair| match stretch {
            Stretch::None => plain(pair),
            Stretch::Linear(factor) => plain(pair) / factor,
            Stretch::Yarn { factor, original, turns: (fast, slow), borders } => {
                // The pair that turns so often within the original context.
                let pair_of = |turns: f32| {
                    let length = original as f32 / (turns * std::f32::consts::TAU);
                    dimensions as f32 * length.ln() / (2.0 * base.ln())
                };
                let last = dimensions as f32 - 1.0;
                let (low, high) = (pair_of(fast), pair_of(slow));
                let (low, high) = match borders {
                    YarnBorders::Whole => (low.floor(), high.ceil()),
                    YarnBorders::Exact => (low, high),
                };
                let (low, high) = (low.clamp(0.0, last), high.clamp(0.0, last));
                let slow = ((pair as f32 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                plain(pair) * (slow / factor + (1.0 - slow))
            }
        });
        Self { kind, frequencies: frequencies.collect(), attention: stretch.attention() }
    }

    /// Divides the frequencies (llama 3, phi).
    pub(crate) fn divided(mut self, factors: Option<&[f32]>) -> Self {
        for (frequency, factor) in self.frequencies.iter_mut().zip(factors.unwrap_or_default()) {
            *frequency /= factor;
        }
        self
    }

    /// Multiplies cosines and sines, and with them the scores by the square.
    pub(crate) fn scaled(mut self, by: f32) -> Self {
        self.attention *= by;
        self
    }

    /// The angles of the rows of a step; all layers use the same.
    pub(crate) fn angles(&self, positions: impl ExactSizeIterator<Item = usize>) -> RopeAngles {
        let pairs = self.frequencies.len();
        let mut cos = Vec::with_capacity(positions.len() * pairs);
        let mut sin = Vec::with_capacity(positions.len() * pairs);
        for position in positions {
            for frequency in &self.frequencies {
                let (s, c) = (position as f32 * frequency).sin_cos();
                cos.push(c * self.attention);
                sin.push(s * self.attention);
            }
        }
        RopeAngles { kind: self.kind, pairs, cos, sin }
    }
}

/// Cosines and sines, [rows, pairs].
pub(crate) struct RopeAngles {
    /// Which elements turn together.
    pub(crate) kind: RopeKind,
    /// How many pairs of a head turn.
    pub(crate) pairs: usize,
    /// [rows, pairs]
    pub(crate) cos: Vec<f32>,
    /// [rows, pairs]
    pub(crate) sin: Vec<f32>,
}

/// Turns the heads of queries or keys, [rows, heads × head_dim], after normalising each head where
/// the family does that.
pub(crate) struct Heads<'a> {
    /// Elements of a head.
    pub(crate) head_dim: usize,
    /// The weight of the norm and its epsilon.
    pub(crate) norm: Option<(&'a [f32], f32)>,
    /// The angles of the rows; none where the layer does not turn.
    pub(crate) angles: Option<&'a RopeAngles>,
}

impl Heads<'_> {
    /// Changes the tensor in place.
    pub(crate) fn apply(&self, rows: &Tensor) -> Result<()> {
        rows.inplace_op1(self)
    }

    fn turn(angles: &RopeAngles, head: &mut [f32], row: usize) {
        let RopeAngles { kind, pairs, cos, sin } = angles;
        let cos = &cos[row * pairs..(row + 1) * pairs];
        let sin = &sin[row * pairs..(row + 1) * pairs];
        let turned = &mut head[..2 * pairs];
        match kind {
            RopeKind::Interleaved => {
                for ((pair, c), s) in turned.chunks_exact_mut(2).zip(cos).zip(sin) {
                    let (a, b) = (pair[0], pair[1]);
                    pair[0] = a * c - b * s;
                    pair[1] = a * s + b * c;
                }
            }
            RopeKind::HalfSplit => {
                let (low, high) = turned.split_at_mut(*pairs);
                for (((a, b), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                    (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
                }
            }
        }
    }
}

impl InplaceOp1 for Heads<'_> {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (rows, width) = layout.shape().dims2()?;
        let fits = |angles: &RopeAngles| {
            2 * angles.pairs <= self.head_dim && rows * angles.pairs <= angles.cos.len()
        };
        if self.head_dim == 0 || width % self.head_dim != 0 || !self.angles.is_none_or(fits) {
            bail!("rope for heads of {} on {:?}", self.head_dim, layout.shape());
        }
        for_each_part(elements_mut(storage, layout)?, width, |row, heads| {
            for head in heads.chunks_exact_mut(self.head_dim) {
                if let Some((weight, epsilon)) = self.norm {
                    normalise(head, weight, epsilon);
                }
                if let Some(angles) = self.angles {
                    Self::turn(angles, head, row);
                }
            }
        });
        Ok(())
    }
}
