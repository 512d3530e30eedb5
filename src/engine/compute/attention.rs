//! Attention over the paged cache of a device, by products of whole tensors. The keys and values
//! that a sequence sees are brought together from its blocks; sequences that have as many rows in the
//! step, and about as many tokens, are worked on together.

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::cache::{DeviceCache, NO_SLOT, slot};
use super::step::AttentionWork;
use crate::engine::attention::Run;
use crate::engine::families::DecoderSpec;
use crate::engine::kv::BlockId;

/// Elements of the largest tensor that is made on the way, but for the tokens of one sequence.
pub(super) const ELEMENTS_MAX: usize = 1 << 25;
/// Tokens are brought together in multiples of this, which suits matrix kernels.
const TOKENS_STEP: usize = 32;
/// What is added to the score of a token that a row does not see.
const HIDDEN: f64 = 1e30;

/// Rows of one sequence that follow one another.
struct Piece<'a> {
    /// Their numbers in the step.
    rows: Range<usize>,
    /// The position of the first.
    start: usize,
    /// The positions that any of them sees.
    sees: Range<usize>,
    blocks: &'a [BlockId],
}

/// What the rows of a step see, in layers with one window.
pub(crate) struct View {
    /// Brings the rows into the order of the groups, and back; none where they are in it.
    order: Option<[Tensor; 2]>,
    groups: Vec<Group>,
}

/// Pieces that are worked on together.
struct Group {
    pieces: usize,
    /// Rows of each piece.
    rows: usize,
    /// Tokens that are brought together for each.
    tokens: usize,
    /// [pieces × tokens]
    slots: Tensor,
    /// What is added to the scores, [pieces, 1, rows, tokens].
    mask: Tensor,
}

impl View {
    pub(super) fn new(
        runs: &[Run<'_>],
        window: Option<usize>,
        spec: &DecoderSpec,
        elements_max: usize,
        device: &Device,
    ) -> Result<Self> {
        let rows_max = |end: usize| (elements_max / (spec.heads * end).max(1)).max(1);
        let mut pieces: Vec<Piece<'_>> =
            runs.iter().flat_map(|run| pieces(run, window, rows_max)).collect();
        pieces.sort_by_key(|piece| (piece.rows.len(), tokens_of(piece), piece.rows.start));
        let order: Vec<u32> =
            pieces.iter().flat_map(|piece| piece.rows.clone()).map(|row| row as u32).collect();
        let together = |all: &[Piece<'_>]| {
            let (count, rows) = (all.len(), all[0].rows.len());
            let tokens = tokens_of(&all[count - 1]);
            let widest = (2 * spec.kv_heads * spec.head_dim).max(spec.heads * rows);
            let is_alike = all[count - 1].rows.len() == rows && tokens <= 2 * tokens_of(&all[0]);
            count == 1 || (is_alike && count * tokens * widest <= elements_max)
        };
        let (mut groups, mut from) = (Vec::new(), 0);
        for to in 1..=pieces.len() {
            if to == pieces.len() || !together(&pieces[from..=to]) {
                groups.push(Group::new(&pieces[from..to], window, device)?);
                from = to;
            }
        }
        Ok(Self { order: orders(&order, device)?, groups })
    }

    /// Each row's mixture of values, [rows, heads × head_dim] as the queries are.
    pub(super) fn attend(
        &self,
        queries: &Tensor,
        cache: &DeviceCache,
        work: &AttentionWork<'_>,
    ) -> Result<Tensor> {
        let queries = queries.affine(f64::from(work.shape.scale), 0.0)?;
        let queries = match &self.order {
            Some([there, _]) => queries.index_select(there, 0)?,
            None => queries,
        };
        let (mut mixed, mut from) = (Vec::with_capacity(self.groups.len()), 0);
        for group in &self.groups {
            let rows = group.pieces * group.rows;
            mixed.push(group.attend(&queries.narrow(0, from, rows)?, cache, work)?);
            from += rows;
        }
        let mixed =
            if let [one] = mixed.as_slice() { one.clone() } else { Tensor::cat(&mixed, 0)? };
        match &self.order {
            Some([_, back]) => mixed.index_select(back, 0),
            None => Ok(mixed),
        }
    }
}

/// The rows of a run, cut so that their scores are not too many: `rows_max` says how many rows may
/// see so many tokens at once.
fn pieces<'a>(
    run: &Run<'a>,
    window: Option<usize>,
    rows_max: impl Fn(usize) -> usize,
) -> impl Iterator<Item = Piece<'a>> {
    let (all, first, blocks) = (run.rows.clone(), run.start, run.blocks);
    let most = rows_max(first + all.len());
    all.clone().step_by(most).map(move |row| {
        let rows = row..all.end.min(row + most);
        let start = first + (row - all.start);
        let from = window.map_or(0, |window| (start + 1).saturating_sub(window));
        Piece { sees: from..start + rows.len(), start, rows, blocks }
    })
}

fn tokens_of(piece: &Piece<'_>) -> usize {
    piece.sees.len().next_multiple_of(TOKENS_STEP)
}

/// The order as a tensor, and the one that undoes it; none where nothing is moved.
fn orders(order: &[u32], device: &Device) -> Result<Option<[Tensor; 2]>> {
    if order.is_sorted() {
        return Ok(None);
    }
    let mut back = vec![0_u32; order.len()];
    for (place, row) in order.iter().enumerate() {
        back[*row as usize] = place as u32;
    }
    Ok(Some([Tensor::new(order, device)?, Tensor::new(back, device)?]))
}

impl Group {
    /// The pieces have as many rows each, and the last of them sees most.
    fn new(pieces: &[Piece<'_>], window: Option<usize>, device: &Device) -> Result<Self> {
        let (rows, count) = (pieces[0].rows.len(), pieces.len());
        let tokens = pieces.iter().map(tokens_of).max().unwrap_or(0);
        let (mut slots, mut first, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for piece in pieces {
            let positions = piece.sees.start..piece.sees.start + tokens;
            slots.extend(positions.map(|at| {
                // What lies behind the last token may be left from another sequence.
                if at < piece.sees.end { slot(piece.blocks, at) } else { NO_SLOT }
            }));
            for position in piece.start..piece.start + rows {
                let from = window.map_or(0, |window| (position + 1).saturating_sub(window));
                first.push(from.saturating_sub(piece.sees.start) as u32);
                last.push((position - piece.sees.start) as u32);
            }
        }
        let token = Tensor::arange(0, tokens as u32, device)?.reshape((1, 1, tokens))?;
        let borders = |of: Vec<u32>| Tensor::from_vec(of, (count, rows, 1), device);
        let mut sees = token.broadcast_le(&borders(last)?)?; // [pieces, rows, tokens]
        if window.is_some() {
            sees = (sees * token.broadcast_ge(&borders(first)?)?)?;
        }
        let mask = sees.to_dtype(DType::F32)?.affine(HIDDEN, -HIDDEN)?;
        let mask = mask.reshape((count, 1, rows, tokens))?;
        let slots = Tensor::from_vec(slots, count * tokens, device)?;
        Ok(Self { pieces: count, rows, tokens, slots, mask })
    }

    /// Queries, scaled, and the result are [pieces × rows, heads × head_dim].
    fn attend(
        &self,
        queries: &Tensor,
        cache: &DeviceCache,
        work: &AttentionWork<'_>,
    ) -> Result<Tensor> {
        let Self { pieces, rows, tokens, .. } = *self;
        let (heads, kv_heads) = (work.shape.heads, work.shape.kv_heads);
        let (group, head_dim) = (heads / kv_heads, work.shape.head_dim);
        let [keys, values] = self.gather(cache, work)?; // [pieces × kv_heads, tokens, head_dim]
        let queries = queries
            .reshape((pieces, rows, kv_heads, group, head_dim))?
            .permute((0, 2, 3, 1, 4))?
            .reshape((pieces * kv_heads, group * rows, head_dim))?;
        let mut scores = queries.matmul(&keys.t()?)?; // [pieces × kv_heads, group × rows, tokens]
        if let Some(cap) = work.shape.cap {
            let cap = f64::from(cap);
            scores = scores.affine(cap.recip(), 0.0)?.tanh()?.affine(cap, 0.0)?;
        }
        let scores = scores.reshape((pieces, heads, rows, tokens))?.broadcast_add(&self.mask)?;
        let weights = self.weights(scores, work.sinks)?;
        weights
            .reshape((pieces * kv_heads, group * rows, tokens))?
            .matmul(&values)?
            .reshape((pieces, kv_heads, group, rows, head_dim))?
            .permute((0, 3, 1, 2, 4))?
            .reshape((pieces * rows, heads * head_dim))
    }

    /// Keys and values in f32, [pieces × kv_heads, tokens, head_dim] each.
    fn gather(&self, cache: &DeviceCache, work: &AttentionWork<'_>) -> Result<[Tensor; 2]> {
        let (kv_heads, head_dim) = (work.shape.kv_heads, work.shape.head_dim);
        let both = cache.read(work.layer, &self.slots)?;
        let both = both.reshape((self.pieces, self.tokens, 2, kv_heads, head_dim))?;
        let part = |which| {
            let part = both.narrow(2, which, 1)?.squeeze(2)?.permute((0, 2, 1, 3))?;
            let part = part.to_dtype(DType::F32)?.contiguous()?;
            part.reshape((self.pieces * kv_heads, self.tokens, head_dim))
        };
        Ok([part(0)?, part(1)?])
    }

    /// The softmax of scores, [pieces, heads, rows, tokens], in which the sinks take part.
    fn weights(&self, scores: Tensor, sinks: Option<&Tensor>) -> Result<Tensor> {
        let Some(sinks) = sinks else { return softmax_last_dim(&scores) };
        let heads = scores.dim(1)?;
        let sinks = sinks.reshape((1, heads, 1, 1))?;
        let sinks = sinks.broadcast_as((self.pieces, heads, self.rows, 1))?.contiguous()?;
        let weights = softmax_last_dim(&Tensor::cat(&[scores, sinks], D::Minus1)?)?;
        weights.narrow(D::Minus1, 0, self.tokens)
    }
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
