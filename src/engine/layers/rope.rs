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
}

impl Rope {
    /// `dimensions` of each head turn; it is even. `factors` divide the frequencies (llama 3), `scale`
    /// multiplies the positions (linear scaling).
    pub(crate) fn new(
        kind: RopeKind,
        base: f32,
        dimensions: usize,
        factors: Option<&[f32]>,
        scale: f32,
    ) -> Self {
        let frequencies = (0..dimensions / 2)
            .map(|pair| {
                let frequency = base.powf(-(2.0 * pair as f32) / dimensions as f32);
                let factor = factors.and_then(|factors| factors.get(pair)).copied().unwrap_or(1.0);
                frequency * scale / factor
            })
            .collect();
        Self { kind, frequencies }
    }

    /// The angles of the rows of a step; all layers use the same.
    pub(crate) fn angles(&self, positions: impl ExactSizeIterator<Item = usize>) -> RopeAngles {
        let pairs = self.frequencies.len();
        let mut cos = Vec::with_capacity(positions.len() * pairs);
        let mut sin = Vec::with_capacity(positions.len() * pairs);
        for position in positions {
            for frequency in &self.frequencies {
                let (s, c) = (position as f32 * frequency).sin_cos();
                cos.push(c);
                sin.push(s);
            }
        }
        RopeAngles { kind: self.kind, pairs, cos, sin }
    }
}

/// Cosines and sines, [rows, pairs].
pub(crate) struct RopeAngles {
    kind: RopeKind,
    pairs: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Turns the heads of queries or keys, [rows, heads × head_dim], after normalising each head where
/// the family does that.
pub(crate) struct Heads<'a> {
    /// Elements of a head.
    pub(crate) head_dim: usize,
    /// The weight of the norm and its epsilon.
    pub(crate) norm: Option<(&'a [f32], f32)>,
    /// The angles of the rows.
    pub(crate) angles: &'a RopeAngles,
}

impl Heads<'_> {
    /// Changes the tensor in place.
    pub(crate) fn apply(&self, rows: &Tensor) -> Result<()> {
        rows.inplace_op1(self)
    }

    fn turn(&self, head: &mut [f32], row: usize) {
        let RopeAngles { kind, pairs, cos, sin } = self.angles;
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
        let known = self.angles.cos.len() / self.angles.pairs.max(1);
        if self.head_dim == 0
            || width % self.head_dim != 0
            || 2 * self.angles.pairs > self.head_dim
            || rows > known
        {
            bail!("rope for {known} rows of heads of {} on {:?}", self.head_dim, layout.shape());
        }
        for_each_part(elements_mut(storage, layout)?, width, |row, heads| {
            for head in heads.chunks_exact_mut(self.head_dim) {
                if let Some((weight, epsilon)) = self.norm {
                    normalise(head, weight, epsilon);
                }
                self.turn(head, row);
            }
        });
        Ok(())
    }
}
