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

/// The audit path of leaf `index` in the tree of the first `size` leaves (RFC 6962, 2.1.1), from
/// the leaf upwards. `root_of(from, to)` gives the root over the leaves `from..to`.
pub(super) fn inclusion_path<E>(
    index: u64,
    size: u64,
    root_of: &mut impl FnMut(u64, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let (mut from, mut to) = (0, size);
    let mut path = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(root_of(middle, to)?);
            to = middle;
        } else {
            path.push(root_of(from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `old` leaves is a prefix of that of `new` (RFC 6962, 2.1.2).
pub(super) fn consistency_path<E>(
    old: u64,
    new: u64,
    root_of: &mut impl FnMut(u64, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let (mut from, mut to) = (0, new);
    // Whether the subtree in hand begins where the old tree does and was complete in it.
    let mut is_known = true;
    let mut path = Vec::new();
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            path.push(root_of(middle, to)?);
            to = middle;
        } else {
            path.push(root_of(from, middle)?);
            from = middle;
            is_known = false;
        }
    }
    if !is_known {
        path.push(root_of(from, to)?);
    }
    path.reverse();
    Ok(path)
}

/// The largest power of two below `count`, which is at least 2.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use ct_merkle::{ConsistencyProof, HashableLeaf, InclusionProof, RootHash};

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

    type Oracle = MemoryBackedTree<Sha256, Leaf>;

    fn leaf(i: u64) -> Leaf {
        Leaf(i.to_be_bytes().to_vec())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the shape that proofs ask for")]
    fn root_of(from: u64, to: u64) -> Result<Hash, ()> {
        let mut tree = Tree::default();
        (from..to).for_each(|i| tree.push(leaf_hash(&leaf(i).0)));
        Ok(tree.root())
    }

    #[test]
    fn proofs_are_those_of_an_independent_implementation_and_verify() {
        for size in 1..40_u64 {
            let mut other = Oracle::new();
            (0..size).for_each(|i| other.push(leaf(i)));
            for index in 0..size {
                let path = inclusion_path(index, size, &mut root_of).expect("path");
                let proof = InclusionProof::<Sha256>::from_bytes(path.concat());
                assert_eq!(proof.as_bytes(), other.prove_inclusion(index as usize).as_bytes());
                other.root().verify_inclusion(&leaf(index), index, &proof).expect("included");
            }
            for old in 1..=size {
                let path = consistency_path(old, size, &mut root_of).expect("path");
                let expected = other.prove_consistency((size - old) as usize);
                assert_eq!(path.concat(), expected.as_bytes(), "{old} of {size}");
                let proof = ConsistencyProof::<Sha256>::try_from_bytes(path.concat());
                let root = RootHash::<Sha256>::new(root_of(0, old).expect("root").into(), old);
                let proof = proof.expect("a proof");
                other.root().verify_consistency(&root, &proof).expect("consistent");
            }
        }
    }
}
