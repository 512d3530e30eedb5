//! Normalisation, the gate of the feed-forward part, and sums: one pass over the rows each.

use candle_core::{CpuStorage, CustomOp2, InplaceOp2, Layout, Result, Shape, Tensor, bail};

use super::for_each_part;
use crate::engine::kernels::{GateSilu, SumOfSquares, Target};

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

/// Root-mean-square normalisation with a weight for each column (Zhang and Sennrich, 2019).
#[derive(Clone, Debug)]
pub(crate) struct RmsNorm {
    weight: Tensor,
    epsilon: f32,
}

impl RmsNorm {
    /// The weight has one element for each column.
    pub(crate) fn new(weight: Tensor, epsilon: f32) -> Self {
        Self { weight, epsilon }
    }

    /// Normalises every row.
    pub(crate) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        rows.apply_op2_no_bwd(&self.weight, &Normalise { epsilon: self.epsilon })
    }
}

/// Normalises one row in place.
pub(super) fn normalise(row: &mut [f32], weight: &[f32], epsilon: f32) {
    let mean = Target::best().run(SumOfSquares(row)) / row.len() as f32;
    let scale = (mean + epsilon).sqrt().recip();
    for (x, w) in row.iter_mut().zip(weight) {
        *x = *x * scale * w;
    }
}

struct Normalise {
    epsilon: f32,
}

impl CustomOp2 for Normalise {
    fn name(&self) -> &'static str {
        "rms-norm"
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
        for_each_part(&mut out, weight.len(), |_, row| normalise(row, weight, self.epsilon));
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

/// Adds `terms` to `sum`; where `terms` is one row, to every row.
pub(crate) fn add_into(sum: &Tensor, terms: &Tensor) -> Result<()> {
    sum.inplace_op2(terms, &Add)
}

struct Add;

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
                *sum += term;
            }
        }
        Ok(())
    }
}

/// `gate = silu(gate) * up`, the gated unit of llama and its relatives.
pub(crate) fn gate_silu(gate: &Tensor, up: &Tensor) -> Result<()> {
    gate.inplace_op2(up, &Gate)
}

struct Gate;

impl InplaceOp2 for Gate {
    fn name(&self) -> &'static str {
        "gate-silu"
    }

    fn cpu_fwd(
        &self,
        gate: &mut CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<()> {
        const PART: usize = 4096;
        let up = elements(up, up_layout)?;
        let gate = elements_mut(gate, gate_layout)?;
        if gate.len() != up.len() {
            bail!("a gate of {:?} for {:?}", gate_layout.shape(), up_layout.shape());
        }
        for_each_part(gate, PART, |index, gate| {
            let up = &up[index * PART..index * PART + gate.len()];
            Target::best().run(GateSilu { gate, up });
        });
        Ok(())
    }
}
