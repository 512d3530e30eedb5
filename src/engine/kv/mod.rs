//! The cache of keys and values: blocks of tokens in one allocation whose size never changes.
//!
//! `storage` holds the numbers, `prefix` knows which blocks can be used again and for whom, and
//! `Pool` hands blocks out. A block belongs to everyone who counts a reference on it; without
//! references it is free, or kept for reuse until its place is needed.

mod prefix;
mod storage;

use super::compute::{Compute, DeviceCache, blocks_max};
use super::party::Owners;
use super::request::Domain;
use prefix::{PrefixIndex, PrefixKey};
pub(crate) use storage::{CacheShape, Storage};

/// Tokens in a block.
pub(crate) const BLOCK_TOKENS: usize = 32;

/// The number of a block.
pub(crate) type BlockId = u32;

/// All blocks: which are in use, which are free, which can be used again.
pub(crate) struct Pool {
    shape: CacheShape,
    memory: Memory,
    references: Vec<u32>,
    free: Vec<BlockId>,
    prefixes: PrefixIndex,
}

/// Where the numbers are.
pub(crate) enum Memory {
    /// Beside the program.
    Host(Storage),
    /// On a device.
    Device(DeviceCache),
}

impl Memory {
    /// Copies a block over another one; false where a device cannot.
    fn copy(&mut self, from: BlockId, to: BlockId) -> bool {
        match self {
            Self::Host(storage) => storage.copy(from, to),
            Self::Device(cache) => {
                if let Err(error) = cache.copy(from, to) {
                    tracing::error!(cause = %error, "a block of the cache could not be copied");
                    return false;
                }
            }
        }
        true
    }

    fn erase(&mut self, block: BlockId) {
        match self {
            Self::Host(storage) => storage.erase(block),
            // A device that does not even write zeros any more computes nothing either.
            Self::Device(cache) => {
                if let Err(error) = cache.erase(block) {
                    tracing::error!(cause = %error, "a block of the cache could not be erased");
                }
            }
        }
    }
}

/// The blocks of one sequence, in order. Given back with `Pool::release`.
#[derive(Debug, Default)]
pub(crate) struct BlockTable {
    blocks: Vec<BlockId>,
    /// The key of the last block that is registered for reuse, and how many are.
    chain: Option<PrefixKey>,
    registered: usize,
    /// Whether nothing of it may be kept.
    is_forgotten: bool,
}

impl BlockTable {
    /// The numbers of the blocks.
    pub(crate) fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }

    /// Keeps nothing of it from now on: what it gives back is erased.
    pub(crate) fn forget(&mut self) {
        self.is_forgotten = true;
    }

    /// For how many tokens there is room.
    pub(crate) fn room(&self) -> usize {
        self.blocks.len() * BLOCK_TOKENS
    }
}

impl Pool {
    /// Takes as many blocks as fit into the budget.
    pub(crate) fn new(shape: CacheShape, budget_bytes: usize) -> Self {
        let count = (budget_bytes / shape.block_bytes().max(1)).min(u32::MAX as usize);
        Self::of(shape, Memory::Host(Storage::new(shape, count)), count)
    }

    /// The same, where the model computes.
    pub(crate) fn on(
        compute: &Compute,
        shape: CacheShape,
        budget_bytes: usize,
    ) -> candle_core::Result<Self> {
        let Compute::Device(device) = compute else { return Ok(Self::new(shape, budget_bytes)) };
        let count = (budget_bytes / shape.block_bytes().max(1)).min(blocks_max(&shape));
        let cache = DeviceCache::new(&shape, count, device)?;
        Ok(Self::of(shape, Memory::Device(cache), count))
    }

    fn of(shape: CacheShape, memory: Memory, count: usize) -> Self {
        Self {
            shape,
            memory,
            references: vec![0; count],
            // The lowest numbers are handed out first, so that memory that is never needed is never touched.
            free: (0..count as BlockId).rev().collect(),
            prefixes: PrefixIndex::default(),
        }
    }

    /// What it holds for each token.
    pub(crate) fn shape(&self) -> &CacheShape {
        &self.shape
    }

    /// Bytes of all blocks.
    pub(crate) fn bytes(&self) -> usize {
        self.total_blocks() * self.shape.block_bytes()
    }

    /// The numbers.
    pub(crate) fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// The numbers, where they are beside the program.
    pub(crate) fn storage_mut(&mut self) -> candle_core::Result<&mut Storage> {
        match &mut self.memory {
            Memory::Host(storage) => Ok(storage),
            Memory::Device(_) => candle_core::bail!("the cache is on a device"),
        }
    }

    /// How many blocks there are.
    pub(crate) fn total_blocks(&self) -> usize {
        self.references.len()
    }

    /// How many blocks could be handed out now.
    pub(crate) fn available_blocks(&self) -> usize {
        self.free.len() + self.prefixes.idle()
    }

    /// How many blocks are kept for reuse without being in use.
    pub(crate) fn idle_blocks(&self) -> usize {
        self.prefixes.idle()
    }

    /// Starts a table with the longest known beginning of these tokens, at most `tokens_max` of
    /// them, of the same owners. Gives the table and how many tokens are in it already.
    pub(crate) fn start(
        &mut self,
        owners: impl Into<Owners>,
        tokens: &[u32],
        tokens_max: usize,
    ) -> (BlockTable, usize) {
        let (owners, mut table) = (owners.into(), BlockTable::default());
        let whole = tokens_max.min(tokens.len()) / BLOCK_TOKENS;
        for block_tokens in tokens.chunks_exact(BLOCK_TOKENS).take(whole) {
            let domain = owners.of_block(table.room() + BLOCK_TOKENS);
            let key = PrefixKey::next(domain, table.chain, block_tokens);
            let Some(block) = self.prefixes.find(&key) else { break };
            self.prefixes.used(block);
            self.references[block as usize] += 1;
            table.blocks.push(block);
            table.chain = Some(key);
            table.registered += 1;
        }
        let cached = table.room();
        (table, cached)
    }

    /// A second table with the same blocks. Whoever writes into one that both have gets a copy.
    pub(crate) fn share(&mut self, table: &BlockTable) -> BlockTable {
        for &block in &table.blocks {
            self.references[block as usize] += 1;
        }
        BlockTable { blocks: table.blocks.clone(), ..*table }
    }

    /// Makes room for the tokens from `from` to `to`, so that they can be written; false where no
    /// blocks are left, and then nothing changed.
    pub(crate) fn grow(&mut self, table: &mut BlockTable, from: usize, to: usize) -> bool {
        let first = from / BLOCK_TOKENS;
        let is_shared = |block: &&BlockId| self.references[**block as usize] > 1;
        // Only the block that is not full yet can be another's too: those before are not written.
        let shared = table.blocks.get(first).filter(is_shared).copied();
        let wanted = to.div_ceil(BLOCK_TOKENS).saturating_sub(table.blocks.len());
        if wanted + usize::from(shared.is_some()) > self.available_blocks() {
            return false;
        }
        if let Some(shared) = shared {
            let Some(own) = self.take_block() else { return false };
            if !self.memory.copy(shared, own) {
                self.give_back(own, false);
                return false;
            }
            self.references[shared as usize] -= 1;
            table.blocks[first] = own;
        }
        for _ in 0..wanted {
            let Some(block) = self.take_block() else { return false };
            table.blocks.push(block);
        }
        true
    }

    fn take_block(&mut self) -> Option<BlockId> {
        let block = self.free.pop().or_else(|| self.prefixes.take_oldest())?;
        self.references[block as usize] = 1;
        Some(block)
    }

    /// Gives back what stands in the table behind `tokens`.
    pub(crate) fn shrink(&mut self, table: &mut BlockTable, tokens: usize) {
        while table.blocks.len() > tokens.div_ceil(BLOCK_TOKENS) {
            let Some(block) = table.blocks.pop() else { return };
            self.give_back(block, table.is_forgotten);
        }
    }

    fn give_back(&mut self, block: BlockId, is_forgotten: bool) {
        let references = &mut self.references[block as usize];
        *references = references.saturating_sub(1);
        if *references == 0 && !self.prefixes.idle_now(block) {
            if is_forgotten {
                self.memory.erase(block);
            }
            self.free.push(block);
        }
    }

    /// Registers the full blocks of a sequence for reuse. `tokens` are those whose keys and values
    /// are in the cache, from the first on.
    pub(crate) fn register(
        &mut self,
        owners: impl Into<Owners>,
        table: &mut BlockTable,
        tokens: &[u32],
    ) {
        if table.is_forgotten {
            return;
        }
        let owners = owners.into();
        let known = table.registered;
        for (index, block_tokens) in tokens.chunks_exact(BLOCK_TOKENS).enumerate().skip(known) {
            let Some(&block) = table.blocks.get(index) else { break };
            let domain = owners.of_block((index + 1) * BLOCK_TOKENS);
            let key = PrefixKey::next(domain, table.chain, block_tokens);
            // Where another block holds the same already, this one stays unregistered and is freed
            // at the end; the chain goes on.
            self.prefixes.insert(key, block, domain);
            table.chain = Some(key);
            table.registered = index + 1;
        }
    }

    /// Gives the blocks of a sequence back.
    pub(crate) fn release(&mut self, table: &mut BlockTable) {
        // The end of the sequence is the first to go when room is needed, so that what is left of a
        // chain is its beginning.
        let is_forgotten = table.is_forgotten;
        for block in table.blocks.drain(..).rev() {
            self.give_back(block, is_forgotten);
        }
        *table = BlockTable::default();
    }

    /// Forgets what is kept for a domain and erases it. Blocks in use are forgotten when they are
    /// given back.
    pub(crate) fn forget(&mut self, domain: Domain) {
        for (block, was_idle) in self.prefixes.forget(domain) {
            if was_idle {
                self.memory.erase(block);
                self.free.push(block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
            storage.keys(1, block, 1, &mut Vec::new())[..BLOCK_TOKENS].to_vec()
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
        assert!(storage.keys(0, block, 0, &mut scratch).iter().all(|&x| x == 0.0));
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
        assert!(storage.keys(0, block, 0, &mut scratch).iter().all(|&x| x == 0.0));
    }
}
