//! The Merkle tree of RFC 6962, section 2.1, grown one leaf at a time. Only the peaks are kept:
//! the roots of the perfect subtrees that the leaves so far fill, largest first.

use sha2::{Digest, Sha256};

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// Hash of a leaf: SHA-256(0x00 ‖ bytes).
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

/// Hash of a node: SHA-256(0x01 ‖ left ‖ right).
fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A tree that grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    peaks: Vec<Hash>,
}

impl Tree {
    /// Takes up a tree where it was left; none where the peaks do not fit the size.
    pub fn resume(size: u64, peaks: &[u8]) -> Option<Self> {
        if peaks.len() != size.count_ones() as usize * 32 {
            return None;
        }
        let peaks = peaks.as_chunks::<32>().0.to_vec();
        Some(Self { size, peaks })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The peaks, one after the other.
    pub fn peaks(&self) -> Vec<u8> {
        self.peaks.concat()
    }

    /// Adds the hash of a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        // Each trailing one of the size is a full subtree of the same height as `node`.
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("one peak stands for each one bit of the size");
            node = node_hash(&left, &node);
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The root hash: of no leaves, the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => Sha256::digest([]).into(),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

#[cfg(test)]
mod tests {
    use ct_merkle::HashableLeaf;
    use ct_merkle::mem_backed_tree::MemoryBackedTree;

    use super::*;

    #[derive(Clone)]
    struct Leaf(Vec<u8>);

    impl HashableLeaf for Leaf {
        fn hash<H: ct_merkle::digest::Update>(&self, hasher: &mut H) {
            hasher.update(&self.0);
        }
    }

    #[test]
    fn roots_are_those_of_an_independent_implementation() {
        let mut ours = Tree::default();
        let mut theirs = MemoryBackedTree::<Sha256, Leaf>::new();
        for i in 0..300_u32 {
            assert_eq!(ours.root().as_slice(), theirs.root().as_bytes().as_slice(), "{i}");
            let bytes = i.to_be_bytes().repeat(i as usize % 5);
            ours.push(leaf_hash(&bytes));
            theirs.push(Leaf(bytes));
            let resumed = Tree::resume(ours.size(), &ours.peaks()).expect("fits");
            assert_eq!(resumed, ours);
        }
        assert!(Tree::resume(3, &[0; 32]).is_none());
    }
}
