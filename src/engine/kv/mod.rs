//! The cache of keys and values: blocks of tokens in one allocation whose size never changes.
//!
//! `storage` holds the numbers, `prefix` knows which blocks can be used again and for whom, and
//! `Pool` hands blocks out. A block belongs to everyone who counts a reference on it; without
//! references it is free, or kept for reuse until its place is needed.

mod bytes;
mod prefix;
mod storage;

use super::KvPrecision;
use super::compute::{Compute, DeviceCache, blocks_max};
use super::party::Owners;
use super::request::Domain;
use prefix::{PrefixIndex, PrefixKey};
pub(crate) use storage::{CacheShape, Place, Storage};

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
        let Compute::Device(device) = compute else {
            // Asked for and given back: where there is none, to take it would end the program.
            let mut room = Vec::<u8>::new();
            let has_room = room.try_reserve_exact(budget_bytes);
            has_room.map_err(|error| candle_core::Error::Msg(error.to_string()))?;
            // What nobody looks at need not be asked for.
            drop(std::hint::black_box(room));
            return Ok(Self::new(shape, budget_bytes));
        };
        // Candle has no bytes with scales of its own for a cache.
        let precision = match shape.precision {
            KvPrecision::Q8 => KvPrecision::F16,
            other => other,
        };
        let shape = CacheShape { precision, ..shape };
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
mod tests;
