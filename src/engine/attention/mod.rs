//! Attention over the paged cache, on the CPU: one pass over the keys and values of a sequence with
//! a running softmax (Milakov and Gimelshein, 2018; Dao et al., 2022).
//!
//! A work item is one key head and a tile of rows of one sequence: see `tile`.

mod tile;
mod weigh;

use std::ops::Range;

use super::kernels::{Target, for_each, threads};
use super::kv::{BlockId, Storage};
use tile::{Attend, Tile};

/// Queries of a tile, at most: enough to share a block among, few enough for the second cache.
const TILE_QUERIES: usize = 128;

/// Rows of a tile, at least, where so many have no more queries than that.
const TILE_ROWS: usize = 16;

/// So many tiles there are for each thread, where there are enough rows: the last ones take longest.
const ITEMS_EACH: usize = 16;

/// Rows of one sequence in a step.
pub(crate) struct Run<'a> {
    /// Its rows in the step, one after the other.
    pub(crate) rows: Range<usize>,
    /// The position of the first row in the sequence.
    pub(crate) start: usize,
    /// The blocks of the sequence; they hold the rows of this step too.
    pub(crate) blocks: &'a [BlockId],
}

/// What attention needs to know of the model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionShape<'a> {
    /// Heads of queries.
    pub(crate) heads: usize,
    /// Heads of keys and values; divides `heads`.
    pub(crate) kv_heads: usize,
    /// Elements of a head.
    pub(crate) head_dim: usize,
    /// Multiplies the scores.
    pub(crate) scale: f32,
    /// Bends the scores so that none is larger.
    pub(crate) cap: Option<f32>,
    /// How many positions a row sees, itself included.
    pub(crate) window: Option<usize>,
    /// A score of each head that takes part in the softmax and brings no value ("attention sinks",
    /// Xiao et al., 2023), [heads].
    pub(crate) sinks: Option<&'a [f32]>,
    /// Which way a row looks.
    pub(crate) sight: Sight,
}

/// Which positions of its sequence a row sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Those before it, and its own.
    Back,
    /// All that have been written, those of this step among them. There is no window.
    Around,
}

/// Computes every row's mixture of values: `queries` and the result are [rows, heads × head_dim].
/// A row sees the positions up to its own, or all. The result of a row does not depend on the other rows.
pub(crate) fn attend(
    queries: &[f32],
    runs: &[Run<'_>],
    cache: &Storage,
    layer: usize,
    shape: AttentionShape<'_>,
) -> Vec<f32> {
    let mut out = vec![0.0; queries.len()];
    let items = items(&mut out, runs, &shape);
    for_each(items, |item| {
        let Item { run, first_row, kv_head, out } = item;
        let (first_row, rows, kv_head) = (*first_row, out.len(), *kv_head);
        let tile = Tile { run, first_row, rows, kv_head, queries, cache, layer, shape };
        Target::best().run(Attend { tile, out });
    });
    out
}

/// A tile of rows and one key head, with the places for its results.
struct Item<'a, 'out> {
    run: &'a Run<'a>,
    first_row: usize,
    kv_head: usize,
    /// For each row.
    out: Vec<&'out mut [f32]>,
}

/// Rows of a tile, at most: fewer where the threads would have little to choose from.
fn tile_rows(runs: &[Run<'_>], shape: &AttentionShape<'_>) -> usize {
    let rows: usize = runs.iter().map(|run| run.rows.len()).sum();
    let most = (TILE_QUERIES / (shape.heads / shape.kv_heads)).max(1);
    let shared = rows * shape.kv_heads / (ITEMS_EACH * threads());
    shared.max(1).next_multiple_of(TILE_ROWS).min(most)
}

fn items<'a, 'out>(
    out: &'out mut [f32],
    runs: &'a [Run<'a>],
    shape: &AttentionShape<'_>,
) -> Vec<Item<'a, 'out>> {
    let group_width = shape.heads / shape.kv_heads * shape.head_dim;
    let mut rest = out.chunks_exact_mut(group_width);
    let mut items = Vec::new();
    // The rows of the step are those of the runs, one run after the other. The longest sequences
    // come last, where the threads take one item at a time.
    let most = tile_rows(runs, shape);
    for run in runs {
        for first in run.rows.clone().step_by(most) {
            let rows = first..run.rows.end.min(first + most);
            let begin = items.len();
            items.extend((0..shape.kv_heads).map(|kv_head| Item {
                run,
                first_row: first,
                kv_head,
                out: Vec::with_capacity(rows.len()),
            }));
            for _ in rows {
                for (item, place) in items[begin..].iter_mut().zip(rest.by_ref()) {
                    item.out.push(place);
                }
            }
        }
    }
    items.sort_by_key(|item| {
        let before = item.first_row - item.run.rows.start;
        (item.run.start + before + item.out.len()) * item.out.len()
    });
    items
}

#[cfg(test)]
mod tests;
