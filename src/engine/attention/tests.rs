//! Attention against the exact one, in f64, and against itself.

use super::*;
use crate::engine::KvPrecision;
use crate::engine::kv::{BLOCK_TOKENS, CacheShape, Pool};

const KV_HEADS: usize = 2;

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 31 + seed * 977) as f32 * 0.713).sin()).collect()
}

/// A sequence whose keys and values are all written.
struct Sequence {
    pool: Pool,
    blocks: Vec<BlockId>,
    keys: Vec<f32>,
    values: Vec<f32>,
    length: usize,
    head_dim: usize,
}

impl Sequence {
    fn new(length: usize, head_dim: usize) -> Self {
        let precision = KvPrecision::F32;
        let shape = CacheShape { layers: 1, kv_heads: KV_HEADS, head_dim, precision };
        // Blocks lie in another order than the sequence has them. What is behind its end is not to be seen.
        let count = length.div_ceil(BLOCK_TOKENS);
        let blocks: Vec<BlockId> = (0..count as BlockId).rev().collect();
        let mut pool = Pool::new(shape, shape.block_bytes() * count);
        let width = KV_HEADS * head_dim;
        let all = count * BLOCK_TOKENS;
        let fill = |seed| {
            let mut numbers = numbers(all * width, seed);
            numbers[length * width..].fill(f32::NAN);
            numbers
        };
        let (keys, values) = (fill(1), fill(2));
        let slots: Vec<_> =
            (0..all).map(|at| (blocks[at / BLOCK_TOKENS], at % BLOCK_TOKENS)).collect();
        pool.storage_mut().expect("beside the program").write(0, &slots, &keys, &values);
        Self { pool, blocks, keys, values, length, head_dim }
    }

    /// What rows from a position on get, in runs of so many.
    fn attend(&mut self, from: usize, each: usize, shape: AttentionShape<'_>) -> Vec<f32> {
        let width = shape.heads * shape.head_dim;
        let queries = numbers(self.length * width, 3);
        let mut out = Vec::new();
        for start in (from..self.length).step_by(each) {
            let rows = each.min(self.length - start);
            let storage = self.pool.storage_mut().expect("beside the program");
            // Each step has written no more than its own rows.
            let blocks = &self.blocks[..(start + rows).div_ceil(BLOCK_TOKENS)];
            let runs = [Run { rows: 0..rows, start, blocks }];
            out.extend(attend(&queries[start * width..][..rows * width], &runs, storage, 0, shape));
        }
        out
    }

    /// The same by definition.
    fn exact(&self, row: usize, head: usize, shape: AttentionShape<'_>) -> Vec<f64> {
        let (head_dim, group) = (self.head_dim, shape.heads / shape.kv_heads);
        let at = |position: usize| (position * KV_HEADS + head / group) * head_dim;
        let query = &numbers(self.length * shape.heads * head_dim, 3)
            [(row * shape.heads + head) * head_dim..][..head_dim];
        let seen = match shape.sight {
            Sight::Back => shape.window.map_or(0, |of| (row + 1).saturating_sub(of))..row + 1,
            Sight::Around => 0..self.length,
        };
        let score = |position: usize| {
            let key = &self.keys[at(position)..][..head_dim];
            let sum: f64 = query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
            let sum = sum * f64::from(shape.scale);
            shape.cap.map_or(sum, |cap| f64::from(cap) * (sum / f64::from(cap)).tanh())
        };
        let weights: Vec<f64> = seen.clone().map(|position| score(position).exp()).collect();
        let sink = shape.sinks.map_or(0.0, |sinks| f64::from(sinks[head]).exp());
        let sum = weights.iter().sum::<f64>() + sink;
        let mut mixed = vec![0.0; head_dim];
        for (position, weight) in seen.zip(weights) {
            for (mixed, x) in mixed.iter_mut().zip(&self.values[at(position)..]) {
                *mixed += weight / sum * f64::from(*x);
            }
        }
        mixed
    }
}

fn shape(heads: usize, head_dim: usize) -> AttentionShape<'static> {
    let (sight, kv_heads, scale) = (Sight::Back, KV_HEADS, 0.4);
    AttentionShape { heads, kv_heads, head_dim, scale, cap: None, window: None, sinks: None, sight }
}

const SINKS: [f32; 6] = [0.5, -1.0, 2.0, 0.0, 3.0, -8.0];

fn shapes() -> Vec<AttentionShape<'static>> {
    let plain = shape(6, 16);
    vec![
        plain,
        shape(2, 33),
        shape(24, 8),
        shape(4, 80),
        AttentionShape { cap: Some(1.5), ..plain },
        AttentionShape { sinks: Some(&SINKS), ..plain },
        AttentionShape { window: Some(40), sinks: Some(&SINKS), ..plain },
        AttentionShape { window: Some(1), ..plain },
        AttentionShape { window: Some(200), ..plain },
        AttentionShape { sight: Sight::Around, ..plain },
    ]
}

#[test]
fn rows_get_what_the_definition_says() {
    for shape in shapes() {
        for length in [1, 31, 32, 33, 127, 129, 300] {
            let mut sequence = Sequence::new(length, shape.head_dim);
            let found = sequence.attend(0, length, shape);
            for row in [0, length / 3, length / 2, length - 1] {
                for head in 0..shape.heads {
                    let found = &found[(row * shape.heads + head) * shape.head_dim..];
                    for (found, exact) in found.iter().zip(sequence.exact(row, head, shape)) {
                        let off = (f64::from(*found) - exact).abs();
                        assert!(off < 2e-5, "{shape:?}, {length}, {row}: {found}, {exact}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_is_the_same_alone_and_among_others() {
    for shape in shapes() {
        if shape.sight == Sight::Around {
            continue;
        }
        let mut sequence = Sequence::new(300, shape.head_dim);
        let whole = sequence.attend(0, 300, shape);
        for each in [1, 2, 7, 32, 100] {
            assert_eq!(sequence.attend(0, each, shape), whole, "{shape:?}, {each} rows");
        }
        let from = 170 * shape.heads * shape.head_dim;
        assert_eq!(sequence.attend(170, 130, shape), whole[from..], "{shape:?}");
    }
}
