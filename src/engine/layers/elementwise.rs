//! Normalisation, the gate of the feed-forward part, and sums: one pass over the rows each.

use candle_core::{
    CpuStorage, CustomOp2, InplaceOp1, InplaceOp2, Layout, Result, Shape, Tensor, bail,
};

use super::for_each_part;
use crate::engine::compute::{Compute, normalised};
use crate::engine::kernels::{GateClamped, GateSilu, Gelu, GeluErf, Sum, SumOfSquares, Target};

/// The elements of a contiguous f32 tensor.
pub(super) fn elements<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(data) = storage else { bail!("expected f32") };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&data[start..end]),
        None => bail!("expected a contiguous tensor"),
    }
}

/// As `elements`, to be changed.
pub(super) fn elements_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> Result<&'a mut [f32]> {
    let CpuStorage::F32(data) = storage else { bail!("expected f32") };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&mut data[start..end]),
        None => bail!("expected a contiguous tensor"),
    }
}

/// How rows are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// By the root of the mean of the squares (Zhang and Sennrich, 2019).
    Rms,
    /// By mean and variance (Ba et al., 2016).
    Layer,
}

/// Normalisation with a weight for each column, and a bias where the family has one.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    kind: NormKind,
    weight: Tensor,
    bias: Option<Tensor>,
    epsilon: f32,
    compute: Compute,
}

impl Norm {
    /// Weight and bias have one element for each column, and lie where it is computed.
    pub(crate) fn new(
        kind: NormKind,
        weight: Tensor,
        bias: Option<Tensor>,
        epsilon: f32,
        compute: Compute,
    ) -> Self {
        Self { kind, weight, bias, epsilon, compute }
    }

    /// Normalises every row.
    pub(crate) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        if let Compute::Device(_) = self.compute {
            let weights = (&self.weight, self.bias.as_ref());
            return normalised(self.kind, rows, weights, self.epsilon);
        }
        let normalise = Normalise { kind: self.kind, epsilon: self.epsilon };
        let normal = rows.apply_op2_no_bwd(&self.weight, &normalise)?;
        if let Some(bias) = &self.bias {
            add_into(&normal, bias, 1.0)?;
        }
        Ok(normal)
    }
}

/// Normalises one row in place by its root mean square.
pub(super) fn normalise(row: &mut [f32], weight: &[f32], epsilon: f32) {
    let mean = Target::best().run(SumOfSquares { row, less: 0.0 }) / row.len() as f32;
    let scale = (mean + epsilon).sqrt().recip();
    for (x, w) in row.iter_mut().zip(weight) {
        *x = *x * scale * w;
    }
}

/// Normalises one row in place by its mean and variance.
fn normalise_layer(row: &mut [f32], weight: &[f32], epsilon: f32) {
    let mean = Target::best().run(Sum(row)) / row.len() as f32;
    let variance = Target::best().run(SumOfSquares { row, less: mean }) / row.len() as f32;
    let scale = (variance + epsilon).sqrt().recip();
    for (x, w) in row.iter_mut().zip(weight) {
        *x = (*x - mean) * scale * w;
    }
}

struct Normalise {
    kind: NormKind,
    epsilon: f32,
}

impl CustomOp2 for Normalise {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let weight = elements(w, w_layout)?;
        let mut out = elements(x, x_layout)?.to_vec();
        if weight.is_empty() || out.len() % weight.len() != 0 {
            bail!("a norm of {} columns on {:?}", weight.len(), x_layout.shape());
        }
        for_each_part(&mut out, weight.len(), |_, row| match self.kind {
            NormKind::Rms => normalise(row, weight, self.epsilon),
            NormKind::Layer => normalise_layer(row, weight, self.epsilon),
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

/// Adds `terms`, multiplied by `scale`, to `sum`; where `terms` is one row, to every row.
pub(crate) fn add_into(sum: &Tensor, terms: &Tensor, scale: f32) -> Result<()> {
    sum.inplace_op2(terms, &Add { scale })
}

struct Add {
    scale: f32,
}

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add-into"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        sum_layout: &Layout,
        terms: &CpuStorage,
        terms_layout: &Layout,
    ) -> Result<()> {
        let terms = elements(terms, terms_layout)?;
        let sum = elements_mut(sum, sum_layout)?;
        if terms.is_empty() || sum.len() % terms.len() != 0 {
            bail!("cannot add {:?} to {:?}", terms_layout.shape(), sum_layout.shape());
        }
        for row in sum.chunks_mut(terms.len()) {
            for (sum, term) in row.iter_mut().zip(terms) {
                *sum += term * self.scale;
            }
        }
        Ok(())
    }
}

/// Multiplies every element in place.
pub(crate) fn scale_by(rows: &Tensor, by: f32) -> Result<()> {
    if by == 1.0 { Ok(()) } else { rows.inplace_op1(&Scale(by)) }
}

struct Scale(f32);

impl InplaceOp1 for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn cpu_fwd(&self, rows: &mut CpuStorage, layout: &Layout) -> Result<()> {
        elements_mut(rows, layout)?.iter_mut().for_each(|x| *x *= self.0);
        Ok(())
    }
}

/// The unit inside of a feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `silu(gate) * up`
    SiluGate,
    /// `gelu(gate) * up`
    GeluGate,
    /// `gelu(up)`, without a gate
    Gelu,
    /// The same, by the error function instead of its approximation
    GeluErf,
    /// `gate * sigmoid(1.702 * gate) * (up + 1)`, both held within 7 (gpt-oss)
    ClampedGate,
}

/// Elements that one thread takes at a time.
const PART: usize = 4096;

/// `gate = activation(gate) * up`, in place.
pub(crate) fn activate(gate: &Tensor, up: &Tensor, activation: Activation) -> Result<()> {
    gate.inplace_op2(up, &Gate { activation })
}

/// `rows = activation(rows)`, in place, for the units without a gate.
pub(crate) fn activate_alone(rows: &Tensor, activation: Activation) -> Result<()> {
    rows.inplace_op1(&Alone { activation })
}

struct Gate {
    activation: Activation,
}

impl InplaceOp2 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(
        &self,
        gate: &mut CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<()> {
        let up = elements(up, up_layout)?;
        let gate = elements_mut(gate, gate_layout)?;
        if gate.len() != up.len() {
            bail!("a gate of {:?} for {:?}", gate_layout.shape(), up_layout.shape());
        }
        for_each_part(gate, PART, |index, gate| {
            let up = &up[index * PART..index * PART + gate.len()];
            match self.activation {
                Activation::SiluGate => Target::best().run(GateSilu { gate, up }),
                Activation::ClampedGate => Target::best().run(GateClamped { gate, up }),
                Activation::GeluGate | Activation::Gelu | Activation::GeluErf => {
                    Target::best().run(Gelu { gate });
                    gate.iter_mut().zip(up).for_each(|(gate, up)| *gate *= up);
                }
            }
        });
        Ok(())
    }
}

struct Alone {
    activation: Activation,
}

impl InplaceOp1 for Alone {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, rows: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let rows = elements_mut(rows, layout)?;
        for_each_part(rows, PART, |_, gate| match self.activation {
            Activation::GeluErf => Target::best().run(GeluErf { gate }),
            Activation::Gelu
            | Activation::GeluGate
            | Activation::SiluGate
            | Activation::ClampedGate => Target::best().run(Gelu { gate }),
        });
        Ok(())
    }
}
