//! Attention on a device against that of the processor.

use super::*;
use crate::engine::attention::{AttentionShape, Sight, attend};
use crate::engine::families;
use crate::engine::gguf::File;
use crate::engine::kv::{BLOCK_TOKENS, BlockTable, Memory, Pool};
use crate::engine::request::Domain;
use crate::engine::{KvPrecision, compute::Compute};

const HEADS: usize = 6;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 8;

fn spec() -> DecoderSpec {
    let guide = include_bytes!("../../../models/guide/guide.gguf");
    let file = File::from_static(guide).expect("a sound model");
    let spec = families::spec(&file, None).expect("a known shape");
    let layers = spec.layers[..1].to_vec();
    DecoderSpec { layers, heads: HEADS, kv_heads: KV_HEADS, head_dim: HEAD_DIM, ..spec }
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 31 + seed * 977) as f32 * 0.713).sin()).collect()
}

/// Two caches with the same blocks, one beside the program and one on a device.
struct Both {
    host: Pool,
    device: Pool,
}

impl Both {
    fn new(blocks: usize) -> Self {
        let shape = spec().cache_shape(KvPrecision::F32);
        let bytes = shape.block_bytes() * blocks;
        let device = Pool::on(&Compute::Device(Device::Cpu), shape, bytes).expect("fits");
        Self { host: Pool::new(shape, bytes), device }
    }

    fn table(&mut self, tokens: usize) -> BlockTable {
        let (mut table, mut other) = (BlockTable::default(), BlockTable::default());
        assert!(self.host.grow(&mut table, 0, tokens) && self.device.grow(&mut other, 0, tokens));
        assert_eq!(table.blocks(), other.blocks());
        table
    }

    /// Writes the keys and values of all positions of a sequence.
    fn write(&mut self, blocks: &[BlockId], keys: &[f32], values: &[f32]) {
        let width = KV_HEADS * HEAD_DIM;
        let count = keys.len() / width;
        let slots: Vec<_> =
            (0..count).map(|at| (blocks[at / BLOCK_TOKENS], at % BLOCK_TOKENS)).collect();
        self.host.storage_mut().expect("beside the program").write(0, &slots, keys, values);
        let Memory::Device(cache) = self.device.memory_mut() else { panic!("on a device") };
        let tensor = |all: &[f32]| Tensor::from_slice(all, (count, width), &Device::Cpu);
        let (keys, values) = (tensor(keys).expect("keys"), tensor(values).expect("values"));
        let places: Vec<u32> = (0..count).map(|at| slot(blocks, at)).collect();
        let places = Tensor::from_vec(places, (count, 1), &Device::Cpu).expect("places");
        let places = places.broadcast_as((count, 2 * width)).and_then(|all| all.contiguous());
        cache.write(0, &places.expect("places"), [&keys, &values]).expect("written");
    }

    /// The largest difference between what the two give.
    fn off(&mut self, runs: &[Run<'_>], shape: AttentionShape<'_>, elements_max: usize) -> f32 {
        let rows: usize = runs.iter().map(|run| run.rows.len()).sum();
        let queries = numbers(rows * HEADS * HEAD_DIM, 7);
        let storage = self.host.storage_mut().expect("beside the program");
        let expected = attend(&queries, runs, storage, 0, shape);
        let Memory::Device(cache) = self.device.memory_mut() else { panic!("on a device") };
        let device = Device::Cpu;
        let view = View::new(runs, shape.window, &spec(), elements_max, &device).expect("a view");
        let sinks = shape.sinks.map(|sinks| Tensor::new(sinks, &device).expect("sinks"));
        let shape = AttentionShape { sinks: None, ..shape };
        let work = AttentionWork { layer: 0, shape, sinks: sinks.as_ref() };
        let queries = Tensor::from_vec(queries, (rows, HEADS * HEAD_DIM), &device).expect("q");
        let found = view.attend(&queries, cache, &work).expect("computes");
        let found = found.flatten_all().and_then(|all| all.to_vec1::<f32>()).expect("numbers");
        assert_eq!(found.len(), expected.len());
        let differences = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        differences.fold(0.0, |a, b| if b.is_nan() { f32::INFINITY } else { a.max(b) })
    }
}

const SHAPE: AttentionShape<'static> = AttentionShape {
    heads: HEADS,
    kv_heads: KV_HEADS,
    head_dim: HEAD_DIM,
    scale: 0.4,
    cap: None,
    window: None,
    sinks: None,
    sight: Sight::Back,
};

/// Sequences of so many tokens, the last of each being those of the step.
const SEQUENCES: [(usize, usize); 9] =
    [(1, 1), (150, 1), (40, 40), (33, 1), (70, 7), (64, 1), (65, 7), (200, 90), (31, 1)];

#[test]
fn a_device_mixes_what_the_processor_mixes() {
    let mut both = Both::new(40);
    let width = KV_HEADS * HEAD_DIM;
    let tables: Vec<BlockTable> = SEQUENCES.iter().map(|(all, _)| both.table(*all)).collect();
    for (at, ((all, _), table)) in SEQUENCES.iter().zip(&tables).enumerate() {
        let (keys, values) = (numbers(all * width, at), numbers(all * width, at + 50));
        both.write(table.blocks(), &keys, &values);
    }
    let mut first = 0;
    let runs: Vec<Run<'_>> = SEQUENCES
        .iter()
        .zip(&tables)
        .map(|((all, new), table)| {
            let rows = first..first + new;
            first = rows.end;
            Run { rows, start: all - new, blocks: table.blocks() }
        })
        .collect();
    let sinks = numbers(HEADS, 3);
    for window in [None, Some(1), Some(20), Some(64), Some(1_000)] {
        for (cap, sinks) in [(None, None), (Some(2.0), None), (None, Some(sinks.as_slice()))] {
            for elements_max in [ELEMENTS_MAX, 9_000, 1] {
                let shape = AttentionShape { cap, window, sinks, ..SHAPE };
                let off = both.off(&runs, shape, elements_max);
                assert!(off < 1e-5, "window {window:?}, cap {cap:?}, {elements_max}: {off}");
            }
        }
    }
}

#[test]
fn what_others_left_in_a_block_is_not_even_looked_at() {
    let mut both = Both::new(2);
    let width = KV_HEADS * HEAD_DIM;
    let mut other = both.table(64);
    let spoiled = vec![f32::NAN; 64 * width];
    both.write(other.blocks(), &spoiled, &spoiled);
    let blocks = other.blocks().to_vec();
    both.host.release(&mut other);
    let keys = numbers(37 * width, 1);
    both.write(&blocks, &keys, &keys);
    let run = |rows| [Run { rows: 0..rows, start: 37 - rows, blocks: &blocks }];
    for rows in [1, 5, 37] {
        assert!(both.off(&run(rows), SHAPE, ELEMENTS_MAX) < 1e-5, "{rows} rows");
    }
}

#[test]
fn a_forgotten_block_of_a_device_is_erased() {
    let mut both = Both::new(3);
    let width = KV_HEADS * HEAD_DIM;
    let pool = &mut both.device;
    let mut table = BlockTable::default();
    assert!(pool.grow(&mut table, 0, 96));
    let Memory::Device(cache) = pool.memory_mut() else { panic!("on a device") };
    let ones = Tensor::ones((96, width), DType::F32, &Device::Cpu).expect("ones");
    let slots: Vec<u32> = (0..96).collect();
    let slots = Tensor::new(slots, &Device::Cpu).expect("slots");
    let places = slots.reshape((96, 1)).and_then(|all| all.broadcast_as((96, 2 * width)));
    let places = places.and_then(|all| all.contiguous()).expect("places");
    cache.write(0, &places, [&ones, &ones]).expect("written");
    pool.register(Domain(1), &mut table, &(0..64).collect::<Vec<u32>>());
    pool.release(&mut table);
    pool.forget(Domain(1));
    let Memory::Device(cache) = pool.memory_mut() else { panic!("on a device") };
    let all = cache.read(0, &slots).and_then(|all| all.to_vec2::<f32>()).expect("rows");
    let kept = all.iter().filter(|row| row.iter().all(|x| *x == 1.0)).count();
    let erased = all.iter().filter(|row| row.iter().all(|x| *x == 0.0)).count();
    // The third block was never kept for anybody.
    assert_eq!((kept, erased), (32, 64));
}

#[test]
fn a_shared_block_of_a_device_is_copied_by_whoever_writes_into_it() {
    let mut both = Both::new(3);
    let width = KV_HEADS * HEAD_DIM;
    let pool = &mut both.device;
    let mut table = BlockTable::default();
    assert!(pool.grow(&mut table, 0, 40));
    let ones = Tensor::ones((32, width), DType::F32, &Device::Cpu).expect("ones");
    let slots =
        |block: u32| Tensor::new((block * 32..block * 32 + 32).collect::<Vec<u32>>(), &Device::Cpu);
    let shared = table.blocks()[1];
    let places = slots(shared).and_then(|all| all.reshape((32, 1))?.broadcast_as((32, 2 * width)));
    let places = places.and_then(|all| all.contiguous()).expect("places");
    let Memory::Device(cache) = pool.memory_mut() else { panic!("on a device") };
    cache.write(0, &places, [&ones, &ones]).expect("written");
    let mut second = pool.share(&table);
    assert!(pool.grow(&mut second, 40, 41));
    let own = second.blocks()[1];
    assert_ne!(own, shared);
    let Memory::Device(cache) = pool.memory_mut() else { panic!("on a device") };
    let copy = slots(own).and_then(|slots| cache.read(0, &slots)?.to_vec2::<f32>());
    assert!(copy.expect("rows").iter().flatten().all(|x| *x == 1.0));
}
