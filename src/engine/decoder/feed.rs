//! The feed-forward part of a layer: with a gate, without one, or a choice among experts.

use candle_core::{Device, Result, Tensor};

use super::weights::Weights;
use super::with_elements;
use crate::engine::error::LoadError;
use crate::engine::families::{DecoderSpec, Experts};
use crate::engine::layers::{Activation, Linear, activate, activate_alone, project};

/// The feed-forward part: rows [rows, width] to rows of the same shape.
pub(super) enum FeedForward {
    Gated(Gated),
    Plain { up: Linear, down: Linear, activation: Activation },
    Experts { router: Linear, experts: Vec<Gated>, used: usize },
}

/// `down(activation(gate(x)) * up(x))`
pub(super) struct Gated {
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl FeedForward {
    pub(super) fn load(
        read: &Weights<'_>,
        spec: &DecoderSpec,
        number: usize,
    ) -> std::result::Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{number}.{part}");
        let DecoderSpec { width, hidden, activation, .. } = *spec;
        if let Some(experts) = spec.experts
            && read.has(&name("ffn_gate_inp.weight"))
        {
            return Self::load_experts(read, spec, experts, &name);
        }
        let down = || read.matrix(&name("ffn_down"), width, hidden);
        if activation == Activation::Gelu {
            let up = read.matrix(&name("ffn_up"), hidden, width)?;
            return Ok(Self::Plain { up, down: down()?, activation });
        }
        let [gate, up] = if read.has(&name("ffn_gate.weight")) {
            let gate = read.matrix(&name("ffn_gate"), hidden, width)?;
            [gate, read.matrix(&name("ffn_up"), hidden, width)?]
        } else {
            read.fused(&name("ffn_up"), [hidden, hidden], width)?
        };
        Ok(Self::Gated(Gated { gate, up, down: down()?, activation }))
    }

    fn load_experts(
        read: &Weights<'_>,
        spec: &DecoderSpec,
        experts: Experts,
        name: &impl Fn(&str) -> String,
    ) -> std::result::Result<Self, LoadError> {
        let Experts { count, used, hidden } = experts;
        let (width, activation) = (spec.width, spec.activation);
        let gates = read.experts(&name("ffn_gate_exps"), count, hidden, width)?;
        let ups = read.experts(&name("ffn_up_exps"), count, hidden, width)?;
        let downs = read.experts(&name("ffn_down_exps"), count, width, hidden)?;
        let all = gates.into_iter().zip(ups).zip(downs);
        let experts = all.map(|((gate, up), down)| Gated { gate, up, down, activation }).collect();
        let router = read.matrix(&name("ffn_gate_inp"), count, width)?;
        Ok(Self::Experts { router, experts, used })
    }

    /// Works on every row.
    pub(super) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gated(gated) => gated.forward(rows),
            Self::Plain { up, down, activation } => {
                let inner = up.forward(rows)?;
                activate_alone(&inner, *activation)?;
                down.forward(&inner)
            }
            Self::Experts { router, experts, used } => mix(rows, router, experts, *used),
        }
    }
}

impl Gated {
    fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let [gate, up] = project([&self.gate, &self.up], rows)?;
        activate(&gate, &up, self.activation)?;
        self.down.forward(&gate)
    }
}

/// Gives every row to the experts that the router finds best for it, and adds up what they say,
/// weighed by how good they are among themselves (Shazeer et al., 2017). What a row gets does not
/// depend on the other rows: each expert works on it as on any, and the sum is taken in the order
/// of the experts.
fn mix(rows: &Tensor, router: &Linear, experts: &[Gated], used: usize) -> Result<Tensor> {
    let (count, width) = rows.dims2()?;
    let mut given: Vec<Vec<(u32, f32)>> = vec![Vec::new(); experts.len()];
    with_elements(&router.forward(rows)?, |scores| {
        for (row, scores) in scores.chunks_exact(experts.len()).enumerate() {
            for (expert, share) in choose(scores, used) {
                given[expert].push((row as u32, share));
            }
        }
    })?;
    let mut sum = vec![0.0_f32; count * width];
    for (expert, given) in experts.iter().zip(given).filter(|(_, given)| !given.is_empty()) {
        let ids: Vec<u32> = given.iter().map(|(row, _)| *row).collect();
        let some = rows.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?;
        with_elements(&expert.forward(&some)?, |said| {
            for ((row, share), said) in given.iter().zip(said.chunks_exact(width)) {
                let sum = &mut sum[*row as usize * width..][..width];
                sum.iter_mut().zip(said).for_each(|(sum, x)| *sum += share * x);
            }
        })?;
    }
    Tensor::from_vec(sum, (count, width), &Device::Cpu)
}

/// The best by score, of equals those with the lower numbers, and the share of each.
fn choose(scores: &[f32], used: usize) -> Vec<(usize, f32)> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.truncate(used);
    let highest = order.first().map_or(0.0, |best| scores[*best]);
    let weights: Vec<f32> = order.iter().map(|at| (scores[*at] - highest).exp()).collect();
    let sum: f32 = weights.iter().sum();
    order.into_iter().zip(weights.into_iter().map(|weight| weight / sum)).collect()
}
