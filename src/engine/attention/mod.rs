//! Attention over the paged cache, on the CPU: one pass over the keys and values of a sequence with
//! a running softmax (Milakov and Gimelshein, 2018; Dao et al., 2022).
//!
//! A work item is one key head and a tile of rows of one sequence. All queries of the tile that
//! share the head go over each block together, so that a block is brought in and widened to f32
//! once for all of them. The inner loops are plain Rust over arrays of fixed size.
#![expect(
    clippy::inline_always,
    reason = "kernels are compiled once for each target; see `Kernel`"
)]

mod source;

use std::ops::Range;

use super::kernels::{Ahead, Kernel, Mix, Target, WIDE, exp, for_each};
use super::kv::{BLOCK_TOKENS, BlockId, Place, Storage};
use source::{Parts, Source, Whole};

/// So many queries, and no more, widen keys and values in parts. So many go over a block at once, or twice
/// as many where the registers hold their sums.
const FEW: usize = 4;

/// Rows of a tile: enough to share a block among, few enough to spread over the threads.
const TILE_ROWS: usize = 32;

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
        Target::best().run(Tile { item, queries, cache, layer, shape });
    });
    out
}

/// A tile of rows and one key head, with the places for its results.
struct Item<'a, 'out> {
    run: &'a Run<'a>,
    rows: Range<usize>,
    kv_head: usize,
    out: Vec<&'out mut [f32]>,
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
    for run in runs {
        for first in run.rows.clone().step_by(TILE_ROWS) {
            let rows = first..run.rows.end.min(first + TILE_ROWS);
            let begin = items.len();
            items.extend((0..shape.kv_heads).map(|kv_head| Item {
                run,
                rows: rows.clone(),
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
        (item.run.start + item.rows.end - item.run.rows.start) * item.rows.len()
    });
    items
}

struct Tile<'a, 'b, 'out> {
    item: &'a mut Item<'b, 'out>,
    queries: &'a [f32],
    cache: &'a Storage,
    layer: usize,
    shape: AttentionShape<'a>,
}

/// The running softmax of one query.
#[derive(Clone, Copy)]
struct Running {
    highest: f32,
    sum: f32,
}

type Scores = [f32; BLOCK_TOKENS];

const _: () = assert!(BLOCK_TOKENS == WIDE, "the scores of a block are one sum");

impl Kernel for Tile<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let AttentionShape { heads, kv_heads, head_dim, scale, cap, window, sinks, sight } =
            self.shape;
        let group = heads / kv_heads;
        let rows = self.item.rows.clone();
        let first_position = self.item.run.start + (rows.start - self.item.run.rows.start);
        let queries = self.gather(group, scale);
        let count = rows.len() * group;
        let first_head = self.item.kv_head * group;
        let begin = |query: usize| match sinks {
            Some(sinks) => Running { highest: sinks[first_head + query % group], sum: 1.0 },
            None => Running { highest: f32::NEG_INFINITY, sum: 0.0 },
        };
        let mut running: Vec<Running> = (0..count).map(begin).collect();
        let mut mixed = vec![0.0_f32; count * head_dim];
        let [mut key_scratch, mut value_scratch, mut part_scratch] = [const { Vec::new() }; 3];
        let written = self.item.run.start + self.item.run.rows.len();
        let seen_by = |row: usize| match sight {
            Sight::Back => first_position + row + 1,
            Sight::Around => written,
        };
        let seen = seen_by(rows.len() - 1);
        // The first position that the first row of the tile sees; the others see none before it.
        let first_seen = window.map_or(0, |window| (first_position + 1).saturating_sub(window));
        let has_many = count > FEW && Target::best().has_registers_for(2 * FEW);
        let blocks = self.item.run.blocks;
        let blocks = &blocks[..seen.div_ceil(BLOCK_TOKENS).min(blocks.len())];
        for (index, &block) in blocks.iter().enumerate().skip(first_seen / BLOCK_TOKENS) {
            let place = |block| Place { layer: self.layer, block, head: self.item.kv_head };
            let mut next = match blocks.get(index + 1) {
                Some(next) => self.cache.ahead(place(*next)),
                None => [Ahead::NOTHING; 2],
            };
            let begin = index * BLOCK_TOKENS;
            // Rows before the block do not see it.
            let skip = match sight {
                Sight::Back => begin.saturating_sub(first_position).min(rows.len()) * group,
                Sight::Around => 0,
            };
            let seen_of = |query: usize| {
                let end = seen_by(query / group);
                let from = window.map_or(0, |window| end.saturating_sub(window));
                from.saturating_sub(begin).min(BLOCK_TOKENS)..(end - begin).min(BLOCK_TOKENS)
            };
            let whole = (count > FEW).then(|| Whole {
                keys: self.cache.keys(place(block), &mut key_scratch),
                values: self.cache.values(place(block), &mut value_scratch),
                head_dim,
            });
            let mut at = skip;
            while at < count {
                let some = if has_many && at + 2 * FEW <= count { 2 * FEW } else { FEW };
                let to = count.min(at + some);
                let part = Part {
                    queries: &queries[at * head_dim..to * head_dim],
                    head_dim,
                    cap,
                    next: std::mem::replace(&mut next, [Ahead::NOTHING; 2]),
                };
                let running = &mut running[at..to];
                let mixed = &mut mixed[at * head_dim..to * head_dim];
                let seen = |row| seen_of(at + row);
                if let Some(mut whole) = whole {
                    part.mix::<_, FUSED>(&mut whole, running, mixed, seen);
                } else {
                    let (cache, place) = (self.cache, place(block));
                    let mut parts = Parts { cache, place, wide: &mut part_scratch };
                    part.mix::<_, FUSED>(&mut parts, running, mixed, seen);
                }
                at = to;
            }
        }
        let heads = mixed.chunks_exact(head_dim).zip(&running);
        let places = self.item.out.iter_mut().flat_map(|out| out.chunks_exact_mut(head_dim));
        for (out, (mixed, running)) in places.zip(heads) {
            let scale = running.sum.recip();
            for (out, x) in out.iter_mut().zip(mixed) {
                *out = x * scale;
            }
        }
    }
}

impl Tile<'_, '_, '_> {
    /// The queries of this tile and head, scaled, [rows × group, head_dim].
    #[inline(always)]
    fn gather(&self, group: usize, scale: f32) -> Vec<f32> {
        let AttentionShape { heads, head_dim, .. } = self.shape;
        let (width, from) = (heads * head_dim, self.item.kv_head * group * head_dim);
        let mut queries = Vec::with_capacity(self.item.rows.len() * group * head_dim);
        for row in self.item.rows.clone() {
            let heads = &self.queries[row * width + from..row * width + from + group * head_dim];
            queries.extend(heads.iter().map(|x| x * scale));
        }
        queries
    }
}

/// A few queries and one block.
struct Part<'a> {
    /// [queries, head_dim], at most twice `FEW`
    queries: &'a [f32],
    head_dim: usize,
    cap: Option<f32>,
    /// The keys and values of the next block, to be asked for on the way.
    next: [Ahead<'a>; 2],
}

impl Part<'_> {
    /// Adds what the queries see of the block: `seen` says which of its tokens.
    #[inline(always)]
    fn mix<S: Source, const FUSED: bool>(
        &self,
        source: &mut S,
        running: &mut [Running],
        mixed: &mut [f32],
        seen: impl Fn(usize) -> Range<usize> + Copy,
    ) {
        match running.len() {
            1 => self.mix_rows::<S, 1, FUSED>(source, running, mixed, seen),
            2 => self.mix_rows::<S, 2, FUSED>(source, running, mixed, seen),
            3 => self.mix_rows::<S, 3, FUSED>(source, running, mixed, seen),
            4 => self.mix_rows::<S, 4, FUSED>(source, running, mixed, seen),
            _ => self.mix_rows::<S, { 2 * FEW }, FUSED>(source, running, mixed, seen),
        }
    }

    #[inline(always)]
    fn mix_rows<S: Source, const R: usize, const FUSED: bool>(
        &self,
        source: &mut S,
        running: &mut [Running],
        mixed: &mut [f32],
        seen: impl Fn(usize) -> Range<usize> + Copy,
    ) {
        let mut scores = self.scores::<S, R>(source);
        for (row, scores) in scores.iter_mut().enumerate() {
            let seen = seen(row);
            if seen.is_empty() {
                // Its window begins behind this block.
                scores.fill(0.0);
                continue;
            }
            if let Some(cap) = self.cap {
                bend::<FUSED>(scores, cap);
            }
            scores[..seen.start].fill(f32::NEG_INFINITY);
            scores[seen.end..].fill(f32::NEG_INFINITY);
            let running = &mut running[row];
            let highest = maximum(scores).max(running.highest);
            let shrink = exp::<FUSED>(running.highest - highest);
            for score in scores.iter_mut() {
                *score = exp::<FUSED>(*score - highest);
            }
            scores[..seen.start].fill(0.0);
            scores[seen.end..].fill(0.0);
            running.sum = running.sum * shrink + sum(scores);
            if highest > running.highest {
                running.highest = highest;
                for x in &mut mixed[row * self.head_dim..(row + 1) * self.head_dim] {
                    *x *= shrink;
                }
            }
        }
        // What lies in the block behind the last token seen may be left from another sequence: it is
        // not even multiplied by zero, which would let a NaN through.
        let used = (0..R).map(|row| seen(row).end).max().unwrap_or(0);
        for first in (0..used).step_by(S::TOKENS) {
            let tokens = first..used.min(first + S::TOKENS);
            let values = source.values(tokens.clone());
            let mixed = &mut mixed[..R * self.head_dim];
            add_values::<R>(values, &tokens, &scores, self.next[1], mixed);
        }
    }

    #[inline(always)]
    fn scores<S: Source, const R: usize>(&self, source: &mut S) -> [Scores; R] {
        let mut scores = [[0.0; BLOCK_TOKENS]; R];
        for first in (0..self.head_dim).step_by(S::ELEMENTS) {
            let elements = first..self.head_dim.min(first.saturating_add(S::ELEMENTS));
            let keys = source.keys(elements.clone());
            let queries = std::array::from_fn(|row| {
                &self.queries[row * self.head_dim..][..self.head_dim][elements.clone()]
            });
            Mix {
                weights: queries,
                rows: keys,
                stride: BLOCK_TOKENS,
                next: self.next[0],
                line: first,
                sums: &mut scores,
            }
            .run(Target::best());
        }
        scores
    }
}

/// Adds the values of some tokens, [tokens, head_dim], weighed.
fn add_values<const R: usize>(
    values: &[f32],
    tokens: &Range<usize>,
    weights: &[Scores; R],
    next: Ahead<'_>,
    mixed: &mut [f32],
) {
    let head_dim = mixed.len() / R;
    let target = Target::best();
    let mut column = 0;
    while column < head_dim {
        let width = WIDE.min(head_dim - column);
        let mut sums = [[0.0; WIDE]; R];
        for (row, sums) in sums.iter_mut().enumerate() {
            sums[..width].copy_from_slice(&mixed[row * head_dim + column..][..width]);
        }
        let weights = std::array::from_fn(|row| &weights[row][tokens.clone()]);
        let line = column / WIDE * BLOCK_TOKENS + tokens.start;
        if width == WIDE {
            let rows = &values[column..];
            Mix { weights, rows, stride: head_dim, next, line, sums: &mut sums }.run(target);
        } else {
            let mut rows = [0.0; BLOCK_TOKENS * WIDE];
            let narrow = rows.as_chunks_mut::<WIDE>().0.iter_mut();
            for (row, values) in narrow.zip(values.chunks_exact(head_dim)) {
                row[..width].copy_from_slice(&values[column..]);
            }
            Mix { weights, rows: &rows, stride: WIDE, next, line, sums: &mut sums }.run(target);
        }
        for (row, sums) in sums.iter().enumerate() {
            mixed[row * head_dim + column..][..width].copy_from_slice(&sums[..width]);
        }
        column += width;
    }
}

/// `cap * tanh(x / cap)`
#[inline(always)]
fn bend<const FUSED: bool>(scores: &mut Scores, cap: f32) {
    let slope = -2.0 / cap;
    for score in scores {
        *score = cap * (2.0 / (1.0 + exp::<FUSED>(*score * slope)) - 1.0);
    }
}

#[inline(always)]
fn maximum(scores: &Scores) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    for chunk in scores.as_chunks::<16>().0 {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    lanes.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
}

#[inline(always)]
fn sum(scores: &Scores) -> f32 {
    let mut lanes = [0.0; 16];
    for chunk in scores.as_chunks::<16>().0 {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    lanes.iter().sum()
}
