//! Which blocks hold which beginning of which domain's prompts.
//!
//! A block is found by a SHA-256 chain over its domain, its predecessors and its tokens: two
//! different beginnings never meet under one key, and no key of one domain is a key of another.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

use super::BlockId;
use crate::engine::request::Domain;

/// Names a block by everything that its content depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PrefixKey([u8; 32]);

impl PrefixKey {
    /// The key of a block after the one with the key `before`.
    pub(super) fn next(domain: Domain, before: Option<Self>, tokens: &[u32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(domain.0.to_le_bytes());
        hash.update(before.map_or([0; 32], |key| key.0));
        for token in tokens {
            hash.update(token.to_le_bytes());
        }
        Self(hash.finalize().into())
    }
}

struct Entry {
    key: PrefixKey,
    domain: Domain,
    /// When it was given back; `None` while it is in use.
    idle_since: Option<u64>,
}

/// Blocks by key, and the order in which idle ones were given back.
#[derive(Default)]
pub(super) struct PrefixIndex {
    by_key: HashMap<PrefixKey, BlockId>,
    entries: HashMap<BlockId, Entry>,
    idle: BTreeMap<u64, BlockId>,
    clock: u64,
}

impl PrefixIndex {
    /// How many blocks are kept without being in use.
    pub(super) fn idle(&self) -> usize {
        self.idle.len()
    }

    /// The block with this key.
    pub(super) fn find(&self, key: &PrefixKey) -> Option<BlockId> {
        self.by_key.get(key).copied()
    }

    /// Notes that a block is in use.
    pub(super) fn used(&mut self, block: BlockId) {
        if let Some(since) = self.entries.get_mut(&block).and_then(|entry| entry.idle_since.take())
        {
            self.idle.remove(&since);
        }
    }

    /// Registers a block in use; does nothing where the key or the block is known already.
    pub(super) fn insert(&mut self, key: PrefixKey, block: BlockId, domain: Domain) {
        if self.by_key.contains_key(&key) || self.entries.contains_key(&block) {
            return;
        }
        self.by_key.insert(key, block);
        self.entries.insert(block, Entry { key, domain, idle_since: None });
    }

    /// Notes that nobody uses a block any more; false where it is not registered.
    pub(super) fn idle_now(&mut self, block: BlockId) -> bool {
        let Some(entry) = self.entries.get_mut(&block) else { return false };
        self.clock += 1;
        entry.idle_since = Some(self.clock);
        self.idle.insert(self.clock, block);
        true
    }

    /// Takes away the block that has been idle for the longest time.
    pub(super) fn take_oldest(&mut self) -> Option<BlockId> {
        let (_, block) = self.idle.pop_first()?;
        self.remove(block);
        Some(block)
    }

    /// Removes all blocks of a domain; gives each, and whether it was idle.
    pub(super) fn forget(&mut self, domain: Domain) -> Vec<(BlockId, bool)> {
        let blocks: Vec<BlockId> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.domain == domain)
            .map(|(&block, _)| block)
            .collect();
        blocks
            .into_iter()
            .map(|block| {
                let since = self.remove(block);
                (block, since.is_some_and(|since| self.idle.remove(&since).is_some()))
            })
            .collect()
    }

    fn remove(&mut self, block: BlockId) -> Option<u64> {
        let entry = self.entries.remove(&block)?;
        self.by_key.remove(&entry.key);
        entry.idle_since
    }
}
