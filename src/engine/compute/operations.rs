//! The parts of a layer as operations on tensors: what `layers` does in place on the processor.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::{layer_norm, rms_norm, sigmoid};
use candle_nn::rotary_emb::{rope, rope_i};

use crate::engine::layers::{Activation, NormKind, RopeAngles, RopeKind};

/// The limit and the slope of `Activation::ClampedGate`.
const CLAMP: f32 = 7.0;
const SLOPE: f64 = 1.702;

/// Normalises the last dimension.
pub(crate) fn normalised(
    kind: NormKind,
    rows: &Tensor,
    (weight, bias): (&Tensor, Option<&Tensor>),
    epsilon: f32,
) -> Result<Tensor> {
    match (kind, bias) {
        (NormKind::Rms, None) => rms_norm(rows, weight, epsilon),
        (NormKind::Rms, Some(bias)) => rms_norm(rows, weight, epsilon)?.broadcast_add(bias),
        (NormKind::Layer, Some(bias)) => layer_norm(rows, weight, bias, epsilon),
        (NormKind::Layer, None) => layer_norm(rows, weight, &weight.zeros_like()?, epsilon),
    }
}

/// `activation(gate) * up`
pub(super) fn gated(gate: &Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::ClampedGate => {
            let gate = gate.minimum(CLAMP)?;
            let open = (&gate * sigmoid(&gate.affine(SLOPE, 0.0)?)?)?;
            open * up.clamp(-CLAMP, CLAMP)?.affine(1.0, 1.0)?
        }
        Activation::SiluGate | Activation::GeluGate | Activation::Gelu | Activation::GeluErf => {
            activated(gate, activation)? * up
        }
    }
}

/// `activation(rows)`
pub(super) fn activated(rows: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::SiluGate => rows.silu(),
        Activation::GeluErf => rows.gelu_erf(),
        Activation::GeluGate | Activation::Gelu | Activation::ClampedGate => rows.gelu(),
    }
}

/// The cosines and sines of a step's rows, [rows, 1, pairs] each.
pub(crate) struct Turns {
    kind: RopeKind,
    pairs: usize,
    cos: Tensor,
    sin: Tensor,
}

impl Turns {
    pub(super) fn new(angles: RopeAngles, device: &Device) -> Result<Self> {
        let RopeAngles { kind, pairs, cos, sin } = angles;
        let rows = cos.len() / pairs.max(1);
        let tensor = |numbers| Tensor::from_vec(numbers, (rows, 1, pairs), device);
        Ok(Self { kind, pairs, cos: tensor(cos)?, sin: tensor(sin)? })
    }

    /// Turns heads, [rows, heads, 1, head_dim]; the elements behind the pairs stay what they are.
    fn apply(&self, heads: &Tensor) -> Result<Tensor> {
        let turn = |heads: &Tensor| match self.kind {
            RopeKind::Interleaved => rope_i(heads, &self.cos, &self.sin),
            RopeKind::HalfSplit => rope(heads, &self.cos, &self.sin),
        };
        let (turning, all) = (2 * self.pairs, heads.dim(D::Minus1)?);
        if turning == all {
            return turn(heads);
        }
        let turned = turn(&heads.narrow(D::Minus1, 0, turning)?.contiguous()?)?;
        Tensor::cat(&[turned, heads.narrow(D::Minus1, turning, all - turning)?], D::Minus1)
    }
}

/// Normalises and turns heads, [rows, heads × head_dim].
pub(super) fn turned(
    rows: &Tensor,
    head_dim: usize,
    norm: Option<(&Tensor, f32)>,
    turns: Option<&Turns>,
) -> Result<Tensor> {
    let (count, width) = rows.dims2()?;
    let mut heads = rows.reshape((count, width / head_dim.max(1), 1, head_dim))?;
    if let Some((weight, epsilon)) = norm {
        heads = rms_norm(&heads, weight, epsilon)?;
    }
    if let Some(turns) = turns {
        heads = turns.apply(&heads)?;
    }
    heads.reshape((count, width))
}
