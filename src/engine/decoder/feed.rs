//! The feed-forward part of a layer: with a gate, without one, or a choice among experts.

use candle_core::{Result, Tensor};

use super::weights::Weights;
use crate::engine::compute::{Compute, with_elements};
use crate::engine::error::LoadError;
use crate::engine::families::{DecoderSpec, Experts};
use crate::engine::layers::{Activation, Linear, project};

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
        let matrices = |part: &str, out: usize, input: usize| {
            if read.has(&name(&format!("{part}.0.weight"))) {
                // As the first files of Mixtral have them: each in a tensor of its own.
                let one = |number| read.matrix(&name(&format!("{part}.{number}")), out, input);
                return (0..count).map(one).collect::<std::result::Result<Vec<_>, _>>();
            }
            read.experts(&name(&format!("{part}_exps")), count, out, input)
        };
        let gates = matrices("ffn_gate", hidden, width)?;
        let ups = matrices("ffn_up", hidden, width)?;
        let downs = matrices("ffn_down", width, hidden)?;
        let all = gates.into_iter().zip(ups).zip(downs);
        let experts = all.map(|((gate, up), down)| Gated { gate, up, down, activation }).collect();
        let router = read.matrix(&name("ffn_gate_inp"), count, width)?;
        Ok(Self::Experts { router, experts, used })
    }

    /// Works on every row.
    pub(super) fn forward(&self, rows: &Tensor, compute: &Compute) -> Result<Tensor> {
        match self {
            Self::Gated(gated) => gated.forward(rows, compute),
            Self::Plain { up, down, activation } => {
                down.forward(&compute.activate_alone(up.forward(rows)?, *activation)?)
            }
            Self::Experts { router, experts, used } => {
                let shares = shares(&router.forward(rows)?, experts.len(), *used)?;
                match compute {
                    Compute::Host => mix(rows, experts, shares),
                    Compute::Device(_) => mix_on_device(rows, experts, shares, compute),
                }
            }
        }
    }
}

impl Gated {
    fn forward(&self, rows: &Tensor, compute: &Compute) -> Result<Tensor> {
        let [gate, up] = project([&self.gate, &self.up], rows)?;
        self.down.forward(&compute.activate(gate, &up, self.activation)?)
    }
}

/// Which rows an expert is given, and with which share of each.
type Given = Vec<(u32, f32)>;

/// Chooses the best experts of every row by the router's scores, [rows, experts], and weighs them by
/// how good they are among themselves (Shazeer et al., 2017).
fn shares(scores: &Tensor, experts: usize, used: usize) -> Result<Vec<Given>> {
    let mut given = vec![Given::new(); experts];
    with_elements(scores, |scores| {
        for (row, scores) in scores.chunks_exact(experts).enumerate() {
            for (expert, share) in choose(scores, used) {
                given[expert].push((row as u32, share));
            }
        }
    })?;
    Ok(given)
}

/// Adds up what the experts say to their rows. What a row gets does not depend on the other rows:
/// each expert works on it as on any, and the sum is taken in the order of the experts.
fn mix(rows: &Tensor, experts: &[Gated], shares: Vec<Given>) -> Result<Tensor> {
    let (count, width) = rows.dims2()?;
    let mut sum = vec![0.0_f32; count * width];
    for (expert, given) in experts.iter().zip(shares).filter(|(_, given)| !given.is_empty()) {
        let ids: Vec<u32> = given.iter().map(|(row, _)| *row).collect();
        let some = rows.index_select(&Compute::Host.ids(&ids)?, 0)?;
        with_elements(&expert.forward(&some, &Compute::Host)?, |said| {
            for ((row, share), said) in given.iter().zip(said.chunks_exact(width)) {
                let sum = &mut sum[*row as usize * width..][..width];
                sum.iter_mut().zip(said).for_each(|(sum, x)| *sum += share * x);
            }
        })?;
    }
    Tensor::from_vec(sum, (count, width), rows.device())
}

/// The same, with the rows and the sum on a device.
fn mix_on_device(
    rows: &Tensor,
    experts: &[Gated],
    shares: Vec<Given>,
    compute: &Compute,
) -> Result<Tensor> {
    let mut sum = rows.zeros_like()?;
    for (expert, given) in experts.iter().zip(shares).filter(|(_, given)| !given.is_empty()) {
        let (ids, weights): (Vec<u32>, Vec<f32>) = given.into_iter().unzip();
        let weights = Tensor::from_vec(weights, (ids.len(), 1), rows.device())?;
        let ids = compute.ids(&ids)?;
        let said = expert.forward(&rows.index_select(&ids, 0)?, compute)?;
        sum = sum.index_add(&ids, &said.broadcast_mul(&weights)?, 0)?;
    }
    Ok(sum)
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
