//! One key head and a tile of rows. All queries of the tile that share the head go over each block together,
//! so that a block is brought in and widened to f32 once for all of them: over a few blocks first for the
//! scores, then for the values.
#![expect(
    clippy::inline_always,
    reason = "kernels are compiled once for each target; see `Kernel`"
)]

use std::ops::Range;

use super::weigh::{Running, Weigh};
use super::{AttentionShape, Run, Sight};
use crate::engine::kernels::{Ahead, Apart, Kernel, Mix, Target};
use crate::engine::kv::{BLOCK_TOKENS, Place, Storage};

/// So many queries, and no more, widen keys and values in parts: all of them at once would push each other
/// out of the nearest cache.
const FEW: usize = 4;

/// What such a part holds. In f32 it leaves room in that cache for what it is read from.
const PART_ELEMENTS: usize = 64;
const PART_TOKENS: usize = 16;

/// Blocks whose scores become weights together. They begin at multiples of this, so that what becomes of a
/// row does not depend on the others of its tile.
const CHUNK: usize = 4;

const CHUNK_TOKENS: usize = CHUNK * BLOCK_TOKENS;

#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub(super) run: &'a Run<'a>,
    /// Its first row in the step.
    pub(super) first_row: usize,
    /// How many there are.
    pub(super) rows: usize,
    pub(super) kv_head: usize,
    /// Of all rows of the step, [rows, heads × head_dim].
    pub(super) queries: &'a [f32],
    pub(super) cache: &'a Storage,
    pub(super) layer: usize,
    pub(super) shape: AttentionShape<'a>,
}

impl Tile<'_> {
    /// Heads of queries that share the head of keys.
    fn group(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }

    /// The first position that a row of the tile does not see any more.
    fn end(&self, row: usize) -> usize {
        match self.shape.sight {
            Sight::Back => self.run.start + (self.first_row - self.run.rows.start) + row + 1,
            Sight::Around => self.run.start + self.run.rows.len(),
        }
    }

    /// The first position that a row of the tile sees.
    fn start(&self, row: usize) -> usize {
        self.shape.window.map_or(0, |window| self.end(row).saturating_sub(window))
    }

    /// Which of the sequence's blocks the rows see.
    fn blocks(&self) -> Range<usize> {
        let end = self.end(self.rows - 1).div_ceil(BLOCK_TOKENS);
        self.start(0) / BLOCK_TOKENS..end.min(self.run.blocks.len())
    }

    /// The queries before this one see neither this block nor one behind it.
    fn first_query(&self, block: usize) -> usize {
        let before = (block * BLOCK_TOKENS + 1).saturating_sub(self.end(0));
        before.min(self.rows) * self.group()
    }

    /// What a query sees of so many tokens from a position on.
    fn seen(&self, query: usize, begin: usize, tokens: usize) -> Range<usize> {
        let row = query / self.group();
        let of = |position: usize| position.saturating_sub(begin).min(tokens);
        of(self.start(row))..of(self.end(row))
    }

    fn place(&self, block: usize) -> Place {
        Place { layer: self.layer, block: self.run.blocks[block], head: self.kv_head }
    }

    /// The keys and the values of a block, where there is one.
    fn ahead(&self, block: usize) -> [Ahead<'_>; 2] {
        match self.run.blocks.get(block) {
            Some(_) => self.cache.ahead(self.place(block)),
            None => [Ahead::NOTHING; 2],
        }
    }
}

/// Computes a tile.
pub(super) struct Attend<'a, 'out> {
    pub(super) tile: Tile<'a>,
    /// For each row the place of its heads' results, [group × head_dim].
    pub(super) out: &'a mut [&'out mut [f32]],
}

impl Kernel for Attend<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { tile, out } = self;
        let mut way = Way::begin(tile);
        let blocks = tile.blocks();
        let mut at = blocks.start;
        while at < blocks.end {
            let chunk = at..blocks.end.min((at / CHUNK + 1) * CHUNK);
            for block in chunk.clone() {
                let is_last = block + 1 == chunk.end;
                let [keys, values] = tile.ahead(if is_last { chunk.start } else { block + 1 });
                way.score(block, if is_last { values } else { keys });
            }
            way.weigh(&chunk);
            for block in chunk.clone() {
                let [keys, values] = tile.ahead(block + 1);
                way.mix(block, if block + 1 == chunk.end { keys } else { values });
            }
            at = chunk.end;
        }
        let head_dim = tile.shape.head_dim;
        let heads = way.mixed.chunks_exact(head_dim).zip(&way.running);
        let places = out.iter_mut().flat_map(|out| out.chunks_exact_mut(head_dim));
        for (out, (mixed, running)) in places.zip(heads) {
            let scale = running.sum.recip();
            for (out, x) in out.iter_mut().zip(mixed) {
                *out = x * scale;
            }
        }
    }
}

/// What is had on the way over the blocks.
struct Way<'a> {
    tile: Tile<'a>,
    /// Those of the tile and the head, scaled, [queries, head_dim].
    queries: Vec<f32>,
    running: Vec<Running>,
    /// Of a chunk, and then their weights, [queries, tokens].
    scores: Vec<[f32; CHUNK_TOKENS]>,
    /// The values so far, weighed, [queries, head_dim].
    mixed: Vec<f32>,
    /// Working space.
    wide: Vec<f32>,
}

impl<'a> Way<'a> {
    #[inline(always)]
    fn begin(tile: Tile<'a>) -> Self {
        let AttentionShape { heads, head_dim, scale, sinks, .. } = tile.shape;
        let (group, width) = (tile.group(), heads * head_dim);
        let count = tile.rows * group;
        let (of_rows, of_head) = (tile.first_row * width, tile.kv_head * group * head_dim);
        let mut queries = Vec::with_capacity(count * head_dim);
        for row in tile.queries[of_rows..of_rows + tile.rows * width].chunks_exact(width) {
            queries.extend(row[of_head..of_head + group * head_dim].iter().map(|x| x * scale));
        }
        let begin = |query: usize| match sinks {
            Some(sinks) => {
                Running { highest: sinks[tile.kv_head * group + query % group], sum: 1.0 }
            }
            None => Running { highest: f32::NEG_INFINITY, sum: 0.0 },
        };
        Self {
            tile,
            queries,
            running: (0..count).map(begin).collect(),
            scores: vec![[0.0; CHUNK_TOKENS]; count],
            mixed: vec![0.0; count * head_dim],
            wide: Vec::new(),
        }
    }

    /// So much is widened at a time, of what is so much in all.
    fn part(&self, part: usize, all: usize) -> usize {
        if self.running.len() > FEW { all } else { part }
    }

    /// The scores of a block.
    #[inline(always)]
    fn score(&mut self, block: usize, next: Ahead<'_>) {
        let (tile, head_dim) = (self.tile, self.tile.shape.head_dim);
        let (from, column) = (tile.first_query(block), block % CHUNK * BLOCK_TOKENS);
        let part = self.part(PART_ELEMENTS, head_dim);
        for scores in &mut self.scores[from..] {
            scores[column..column + BLOCK_TOKENS].fill(0.0);
        }
        for first in (0..head_dim).step_by(part) {
            let elements = first..head_dim.min(first + part);
            let keys = tile.cache.keys(tile.place(block), elements.clone(), &mut self.wide);
            let scores = &mut self.scores.as_flattened_mut()[from * CHUNK_TOKENS + column..];
            Mix {
                weights: Apart {
                    numbers: &self.queries[from * head_dim + first..],
                    stride: head_dim,
                },
                count: elements.len(),
                rows: Apart { numbers: keys, stride: BLOCK_TOKENS },
                columns: BLOCK_TOKENS,
                next,
                line: first,
                sums: Apart { numbers: scores, stride: CHUNK_TOKENS },
            }
            .run(Target::best());
        }
    }

    /// Turns the scores of a chunk into weights.
    #[inline(always)]
    fn weigh(&mut self, chunk: &Range<usize>) {
        let (tile, head_dim) = (self.tile, self.tile.shape.head_dim);
        let first = chunk.start / CHUNK * CHUNK;
        let tokens = (chunk.end - first) * BLOCK_TOKENS;
        let from = tile.first_query(chunk.start);
        let queries = self.scores.iter_mut().zip(&mut self.running);
        let queries = queries.zip(self.mixed.chunks_exact_mut(head_dim)).enumerate();
        for (query, ((scores, running), mixed)) in queries.skip(from) {
            let scores = &mut scores[..tokens];
            let seen = tile.seen(query, first * BLOCK_TOKENS, tokens);
            if seen.is_empty() {
                // Its window begins behind these blocks.
                scores.fill(0.0);
                continue;
            }
            let before = *running;
            let weigh = Weigh { scores, seen, cap: tile.shape.cap, running: before };
            let (after, shrink) = Target::best().run(weigh);
            *running = after;
            if after.highest > before.highest {
                for x in mixed {
                    *x *= shrink;
                }
            }
        }
    }

    /// Adds the values of a block, weighed. What lies in the block behind the last token seen may be left
    /// from another sequence: it is not even multiplied by zero, which would let a NaN through.
    #[inline(always)]
    fn mix(&mut self, block: usize, next: Ahead<'_>) {
        let (tile, head_dim) = (self.tile, self.tile.shape.head_dim);
        let (from, column) = (tile.first_query(block), block % CHUNK * BLOCK_TOKENS);
        let used = tile.end(tile.rows - 1).saturating_sub(block * BLOCK_TOKENS).min(BLOCK_TOKENS);
        for first in (0..used).step_by(self.part(PART_TOKENS, BLOCK_TOKENS)) {
            let tokens = first..used.min(first + self.part(PART_TOKENS, BLOCK_TOKENS));
            let values = tile.cache.values(tile.place(block), tokens.clone(), &mut self.wide);
            let weights = &self.scores.as_flattened()[from * CHUNK_TOKENS + column + first..];
            Mix {
                weights: Apart { numbers: weights, stride: CHUNK_TOKENS },
                count: tokens.len(),
                rows: Apart { numbers: values, stride: head_dim },
                columns: head_dim,
                next,
                line: first * head_dim.div_ceil(BLOCK_TOKENS),
                sums: Apart { numbers: &mut self.mixed[from * head_dim..], stride: head_dim },
            }
            .run(Target::best());
        }
    }
}
