//! Blocks: handed out, shared, kept for reuse, forgotten; never more of them than the budget has.

use super::*;
use crate::engine::{KvPrecision, SharedPrefix};

const SHAPE: CacheShape =
    CacheShape { layers: 2, kv_heads: 2, head_dim: 8, precision: KvPrecision::F16 };
const ANNA: Domain = Domain(1);
const BERT: Domain = Domain(2);

fn pool(blocks: usize) -> Pool {
    Pool::new(SHAPE, SHAPE.block_bytes() * blocks + SHAPE.block_bytes() - 1)
}

fn tokens(count: usize) -> Vec<u32> {
    (0..count as u32).collect()
}

fn storage(pool: &mut Pool) -> &mut Storage {
    pool.storage_mut().expect("beside the program")
}

fn fill(pool: &mut Pool, domain: Domain, count: usize) -> BlockTable {
    let (mut table, _) = pool.start(domain, &tokens(count), count);
    assert!(pool.grow(&mut table, 0, count));
    pool.register(domain, &mut table, &tokens(count));
    table
}

#[test]
fn the_budget_is_never_exceeded() {
    let mut pool = pool(4);
    assert_eq!(pool.total_blocks(), 4);
    assert!(pool.bytes() <= SHAPE.block_bytes() * 4);
    let mut table = fill(&mut pool, ANNA, 4 * BLOCK_TOKENS);
    let mut other = BlockTable::default();
    assert!(!pool.grow(&mut other, 0, 1));
    assert!(other.blocks().is_empty());
    pool.release(&mut table);
    assert_eq!(pool.available_blocks(), 4);
}

#[test]
fn a_known_beginning_is_used_again_by_its_domain_only() {
    let mut pool = pool(8);
    let mut first = fill(&mut pool, ANNA, 70);
    pool.release(&mut first);
    let (mut again, cached) = pool.start(ANNA, &tokens(70), 69);
    assert_eq!(cached, 64);
    let (_, cached) = pool.start(BERT, &tokens(70), 69);
    assert_eq!(cached, 0);
    pool.release(&mut again);
    assert_eq!(pool.available_blocks(), 8);
}

#[test]
fn a_shared_beginning_is_everybodys_and_what_follows_is_not() {
    let shared = |tokens| Some(SharedPrefix { domain: Domain(9), tokens });
    let mut pool = pool(16);
    let anna = Owners { own: ANNA, shared: shared(70) };
    let (mut first, _) = pool.start(anna, &tokens(130), 130);
    assert!(pool.grow(&mut first, 0, 130));
    pool.register(anna, &mut first, &tokens(130));
    pool.release(&mut first);
    let cached = |pool: &mut Pool, owners: Owners| {
        let (mut table, cached) = pool.start(owners, &tokens(130), 130);
        pool.release(&mut table);
        cached
    };
    // Two blocks are wholly within the 70 tokens; the third is hers, although it begins there.
    assert_eq!(cached(&mut pool, anna), 128);
    assert_eq!(cached(&mut pool, Owners { own: BERT, shared: shared(70) }), 64);
    // The same words, said by somebody whose request is not one of these: nothing.
    assert_eq!(cached(&mut pool, BERT.into()), 0);
    assert_eq!(cached(&mut pool, ANNA.into()), 0);
    // Another shared beginning, or a shorter one: what is whole in both.
    let other = Some(SharedPrefix { domain: Domain(8), tokens: 70 });
    assert_eq!(cached(&mut pool, Owners { own: BERT, shared: other }), 0);
    assert_eq!(cached(&mut pool, Owners { own: BERT, shared: shared(40) }), 32);
    pool.forget(Domain(9));
    assert_eq!(cached(&mut pool, anna), 0);
}

#[test]
fn the_last_token_is_never_taken_from_the_cache() {
    let mut pool = pool(8);
    let mut first = fill(&mut pool, ANNA, 64);
    pool.release(&mut first);
    let (mut table, cached) = pool.start(ANNA, &tokens(64), 63);
    assert_eq!(cached, 32);
    pool.release(&mut table);
}

#[test]
fn a_shared_block_lives_until_its_last_user_leaves() {
    let mut pool = pool(3);
    let mut first = fill(&mut pool, ANNA, 64);
    let (mut second, cached) = pool.start(ANNA, &tokens(64), 64);
    assert_eq!(cached, 64);
    pool.release(&mut first);
    let mut third = BlockTable::default();
    assert!(!pool.grow(&mut third, 0, 2 * BLOCK_TOKENS));
    pool.release(&mut second);
    assert!(pool.grow(&mut third, 0, 3 * BLOCK_TOKENS));
    pool.release(&mut third);
    assert_eq!(pool.available_blocks(), 3);
}

fn place(layer: usize, block: BlockId, head: usize) -> Place {
    Place { layer, block, head }
}

#[test]
fn what_is_kept_is_read_back_in_every_precision() {
    for (precision, off) in
        [(KvPrecision::F32, 0.0), (KvPrecision::F16, 5e-4), (KvPrecision::Q8, 4.1e-3)]
    {
        for head_dim in [4, 32, 40, 64] {
            let shape = CacheShape { head_dim, precision, ..SHAPE };
            let mut pool = Pool::new(shape, shape.block_bytes() * 3);
            assert_eq!((pool.total_blocks(), pool.bytes()), (3, shape.block_bytes() * 3));
            let width = 2 * head_dim;
            let number = |seed: usize, at: usize| ((seed * 31 + at * 7) % 23) as f32 / 11.0 - 1.0;
            let row = |seed: usize| (0..width).map(|at| number(seed, at)).collect::<Vec<_>>();
            for token in 0..BLOCK_TOKENS {
                let (key, value) = (row(token), row(token + 50));
                storage(&mut pool).write(1, &[(1, token)], &key, &value);
            }
            let check = |pool: &mut Pool, block: BlockId| {
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                for head in 0..2 {
                    let storage = storage(pool);
                    let place = place(1, block, head);
                    let keys = storage.keys(place, 0..head_dim, &mut keys);
                    let values = storage.values(place, 0..BLOCK_TOKENS, &mut values);
                    let mut part = Vec::new();
                    for (from, to) in [(0, head_dim.min(32)), (head_dim / 32 * 32, head_dim)] {
                        let some = storage.keys(place, from..to, &mut part);
                        assert_eq!(some, &keys[from * BLOCK_TOKENS..to * BLOCK_TOKENS]);
                    }
                    for (from, to) in [(0, 16), (16, 32), (3, 4), (5, 5)] {
                        let some = storage.values(place, from..to, &mut part);
                        assert_eq!(some, &values[from * head_dim..to * head_dim]);
                    }
                    for (token, element) in
                        (0..BLOCK_TOKENS).flat_map(|token| (0..head_dim).map(move |e| (token, e)))
                    {
                        let at = head * head_dim + element;
                        let key = keys[element * BLOCK_TOKENS + token];
                        let value = values[token * head_dim + element];
                        assert!((key - number(token, at)).abs() <= off, "{shape:?}");
                        assert!((value - number(token + 50, at)).abs() <= off, "{shape:?}");
                    }
                }
            };
            check(&mut pool, 1);
            storage(&mut pool).copy(1, 2);
            storage(&mut pool).erase(1);
            check(&mut pool, 2);
            for (block, is_empty) in [(0, true), (1, true), (2, false)] {
                for head in 0..2 {
                    let mut scratch = Vec::new();
                    let keys =
                        storage(&mut pool).keys(place(1, block, head), 0..head_dim, &mut scratch);
                    assert_eq!(keys.iter().all(|x| *x == 0.0), is_empty, "{shape:?}");
                    let values = storage(&mut pool).values(
                        place(1, block, head),
                        0..BLOCK_TOKENS,
                        &mut scratch,
                    );
                    assert_eq!(values.iter().all(|x| *x == 0.0), is_empty, "{shape:?}");
                    // The other layer was not written.
                    let keys =
                        storage(&mut pool).keys(place(0, block, head), 0..head_dim, &mut scratch);
                    assert!(keys.iter().all(|x| *x == 0.0), "{shape:?}");
                }
            }
        }
    }
}

#[test]
fn bytes_take_little_more_than_half_of_halves() {
    let bytes = |precision| CacheShape { head_dim: 128, precision, ..SHAPE }.block_bytes();
    assert_eq!(bytes(KvPrecision::F16) * 17, bytes(KvPrecision::Q8) * 32);
}

#[test]
fn a_shared_block_is_copied_by_whoever_writes_into_it() {
    let mut pool = pool(5);
    let mut first = fill(&mut pool, ANNA, 40);
    let half = first.blocks()[1];
    storage(&mut pool).write(1, &[(half, 3)], &[2.0; 16], &[3.0; 16]);
    let mut second = pool.share(&first);
    assert_eq!((second.blocks(), pool.available_blocks()), (first.blocks(), 3));
    assert!(pool.grow(&mut second, 40, 41));
    assert_eq!(second.blocks()[0], first.blocks()[0]);
    let own = second.blocks()[1];
    assert_ne!(own, half);
    storage(&mut pool).write(1, &[(own, 8)], &[9.0; 16], &[9.0; 16]);
    let mut keys = |block| {
        let storage = storage(&mut pool);
        storage.keys(place(1, block, 1), 0..SHAPE.head_dim, &mut Vec::new())[..BLOCK_TOKENS]
            .to_vec()
    };
    assert_eq!((keys(own)[3], keys(own)[8]), (2.0, 9.0));
    assert_eq!((keys(half)[3], keys(half)[8]), (2.0, 0.0));
    // Alone again, nobody copies.
    assert!(pool.grow(&mut first, 40, 41));
    assert_eq!(first.blocks()[1], half);
    let mut third = pool.share(&first);
    let mut fourth = pool.share(&first);
    assert!(pool.grow(&mut third, 41, 96));
    assert!(!pool.grow(&mut fourth, 41, 42), "no block is left for a copy");
    assert_eq!(fourth.blocks(), first.blocks());
    for table in [&mut first, &mut second, &mut third, &mut fourth] {
        pool.release(table);
    }
    assert_eq!(pool.available_blocks(), 5);
}

#[test]
fn what_stands_behind_the_last_token_is_given_back() {
    let mut pool = pool(4);
    let mut table = fill(&mut pool, ANNA, 40);
    assert!(pool.grow(&mut table, 40, 97));
    pool.shrink(&mut table, 65);
    assert_eq!((table.blocks().len(), pool.available_blocks()), (3, 1));
    pool.shrink(&mut table, 65);
    assert_eq!(table.blocks().len(), 3);
    pool.release(&mut table);
    assert_eq!(pool.available_blocks(), 4);
}

#[test]
fn the_oldest_end_of_a_chain_goes_first() {
    let mut pool = pool(3);
    let mut first = fill(&mut pool, ANNA, 96);
    pool.release(&mut first);
    let mut other = BlockTable::default();
    assert!(pool.grow(&mut other, 0, 1));
    let (mut again, cached) = pool.start(ANNA, &tokens(96), 96);
    assert_eq!(cached, 64);
    pool.release(&mut again);
    pool.release(&mut other);
}

#[test]
fn a_forgotten_domain_is_erased() {
    let mut pool = pool(4);
    let mut first = fill(&mut pool, ANNA, 64);
    let block = first.blocks()[0];
    let storage = pool.storage_mut().expect("beside the program");
    storage.write(0, &[(block, 0)], &[1.0; 16], &[1.0; 16]);
    pool.release(&mut first);
    pool.forget(ANNA);
    assert_eq!(pool.idle_blocks(), 0);
    assert_eq!(pool.available_blocks(), 4);
    assert_eq!(pool.start(ANNA, &tokens(64), 64).1, 0);
    let mut scratch = Vec::new();
    let storage = pool.storage_mut().expect("beside the program");
    assert!(
        storage.keys(place(0, block, 0), 0..SHAPE.head_dim, &mut scratch).iter().all(|&x| x == 0.0)
    );
}

#[test]
fn a_domain_forgotten_while_in_use_is_not_kept_afterwards() {
    let mut pool = pool(4);
    let mut first = fill(&mut pool, ANNA, 64);
    let block = first.blocks()[0];
    let storage = pool.storage_mut().expect("beside the program");
    storage.write(0, &[(block, 0)], &[1.0; 16], &[1.0; 16]);
    pool.forget(ANNA);
    first.forget();
    assert!(pool.grow(&mut first, 64, 96));
    pool.register(ANNA, &mut first, &tokens(96));
    pool.release(&mut first);
    assert_eq!(pool.idle_blocks(), 0);
    assert_eq!(pool.available_blocks(), 4);
    assert_eq!(pool.start(ANNA, &tokens(96), 96).1, 0);
    let mut scratch = Vec::new();
    let storage = pool.storage_mut().expect("beside the program");
    assert!(
        storage.keys(place(0, block, 0), 0..SHAPE.head_dim, &mut scratch).iter().all(|&x| x == 0.0)
    );
}

#[test]
fn a_cache_for_which_there_is_no_memory_is_an_error() {
    assert!(Pool::on(&Compute::Host, SHAPE, usize::MAX).is_err());
    assert!(Pool::on(&Compute::Host, SHAPE, SHAPE.block_bytes()).is_ok());
}
