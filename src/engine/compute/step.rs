//! One step as the layers need it: what all of them have in common is made once, where it is used.

use candle_core::{Device, Result, Tensor, bail};

use super::attention::{ELEMENTS_MAX, View};
use super::cache::slot;
use super::operations::{Turns, turned};
use super::{Compute, with_elements};
use crate::engine::attention::{AttentionShape, attend};
use crate::engine::decoder::Step;
use crate::engine::families::DecoderSpec;
use crate::engine::kv::{Memory, Pool, Storage};
use crate::engine::layers::{Heads, RopeAngles};

/// A step, and the angles of its rows by rotary embedding.
pub(crate) enum Prepared<'a> {
    /// For the processor.
    Host { step: &'a Step<'a>, angles: Vec<RopeAngles> },
    /// For a device, with nothing left to be sent to it.
    Device { turns: Vec<Turns>, places: Tensor, views: Vec<(Option<usize>, View)> },
}

/// What is done to the heads of queries or keys before attention.
pub(crate) struct HeadWork<'a> {
    /// Elements of a head.
    pub(crate) head_dim: usize,
    /// The weight of the norm of each head and its epsilon.
    pub(crate) norm: Option<(&'a Tensor, f32)>,
    /// The rotary embedding, by its place in the description; none where the layer does not turn.
    pub(crate) rope: Option<usize>,
}

/// What attention needs to know of a layer.
pub(crate) struct AttentionWork<'a> {
    /// Its number.
    pub(crate) layer: usize,
    /// The shape, without sinks.
    pub(crate) shape: AttentionShape<'a>,
    /// The scores of the sinks, [heads].
    pub(crate) sinks: Option<&'a Tensor>,
}

impl<'a> Prepared<'a> {
    /// Prepares a step of the model that `spec` describes.
    pub(crate) fn new(compute: &Compute, step: &'a Step<'a>, spec: &DecoderSpec) -> Result<Self> {
        let positions = || step.positions.iter().copied();
        let angles = spec.ropes.iter().map(|rope| rope.angles(positions()));
        let Compute::Device(device) = compute else {
            return Ok(Self::Host { step, angles: angles.collect() });
        };
        let turns = angles.map(|angles| Turns::new(angles, device)).collect::<Result<_>>()?;
        let mut views: Vec<(Option<usize>, View)> = Vec::new();
        for window in spec.layers.iter().map(|layer| layer.window) {
            if !views.iter().any(|(known, _)| *known == window) {
                views.push((window, View::new(&step.runs, window, spec, ELEMENTS_MAX, device)?));
            }
        }
        Ok(Self::Device { turns, places: places(step, spec, device)?, views })
    }

    /// Normalises and turns the heads of queries or keys, [rows, heads × head_dim]. The processor
    /// writes them where they were.
    pub(crate) fn turn(&self, rows: Tensor, work: &HeadWork<'_>) -> Result<Tensor> {
        let HeadWork { head_dim, norm, rope } = *work;
        let angles = match self {
            Self::Device { turns, .. } => {
                return turned(&rows, head_dim, norm, rope.and_then(|place| turns.get(place)));
            }
            Self::Host { angles, .. } => rope.and_then(|place| angles.get(place)),
        };
        match norm {
            None => Heads { head_dim, norm: None, angles }.apply(&rows)?,
            Some((weight, epsilon)) => with_elements(weight, |weight| {
                Heads { head_dim, norm: Some((weight, epsilon)), angles }.apply(&rows)
            })??,
        }
        Ok(rows)
    }

    /// Writes keys and values, [rows, kv_heads × head_dim] each, into the cache, and gives each row's
    /// mixture of the values that it sees, [rows, heads × head_dim] as the queries are.
    pub(crate) fn attend(
        &self,
        [q, k, v]: [&Tensor; 3],
        cache: &mut Pool,
        work: &AttentionWork<'_>,
    ) -> Result<Tensor> {
        match (self, cache.memory_mut()) {
            (Self::Host { step, .. }, Memory::Host(storage)) => {
                attend_on_host(step, [q, k, v], storage, work)
            }
            (Self::Device { places, views, .. }, Memory::Device(cache)) => {
                let view = views.iter().find(|(window, _)| *window == work.shape.window);
                let Some((_, view)) = view else { bail!("a layer has an unknown window") };
                cache.write(work.layer, places, [k, v])?;
                view.attend(q, cache, work)
            }
            _ => bail!("the cache is not where the model is"),
        }
    }
}

fn attend_on_host(
    step: &Step<'_>,
    [q, k, v]: [&Tensor; 3],
    storage: &mut Storage,
    work: &AttentionWork<'_>,
) -> Result<Tensor> {
    with_elements(k, |keys| {
        with_elements(v, |values| storage.write(work.layer, &step.slots, keys, values))
    })??;
    let mix = |sinks: Option<&[f32]>| {
        let shape = AttentionShape { sinks, ..work.shape };
        with_elements(q, |queries| attend(queries, &step.runs, storage, work.layer, shape))
    };
    let mixed = match work.sinks {
        Some(sinks) => with_elements(sinks, |sinks| mix(Some(sinks)))??,
        None => mix(None)?,
    };
    Tensor::from_vec(mixed, q.shape(), &Device::Cpu)
}

/// The slot of each row, for every element of its keys and values: [rows, 2 × kv_heads × head_dim].
fn places(step: &Step<'_>, spec: &DecoderSpec, device: &Device) -> Result<Tensor> {
    let slots: Vec<u32> = step
        .slots
        .iter()
        .map(|(block, offset)| slot(std::slice::from_ref(block), *offset))
        .collect();
    let rows = slots.len();
    let shape = (rows, 2 * spec.kv_heads * spec.head_dim);
    Tensor::from_vec(slots, (rows, 1), device)?.broadcast_as(shape)?.contiguous()
}
